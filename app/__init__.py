"""The registry of device profiles for VM live migration."""

VERSION = "0.1.0"
# Where the service listens by default, and the commands look for it.
DEFAULT_URL = "http://127.0.0.1:8000"
