"""The command profile-registry."""
