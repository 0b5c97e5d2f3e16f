"""Tests of the client, against the real service and against prepared responses."""
