"""The commands of profile-registry adapter, one module each."""
