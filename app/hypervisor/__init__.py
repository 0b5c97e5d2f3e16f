"""What QEMU and libvirt call things, in the terms of the registry. It knows no registry and does no network I/O."""
