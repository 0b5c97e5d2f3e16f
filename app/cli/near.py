"""Names that resemble unknown ones: a verdict calls a name unknown, and the registry knows what resembles it."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

from app.cli.client import Registry
from app.client import RegistryError
from app.domain.verdict.problem import ProblemCode

# By the code of the problem: where such names are, and the fields of a question that have them.
_KINDS = {
    ProblemCode.UNKNOWN_MODEL: ("models", ("model", "models")),
    ProblemCode.UNKNOWN_RELEASE: ("releases", ("release", "releases")),
    ProblemCode.UNKNOWN_PROFILE: ("profiles", ("profile",)),
    ProblemCode.UNKNOWN_HOST: ("hosts", ("host", "hosts")),
}
# So many names are looked up: what is misspelt is typed by hand.
_MAX_NAMES = 10


def suggestions(registry: Registry, question: Any, codes: Iterable[str]) -> Iterator[str]:
    """Iterate over lines about the unknown names of a question, with the names that resemble them.

    codes: of the problems of its answer.
    """
    for code, (path, fields) in _KINDS.items():
        if code in set(codes):
            for name in islice(dict.fromkeys(_values(question, fields)), _MAX_NAMES):
                if line := _suggestion(registry, path, name):
                    yield line


def _suggestion(registry: Registry, path: str, name: str) -> str | None:
    """Return what the registry says of an unknown name, None if it is known, or nothing resembles it."""
    try:
        registry.get(f"/{path}/{quote(name, safe='/@:')}")
    except RegistryError as error:
        if (error.problem or {}).get("did_you_mean"):
            return str((error.problem or {})["detail"])
    return None


def _values(document: Any, fields: Iterable[str]) -> Iterator[str]:
    """Iterate over the texts that a question has under some fields, at any depth."""
    if isinstance(document, list):
        for item in document:
            yield from _values(item, fields)
    elif isinstance(document, Mapping):
        for name, value in document.items():
            if name in fields:
                yield from filter(lambda text: isinstance(text, str), value if isinstance(value, list) else [value])
            else:
                yield from _values(value, fields)
