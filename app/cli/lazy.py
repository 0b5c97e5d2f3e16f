"""Modules that are loaded when they are first used: reading a command line needs few of them, and a TAB is that alone.

With this, `from app.cli import client` loads nothing until `client.Registry` is reached; `from app.cli.client import
Registry` loads at once. So modules that declare commands import other modules, not names out of them.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

# This package, and what its command modules import that is slow to load. `import x` loads x when a second module says
# the same, so only one of them can import each of these.
_PACKAGES = frozenset({"app", "httpx", "pydantic", "pydantic_settings", "rich", "sqlalchemy", "uvicorn"})


class _Finder(MetaPathFinder):
    """Finds the modules of these packages, to be loaded when one of their names is looked up."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's specification; None of a module that is loaded as usual."""
        if fullname.partition(".")[0] not in _PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def load_lazily() -> None:
    """Load modules when they are first used, from now on.

    Not for a process with threads: before Python 3.12, two threads that reach a module at the same time can find it
    half loaded.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def load_all() -> None:
    """Load what waits to be loaded, and no more modules lazily, so that threads can start."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _PACKAGES:
            # Any name will do.
            getattr(module, "__doc__", None)
