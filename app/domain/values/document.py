"""Reading published documents: every fault is collected, with its place in the document."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache

from app.domain.values.budget import spend

MAX_DESCRIPTION = 4096
# Beyond this many faults the rest is left out.
MAX_FAULTS = 1_000
# A message quotes at most this many characters of a value.
MAX_QUOTED = 100
# Comparing texts is slow, and a hostile document could ask for millions of comparisons: the limits of Place.hint.
_MAX_HINTS = 10
_MAX_HINT_WORDS = 1000
_MAX_HINT_LENGTH = 64
# What comparing with one word takes of a request's budget.
_STEPS_OF_A_HINT = 10
# A pointer to a fault repeats at most this many characters of a key. No name that is allowed is longer.
_MAX_STEP = 512
_TEXT_CONTROLS = frozenset("\n\t")


class FaultCode(StrEnum):
    """The kinds of faults in a document; the strings are part of the interface and never change."""

    WRONG_TYPE = "wrong-type"
    MISSING_FIELD = "missing-field"
    UNKNOWN_FIELD = "unknown-field"
    INVALID_NAME = "invalid-name"
    INVALID_VALUE = "invalid-value"
    INVALID_RANGE = "invalid-range"
    INIT_NOT_ALLOWED = "init-value-not-allowed"
    OFF_NOT_ALLOWED = "off-value-not-allowed"
    UNKNOWN_VARIABLE = "unknown-variable"
    WRONG_SCOPE = "wrong-scope"
    INIT_BREAKS_CONSTRAINT = "init-values-break-constraint"
    UNKNOWN_MODEL = "unknown-model"
    UNKNOWN_PROFILE = "unknown-profile"
    UNKNOWN_RELEASE = "unknown-release"
    PROFILE_NOT_ACCEPTED = "profile-not-accepted"
    VARIABLE_REDEFINED = "variable-redefined"
    ENTRY_CHANGED = "entry-changed"
    LIMIT_EXCEEDED = "limit-exceeded"
    DUPLICATE = "duplicate"
    SIGNATURE_REQUIRED = "signature-required"
    SIGNATURE_INVALID = "signature-invalid"
    UNKNOWN_KEY = "unknown-key"
    KEY_REVOKED = "key-revoked"


def has_controls(text: str) -> bool:
    """Return whether a text has control characters other than line breaks and tabs."""
    return any(character < " " and character not in _TEXT_CONTROLS for character in text)


def pointer_step(key: str | int) -> str:
    """Return a key as a step of a JSON pointer (RFC 6901); a key that is longer than any name is cut."""
    text = str(key)
    text = text if len(text) <= _MAX_STEP else f"{text[:_MAX_STEP]}…"
    return text.replace("~", "~0").replace("/", "~1")


def must_be(wanted: str, document: object) -> str:
    """Return the message for a value of another JSON type than wanted."""
    kind = next((name for of_type, name in _JSON_TYPES if isinstance(document, of_type)), "null")
    return f"must be {wanted}, not {kind}"


# bool before int, of which it is a subclass.
_JSON_TYPES: Sequence[tuple[type, str]] = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return a hint, in parentheses, at the known word that is most like a text; empty if none is."""
    hint = _hint if len(text) <= _MAX_HINT_LENGTH else _hint.__wrapped__
    return hint(text, tuple(sorted(known)))


# A misspelt name comes again and again: in each question about the device, for each of its destinations.
@lru_cache(maxsize=256)
def _hint(text: str, known: tuple[str, ...]) -> str:
    spend(_STEPS_OF_A_HINT * len(known))
    closest = get_close_matches(text, known, n=1)
    return f' (did you mean "{closest[0]}"?)' if closest else ""


def must_be_one_of(words: Sequence[str], document: object) -> str:
    """Return the message for a value that is not one of some words."""
    wanted = f"must be {', '.join(words[:-1])} or {words[-1]}"
    if isinstance(document, str):
        return f'{wanted}, not "{document[:MAX_QUOTED]}"{did_you_mean(document, words)}'
    return wanted


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, at a JSON pointer (RFC 6901) into the document."""

    pointer: str
    code: FaultCode
    message: str


class InvalidDocumentError(ValueError):
    """A document that cannot be published; it carries all its faults."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.pointer or '/'}: {fault.message}" for fault in faults[:5]))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a document, and the list that collects the faults of the whole document."""

    faults: list[Fault] = field(default_factory=list)
    parent: "Place | None" = None
    key: str | int = ""

    def __truediv__(self, key: str | int) -> "Place":
        return Place(self.faults, self, key)

    @property
    def pointer(self) -> str:
        """Return the JSON pointer of the place."""
        if self.parent is None:
            return ""
        return f"{self.parent.pointer}/{pointer_step(self.key)}"

    def fault(self, code: FaultCode, message: str) -> None:
        """Report a fault at this place."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(self.pointer, code, message))

    def hint(self, text: str, known: Collection[str]) -> str:
        """Return did_you_mean for one of the first faults of a document, else an empty text."""
        is_cheap = len(text) <= _MAX_HINT_LENGTH and len(known) <= _MAX_HINT_WORDS
        return did_you_mean(text, known) if is_cheap and len(self.faults) < _MAX_HINTS else ""

    def raise_faults(self) -> None:
        """Raise InvalidDocumentError if any fault was reported anywhere in the document."""
        if self.faults:
            raise InvalidDocumentError(self.faults)

    def fields(
        self, document: object, *, required: frozenset[str] = frozenset(), optional: frozenset[str] = frozenset()
    ) -> Mapping[str, object]:
        """Return the JSON object here with its fields checked; an empty one if it is not an object."""
        if not isinstance(document, dict):
            self.fault(FaultCode.WRONG_TYPE, must_be("an object", document))
            return {}
        for missing in sorted(required - document.keys()):
            self.fault(FaultCode.MISSING_FIELD, f"required field {missing} is missing")
        for unknown in sorted(document.keys() - required - optional):
            (self / unknown).fault(
                FaultCode.UNKNOWN_FIELD, f"unknown field{did_you_mean(unknown, required | optional)}"
            )
        return document

    def entries(self, document: object) -> Iterator[tuple[str, object, "Place"]]:
        """Iterate over the entries of the JSON object here, each with its place; its keys are names."""
        if not isinstance(document, dict):
            self.fault(FaultCode.WRONG_TYPE, must_be("an object", document))
            return
        for key, value in document.items():
            yield key, value, self / key

    def items(self, document: object) -> Iterator[tuple[object, "Place"]]:
        """Iterate over the items of the JSON array here, each with its place."""
        if not isinstance(document, list):
            self.fault(FaultCode.WRONG_TYPE, must_be("an array", document))
            return
        for index, value in enumerate(document):
            yield value, self / index

    def flag(self, document: object) -> bool:
        """Return the JSON true or false here."""
        if not isinstance(document, bool):
            self.fault(FaultCode.WRONG_TYPE, must_be("true or false", document))
        return document is True

    def text(self, document: object) -> str:
        """Return the string here: at most 4,096 characters, line breaks and tabs allowed."""
        if not isinstance(document, str):
            self.fault(FaultCode.WRONG_TYPE, must_be("a string", document))
            return ""
        if len(document) > MAX_DESCRIPTION:
            self.fault(FaultCode.LIMIT_EXCEEDED, f"must have at most {MAX_DESCRIPTION:,} characters")
        elif has_controls(document):
            self.fault(FaultCode.INVALID_VALUE, "must not have control characters other than line breaks and tabs")
        return document
