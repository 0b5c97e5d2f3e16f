"""The client, against the real service and against answers that it rarely gives."""
