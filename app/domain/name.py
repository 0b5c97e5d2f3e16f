"""Names of vendors, models, implementations, profiles, variables, and versions: what may be one."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

MAX_NAME = 255
MAX_VENDOR = 253
MAX_VARIABLE_NAME = 128
MAX_VERSION = 64
# White space, controls, unassigned-by-design and invisible formatting characters never belong in a name.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
_NOT_IN_NAMES = frozenset("@=?#%")
_NOT_IN_VARIABLES = frozenset("=/")
_DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_VENDOR = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})+")
_VERSION = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+~:-]{{0,{MAX_VERSION - 1}}}")


class InvalidNameError(ValueError):
    """A text that cannot be the name that it is meant to be; the message says why."""


def _refuse_invisible(text: str, what: str) -> None:
    for character in text:
        if unicodedata.category(character) in _INVISIBLE:
            message = f"{what} has white space or a control character (U+{ord(character):04X})"
            raise InvalidNameError(message)


def vendor_name(text: str) -> str:
    """Return text if it is a vendor: a DNS domain in lower case with at least one dot, at most 253 characters."""
    if not is_vendor(text):
        message = "a vendor is a DNS domain in lower case, such as vendor-a.com"
        raise InvalidNameError(message)
    return text


# A document names the same models and variables over and over.
_remembered = lru_cache(maxsize=16_384)


@_remembered
def name(text: str) -> str:
    """Return text if it is a `<vendor>/<path>` name: NFC, no empty, `.` or `..` component, at most 255 characters."""
    if len(text) > MAX_NAME:
        message = f"a name has at most {MAX_NAME} characters"
        raise InvalidNameError(message)
    _refuse_invisible(text, "the name")
    if forbidden := sorted(_NOT_IN_NAMES.intersection(text)):
        message = f"a name has none of {' '.join(forbidden)}"
        raise InvalidNameError(message)
    if not unicodedata.is_normalized("NFC", text):
        message = "a name is in Unicode normalization form NFC"
        raise InvalidNameError(message)
    components = text.split("/")
    if len(components) == 1 or any(component in {"", ".", ".."} for component in components):
        message = "a name is <vendor>/<path>, no component of it empty, '.' or '..'"
        raise InvalidNameError(message)
    vendor_name(components[0])
    return text


def is_vendor(text: str) -> bool:
    """Return whether text is a vendor."""
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
        message = "a version is 1 to 64 letters, digits and ._+~:- that begin with a letter or digit"
        raise InvalidNameError(message)
    return text


@_remembered
def variable_name(text: str) -> str:
    """Return text if it is a variable's name: 1 to 128 characters, no `=`, `/`, white space or control characters."""
    if not 1 <= len(text) <= MAX_VARIABLE_NAME:
        message = f"a variable's name has 1 to {MAX_VARIABLE_NAME} characters"
        raise InvalidNameError(message)
    _refuse_invisible(text, "the variable's name")
    if _NOT_IN_VARIABLES.intersection(text):
        message = "a variable's name has no = and no /"
        raise InvalidNameError(message)
    return text


def host_name(text: str) -> str:
    """Return text if it can be a host: 1 to 255 characters, no `/`, white space or control characters."""
    if not 1 <= len(text) <= MAX_NAME or "/" in text or text in {".", ".."}:
        message = f"a host's name has 1 to {MAX_NAME} characters and no /"
        raise InvalidNameError(message)
    _refuse_invisible(text, "the host's name")
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
        implementation, at, its_version = text.partition("@")
        if not at:
            message = "a release is <implementation>@<version>"
            raise InvalidNameError(message)
        return cls(name(implementation), version(its_version))

    @property
    def vendor(self) -> str:
        """Return the vendor that owns the release."""
        return vendor_of(self.implementation)

    def __str__(self) -> str:
        return f"{self.implementation}@{self.version}"


def is_release_name(text: str) -> bool:
    """Return whether text is `<implementation>@<version>`."""
    try:
        ReleaseName.parse(text)
    except InvalidNameError:
        return False
    return True
