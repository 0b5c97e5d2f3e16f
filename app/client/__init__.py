"""The client of a registry, sync and async: ask questions, read, publish.

Installed as `profile_registry_client` it needs httpx and pydantic, and nothing of the service.
"""

from .core import RegistryError
from .registry import AsyncRegistry, Registry

__all__ = ["AsyncRegistry", "Registry", "RegistryError"]
