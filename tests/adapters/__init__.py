"""Adapters against the real service, and where they can be installed, the real schedulers."""
