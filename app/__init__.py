"""The registry of device profiles for VM live migration."""
