"""Adapters: schedulers ask the registry in their own protocol; each is one module, on the client alone."""
