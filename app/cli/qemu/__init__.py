"""The QEMU importer: turns device types, properties and machine types into models, variables and profiles."""
