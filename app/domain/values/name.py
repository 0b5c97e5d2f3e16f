"""The syntax of names and versions (DESIGN 2): vendors, models, implementations, profiles, variables, hosts."""

import re
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from app.domain.values.document import MAX_QUOTED, FaultCode, Place, must_be

MAX_NAME = 255
MAX_VENDOR = 253
MAX_VARIABLE_NAME = 128
MAX_VERSION = 64
# The Unicode categories of white space, control, format and surrogate characters: different names must look different.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
_NOT_IN_NAMES = "@=?#%"
_NOT_IN_VARIABLES = frozenset("=/")
_DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_VENDOR = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})+")
_VERSION = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+~:-]{{0,{MAX_VERSION - 1}}}")


class InvalidNameError(ValueError):
    """A text that is not a valid name; the message says why."""


def _refuse_invisible(text: str, kind: str) -> None:
    if text.isascii() and text.isprintable() and " " not in text:
        return
    for character in text:
        if unicodedata.category(character) in _INVISIBLE:
            message = f"{kind} must not have white space or control characters, but has U+{ord(character):04X}"
            raise InvalidNameError(message)


def vendor_name(text: str) -> str:
    """Return text if it is a vendor's name: a DNS domain in lower case with a dot, at most 253 characters."""
    if not is_vendor(text):
        message = f'a vendor must be a DNS domain in lower case, such as vendor-a.com, not "{text[:MAX_QUOTED]}"'
        raise InvalidNameError(message)
    return text


# A document repeats the same names many times.
_cached = lru_cache(maxsize=16_384)


@_cached
def name(text: str) -> str:
    """Return text if it is a `<vendor>/<path>` name: NFC, no empty, `.` or `..` component, at most 255 characters."""
    if len(text) > MAX_NAME:
        message = f"a name must have at most {MAX_NAME} characters, not {len(text)}"
        raise InvalidNameError(message)
    _refuse_invisible(text, "a name")
    if forbidden := sorted(set(_NOT_IN_NAMES).intersection(text)):
        message = f"a name must have none of {' '.join(_NOT_IN_NAMES)}, but has {' '.join(forbidden)}"
        raise InvalidNameError(message)
    if not unicodedata.is_normalized("NFC", text):
        message = "a name must be in Unicode normalization form NFC"
        raise InvalidNameError(message)
    components = text.split("/")
    if len(components) == 1 or any(component in {"", ".", ".."} for component in components):
        message = 'a name must be <vendor>/<path>, without empty, "." or ".." components'
        raise InvalidNameError(message)
    vendor_name(components[0])
    return text


def is_vendor(text: str) -> bool:
    """Return whether text is a vendor's name."""
    return len(text) <= MAX_VENDOR and _VENDOR.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Return whether text is a `<vendor>/<path>` name."""
    try:
        name(text)
    except InvalidNameError:
        return False
    return True


def version(text: str) -> str:
    """Return text if it is a version: 1 to 64 letters, digits and `._+~:-`, the first a letter or digit."""
    if not _VERSION.fullmatch(text):
        message = f"a version must be 1 to {MAX_VERSION} letters, digits and ._+~:-, the first a letter or digit"
        raise InvalidNameError(message)
    return text


@_cached
def variable_name(text: str) -> str:
    """Return text if it is a variable's name: 1 to 128 characters, no `=`, `/`, white space or control characters."""
    if not 1 <= len(text) <= MAX_VARIABLE_NAME:
        message = f"a variable's name must have 1 to {MAX_VARIABLE_NAME} characters, not {len(text)}"
        raise InvalidNameError(message)
    _refuse_invisible(text, "a variable's name")
    if _NOT_IN_VARIABLES.intersection(text):
        message = "a variable's name must have no = and no /"
        raise InvalidNameError(message)
    return text


_NUMBER = re.compile(r"[0-9]+")


@_cached
def numeric(text: str) -> tuple[int, ...]:
    """Return the numeric components of a version, by which versions are compared (DESIGN 5)."""
    return tuple(int(number) for number in _NUMBER.findall(text))


def version_key(text: str) -> str:
    """Return text that sorts by code point as versions are compared: each number after the number of its digits."""
    numbers = map(str, numeric(text))
    return "".join(f"{len(number):02}{number}" for number in numbers)


def version_order(text: str) -> tuple[tuple[int, ...], str]:
    """Return the key that sorts versions by their numeric components, equal ones as text."""
    return numeric(text), text


def newest_first(text: str) -> tuple[str | int, ...]:
    """Return the key that sorts names by their text, and names that differ in a number with the higher one first."""
    texts, numbers = _NUMBER.split(text), numeric(text)
    pairs = zip(texts, numbers, strict=False)
    # 10.0.1 is higher than 10.0, so the end of a name comes after all that can follow there.
    return (*(part for part_text, number in pairs for part in (part_text, -number)), texts[-1] or chr(sys.maxunicode))


def host_name(text: str) -> str:
    """Return text if it is a host's name: 1 to 255 characters, no `/`, white space or control characters."""
    if not 1 <= len(text) <= MAX_NAME or "/" in text or text in {".", ".."}:
        message = f'a host\'s name must have 1 to {MAX_NAME} characters and no /, and not be "." or ".."'
        raise InvalidNameError(message)
    _refuse_invisible(text, "a host's name")
    return text


def vendor_of(owned_name: str) -> str:
    """Return the vendor that owns a valid name."""
    return owned_name.partition("/")[0]


@dataclass(frozen=True, slots=True, order=True)
class ReleaseName:
    """One version of an implementation, written `<implementation>@<version>`."""

    implementation: str
    version: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `<implementation>@<version>`; raises InvalidNameError."""
        implementation, separator, version_text = text.partition("@")
        if not separator:
            message = "a release must be <implementation>@<version>, such as qemu.org/qemu-system-x86_64@10.0.13"
            raise InvalidNameError(message)
        return cls(name(implementation), version(version_text))

    @property
    def vendor(self) -> str:
        """Return the vendor that owns the release."""
        return vendor_of(self.implementation)

    def __str__(self) -> str:
        return f"{self.implementation}@{self.version}"


def is_host_name(text: str) -> bool:
    """Return whether a host can be called so."""
    try:
        host_name(text)
    except InvalidNameError:
        return False
    return True


def is_release_name(text: str) -> bool:
    """Return whether text is `<implementation>@<version>`."""
    try:
        ReleaseName.parse(text)
    except InvalidNameError:
        return False
    return True


def read_name(document: object, place: Place, syntax: Callable[[str], str] = name) -> str:
    """Read a `<vendor>/<path>` name; return an empty text and report the fault if it is not one.

    syntax: `version` or `variable_name`, to read one of these instead.
    """
    if not isinstance(document, str):
        place.fault(FaultCode.WRONG_TYPE, must_be("a string", document))
        return ""
    try:
        return syntax(document)
    except InvalidNameError as error:
        place.fault(FaultCode.INVALID_NAME, str(error))
        return ""
