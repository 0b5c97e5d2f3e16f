"""What the command drain finds out: the VMs that have to leave, the room at other hosts, and what would help."""
