"""The shapes on the wire, each named after its noun; strict, and apart from the domain's objects."""
