"""The registry over HTTP: routes, wire shapes, and how errors are answered."""
