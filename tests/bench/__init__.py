"""The benchmark: the cost of the service against a floor measured in the same run (make bench)."""
