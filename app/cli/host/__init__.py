"""What a host says of itself: each module reads one tool or one place of the kernel, and states facts."""
