"""Names, typed values, allowed values, canonical JSON, states, and faults with their places in documents."""
