"""Reading of published documents: every fault is collected with the place where it stands."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MAX_DESCRIPTION = 4096
# More are not told at once: nobody reads them.
MAX_FAULTS = 10_000
_TEXT_CONTROLS = frozenset("\n\t")


class FaultCode(StrEnum):
    """What can be wrong with a document; the strings are part of the interface and never change."""

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
    PROFILE_NOT_ACCEPTED = "profile-not-accepted"
    VARIABLE_REDEFINED = "variable-redefined"
    ENTRY_CHANGED = "entry-changed"
    LIMIT_EXCEEDED = "limit-exceeded"
    DUPLICATE = "duplicate"


def has_controls(text: str) -> bool:
    """Return whether a text for people has control characters other than line breaks and tabs."""
    return any(character < " " and character not in _TEXT_CONTROLS for character in text)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, at a JSON pointer (RFC 6901) into the document."""

    pointer: str
    code: FaultCode
    message: str


class InvalidDocumentError(ValueError):
    """A document that cannot be published; carries all its faults."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.pointer or '/'}: {fault.message}" for fault in faults[:5]))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a document, and the list that its faults go to."""

    faults: list[Fault] = field(default_factory=list)
    above: "Place | None" = None
    key: str | int = ""

    def __truediv__(self, key: str | int) -> "Place":
        return Place(self.faults, self, key)

    @property
    def pointer(self) -> str:
        """Return the JSON pointer of the place."""
        if self.above is None:
            return ""
        return f"{self.above.pointer}/{str(self.key).replace('~', '~0').replace('/', '~1')}"

    def fault(self, code: FaultCode, message: str) -> None:
        """Report a fault of what stands here."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(self.pointer, code, message))

    def raise_faults(self) -> None:
        """Raise InvalidDocumentError if any fault was reported anywhere in the document."""
        if self.faults:
            raise InvalidDocumentError(self.faults)

    def fields(
        self, document: object, *, required: frozenset[str] = frozenset(), optional: frozenset[str] = frozenset()
    ) -> Mapping[str, object]:
        """Return the JSON object here, its fields checked; one without fields where it is none."""
        if not isinstance(document, dict):
            self.fault(FaultCode.WRONG_TYPE, "is no object")
            return {}
        for missing in sorted(required - document.keys()):
            self.fault(FaultCode.MISSING_FIELD, f"has no {missing}, which is required")
        for unknown in sorted(document.keys() - required - optional):
            (self / unknown).fault(FaultCode.UNKNOWN_FIELD, "is no field known here")
        return document

    def entries(self, document: object) -> Iterator[tuple[str, object, "Place"]]:
        """Iterate over the entries of the JSON object here, whose keys are names, each with its place."""
        if not isinstance(document, dict):
            self.fault(FaultCode.WRONG_TYPE, "is no object")
            return
        for key, value in document.items():
            yield key, value, self / key

    def items(self, document: object) -> Iterator[tuple[object, "Place"]]:
        """Iterate over the items of the JSON array here, each with its place."""
        if not isinstance(document, list):
            self.fault(FaultCode.WRONG_TYPE, "is no array")
            return
        for index, value in enumerate(document):
            yield value, self / index

    def flag(self, document: object) -> bool:
        """Return the JSON true or false here."""
        if not isinstance(document, bool):
            self.fault(FaultCode.WRONG_TYPE, "is neither true nor false")
        return document is True

    def text(self, document: object) -> str:
        """Return the string here: a text for people, at most 4,096 characters, line breaks and tabs allowed."""
        if not isinstance(document, str):
            self.fault(FaultCode.WRONG_TYPE, "is no string")
            return ""
        if len(document) > MAX_DESCRIPTION:
            self.fault(FaultCode.LIMIT_EXCEEDED, f"is longer than {MAX_DESCRIPTION} characters")
        elif has_controls(document):
            self.fault(FaultCode.INVALID_VALUE, "has control characters")
        return document
