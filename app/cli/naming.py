"""Names that a shell completes, from the registry: within a second, or none.

They are read with the standard library: somebody waits, and the client of the commands takes longer to load.
"""

import json
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from threading import Thread
from typing import Any, TypeAlias
from urllib.parse import quote, unquote, urlencode, urlsplit

from app import DEFAULT_URL

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
    for item in _get(path, {"limit": str(_PAGE), **(parameters or {})})["items"]:
        yield item[field]


def _get(path: str, parameters: Mapping[str, str]) -> Any:
    """Return what the registry answers; raises whatever goes wrong."""
    # Completing a command's own words needs no HTTP.
    from urllib.request import Request, urlopen  # noqa: PLC0415

    address = urlsplit(os.environ.get("REGISTRY_URL") or DEFAULT_URL)
    if address.scheme not in {"http", "https"}:
        raise ValueError(address.scheme)
    user, _, host = address.netloc.rpartition("@")
    url = address._replace(netloc=host, path=f"{address.path.rstrip('/')}{quote(path)}", query=urlencode(parameters))
    request = Request(url.geturl())  # noqa: S310 (one of the schemes above)
    # A redirect elsewhere must not take the secret along.
    if user:
        request.add_unredirected_header("Authorization", f"Basic {b64encode(unquote(user).encode()).decode()}")
    elif token := os.environ.get("REGISTRY_TOKEN", "").strip():
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    with urlopen(request, timeout=_SECONDS) as response:  # noqa: S310 (as above)
        return json.load(response)


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
