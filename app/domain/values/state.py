"""The states of profiles and releases (DESIGN 4): whether a published one can still be used."""

from collections.abc import Mapping
from enum import StrEnum

from app.domain.values.document import FaultCode, Place, must_be_one_of


class State(StrEnum):
    """draft → published ⇄ deprecated ⇄ retired; nothing becomes a draft again once it is published."""

    DRAFT = "draft"
    PUBLISHED = "published"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


def read_state(fields: Mapping[str, object], place: Place) -> State | None:
    """Return the state that a publication asks for, None if it asks for none; report its fault."""
    if "state" not in fields:
        return None
    for state in State:
        if fields["state"] == state.value:
            return state
    states = [state.value for state in State]
    (place / "state").fault(FaultCode.INVALID_VALUE, must_be_one_of(states, fields["state"]))
    return None
