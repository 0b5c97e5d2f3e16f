"""A real libvirt asks the registry before a migration."""
