"""What comes of a publication: what it added, or why it is refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from app.domain.fleet.difference import Difference
from app.domain.publishing.gate import Broken
from app.domain.values.document import Fault, FaultCode, InvalidDocumentError, Place
from app.domain.values.value import Value
from app.domain.verdict.problem import Problem

_CONFLICTS = frozenset({FaultCode.ENTRY_CHANGED, FaultCode.VARIABLE_REDEFINED})


class UnknownVendorError(LookupError):
    """A name whose vendor is not registered."""

    def __init__(self, vendor: str) -> None:
        super().__init__(f"The vendor {vendor} is not registered.")
        self.vendor = vendor


class ConflictError(ValueError):
    """A publication that would change what is published, or redefine a variable; it carries every place."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.pointer or '/'}: {fault.message}" for fault in faults[:5]))
        self.faults = tuple(faults)


def refuse_faults(place: Place) -> None:
    """Raise InvalidDocumentError for a document with faults, ConflictError if all of them are changes of entries."""
    if place.faults and all(fault.code in _CONFLICTS for fault in place.faults):
        raise ConflictError(place.faults)
    if place.faults:
        raise InvalidDocumentError(place.faults)


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """A listed profile's values for a model that the release does not accept, and why."""

    profile: str
    model: str
    problems: tuple[Problem, ...]


@dataclass(slots=True)
class Added:
    """How many entries of each kind a publication added."""

    vendors: int = 0
    releases: int = 0
    models: int = 0
    release_models: int = 0
    variables: int = 0
    off_values: int = 0
    drafts: int = 0
    profiles: int = 0
    profile_models: int = 0
    profile_lists: int = 0
    listed_profiles: int = 0
    own_values: int = 0
    aliases: int = 0
    signatures: int = 0

    def counts(self) -> Mapping[str, int]:
        """Return the numbers by kind."""
        return {kind.name: getattr(self, kind.name) for kind in fields(self)}

    def __bool__(self) -> bool:
        return any(self.counts().values())


@dataclass(frozen=True, slots=True)
class MadeOtherwise:
    """A profile of which a release makes other values of a model by itself than the previous release does.

    values: by variable, before and after; None: no value is known.
    """

    profile: str
    model: str
    values: Mapping[str, tuple[Value | None, Value | None]]


@dataclass(frozen=True, slots=True)
class StateNotReadable:
    """An earlier release, or the release itself, whose saved state of a model the release cannot read."""

    release: str
    model: str
    message: str


@dataclass(slots=True)
class Outcome:
    """What a publication added, and what of its listed profiles the release does not accept.

    overridden: what it breaks of earlier releases, published all the same for a reason that an admin gave.
    breaks: of a draft, what the evolution gate would refuse when it is published.
    previous: the release that it is compared with; None if there is none.
    no_longer_listed: profiles that the previous release lists and this one does not. made_otherwise: profiles that both
    list, and of which this one makes something else by itself. state_not_readable: of it and all earlier releases.
    differences: by model, from the previous release; None: not compared.
    """

    added: Added = field(default_factory=Added)
    not_accepted: Sequence[NotAccepted] = ()
    overridden: Sequence[Broken] = ()
    breaks: Sequence[Broken] = ()
    previous: str | None = None
    no_longer_listed: Sequence[str] = ()
    made_otherwise: Sequence[MadeOtherwise] = ()
    state_not_readable: Sequence[StateNotReadable] = ()
    differences: Mapping[str, Sequence[Difference]] | None = None
