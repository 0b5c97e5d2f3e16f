"""The benchmark: what the service costs, beside a floor that is measured in the same run (make bench)."""
