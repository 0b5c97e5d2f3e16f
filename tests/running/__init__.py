"""Tests of server processes: they are started, written to concurrently, and killed."""
