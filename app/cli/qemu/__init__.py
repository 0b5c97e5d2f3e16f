"""What is known of QEMU: how its device types, properties and machine types become models, variables and profiles."""
