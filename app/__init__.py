"""The registry of device profiles for VM live migration."""

VERSION = "0.1.0"
