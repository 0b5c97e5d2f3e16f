"""A client of a registry: sync and async over one core."""

from app.client.core import RegistryError
from app.client.registry import AsyncRegistry, Registry

__all__ = ["AsyncRegistry", "Registry", "RegistryError"]
