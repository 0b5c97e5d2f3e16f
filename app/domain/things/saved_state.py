"""The saved state of a device model in one release: the format that it writes, and those that it reads (DESIGN 3)."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.values.allowed import AllowedValues
from app.domain.values.document import FaultCode, Place, must_be
from app.domain.values.value import InvalidValueError, Type

_REQUIRED = frozenset({"writes", "reads"})


@dataclass(frozen=True, slots=True)
class SavedState:
    """Part of a variable set, but not a variable: it is never in profiles, values or configurations.

    writes: an int or a string. reads: of the same type.
    """

    writes: int | str
    reads: AllowedValues

    @classmethod
    def read(cls, document: object, place: Place) -> "SavedState | None":
        """Read it from a JSON object; report its faults, and return None if there are any."""
        faults_before = len(place.faults)
        fields = place.fields(document, required=_REQUIRED)
        writes = fields.get("writes", 0)
        if isinstance(writes, bool) or not isinstance(writes, int | str):
            (place / "writes").fault(FaultCode.WRONG_TYPE, must_be("an integer or a string", writes))
            return None
        try:
            Type.of(writes).read(writes)
        except InvalidValueError as error:
            (place / "writes").fault(FaultCode.INVALID_VALUE, str(error))
        reads = AllowedValues.read(Type.of(writes), fields.get("reads", []), place / "reads")
        return None if len(place.faults) > faults_before else cls(writes, reads)

    def is_read_by(self, other: "SavedState") -> bool:
        """Return whether another release reads what this one writes."""
        return self.writes in other.reads

    @property
    def writes_shown(self) -> str:
        """The format that it writes, as a message shows it: a string in quotation marks, because "3" is not 3."""
        return _shown(self.writes)

    @property
    def reads_shown(self) -> str:
        """The formats that it reads, as a message shows them."""
        if self.reads.is_empty:
            return "none"
        return (
            ", ".join(map(_shown, self.reads.document() or ())) if isinstance(self.writes, str) else self.reads.shown()
        )

    def document(self) -> Mapping[str, object]:
        """Return it in JSON."""
        return {"writes": self.writes, "reads": self.reads.listed()}


def _shown(written: object) -> str:
    return f'"{written}"' if isinstance(written, str) else str(written)
