"""Names that a shell completes, from the registry: within a second, or none."""

import re
from collections.abc import Callable, Iterator, Mapping
from threading import Thread
from typing import TypeAlias

from app.settings import ClientSettings

Complete: TypeAlias = Callable[[str], list[str]]

_SECONDS = 1.0
_PAGE = 1000
# Shells evaluate what they complete: a name from elsewhere must not have anything that they expand.
_HARMLESS = re.compile(r"\w[\w./@:+~-]*")


def vendors(incomplete: str) -> list[str]:
    """Return the vendors whose names begin so."""
    return _within_a_second(lambda: _names("/vendors", "vendor"), incomplete)


def models(incomplete: str) -> list[str]:
    """Return the device models whose names begin so."""
    search = {"q": incomplete} if incomplete else {}
    return _within_a_second(lambda: _names("/models", "model", search), incomplete)


def profiles(incomplete: str) -> list[str]:
    """Return the profiles whose names begin so."""
    return _within_a_second(lambda: _names("/profiles", "name", _vendor(incomplete)), incomplete)


def releases(incomplete: str) -> list[str]:
    """Return the releases whose names begin so."""
    implementation, at, _ = incomplete.partition("@")
    only = {"implementation": implementation} if at else {}
    return _within_a_second(lambda: _names("/releases", "release", only), incomplete)


def implementations(incomplete: str) -> list[str]:
    """Return the implementations of releases whose names begin so."""
    return _within_a_second(lambda: _names("/releases", "implementation"), incomplete)


def hosts(incomplete: str) -> list[str]:
    """Return the registered hosts whose names begin so."""
    return _within_a_second(lambda: _names("/hosts", "host"), incomplete)


def published(incomplete: str) -> list[str]:
    """Return the releases and profiles whose names begin so."""

    def read() -> Iterator[str]:
        yield from _names("/releases", "release")
        if "@" not in incomplete:
            yield from _names("/profiles", "name", _vendor(incomplete))

    return _within_a_second(read, incomplete)


def _vendor(incomplete: str) -> Mapping[str, str]:
    vendor, slash, _ = incomplete.partition("/")
    return {"vendor": vendor} if slash else {}


def _names(path: str, field: str, parameters: Mapping[str, str] | None = None) -> Iterator[str]:
    """Iterate over a field of the items of a list."""
    # Completing a command's own words needs no HTTP.
    from app.cli.client import Registry  # noqa: PLC0415

    with Registry(ClientSettings(), retry_seconds=0) as registry:
        page = registry.get(path, limit=_PAGE, **(parameters or {}))
    for item in page["items"]:
        yield item[field]


def _within_a_second(read: Callable[[], Iterator[str]], incomplete: str) -> list[str]:
    """Return those of the names that begin so; none if they cannot be read, or not in time."""
    names: list[str] = []

    def collect() -> None:
        try:
            names.extend(read())
        except Exception:  # noqa: BLE001 (whatever goes wrong: nobody wants to read it while typing)
            names.clear()

    # What answers byte by byte would outlast every timeout of HTTP.
    thread = Thread(target=collect, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    if thread.is_alive():
        return []
    return sorted(name for name in set(names) if name.startswith(incomplete) and _HARMLESS.fullmatch(name))
