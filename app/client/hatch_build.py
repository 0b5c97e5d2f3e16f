"""Builds the wheel of the client: this package, the wire shapes and signatures, as profile_registry_client."""

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_NAME = "profile_registry_client"
_CLIENT = ("__init__.py", "core.py", "registry.py", "py.typed")
# The shapes that the client uses; they import nothing else of the service, which a test checks.
_WIRE = ("__init__.py", "base.py", "compatibility.py", "detail.py", "problem.py")
_SIGNING = ("__init__.py", "checkpoint.py", "key.py")
# The adapters that run inside a scheduler, whose Python has this package and not the service.
_ADAPTERS = ("__init__.py", "asking.py", "devices.py", "limit.py", "nova.py")


class ClientHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the files of the package to the wheel, with the service's package name replaced in imports."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Copy the files to a folder of its own and have the wheel include them."""
        del version
        here = Path(self.root)
        # Kept until the process ends: hatchling reads the files after this method has returned.
        self._folder = tempfile.TemporaryDirectory()
        target = Path(self._folder.name)
        for source, name in (
            *((here / name, name) for name in _CLIENT),
            *((here.parent / "wire" / name, f"wire/{name}") for name in _WIRE),
            *((here.parent / "signing" / name, f"signing/{name}") for name in _SIGNING),
            *((here.parent / "adapters" / name, f"adapters/{name}") for name in _ADAPTERS),
        ):
            copy = target / name
            copy.parent.mkdir(exist_ok=True)
            text = source.read_text()
            for package in ("wire", "signing", "adapters"):
                text = text.replace(f"app.{package}", f"{_NAME}.{package}")
            text = text.replace("app.client", _NAME)
            copy.write_text(text)
            build_data["force_include"][str(copy)] = f"{_NAME}/{name}"
