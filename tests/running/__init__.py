"""The service as it runs: processes that are started, written to from all sides, and killed."""
