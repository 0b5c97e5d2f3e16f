"""The states of profiles and releases: how far what is published may still be used."""

from collections.abc import Mapping
from enum import StrEnum

from app.domain.document import FaultCode, Place


class State(StrEnum):
    """draft → published ⇄ deprecated ⇄ retired; nothing that was published becomes a draft again."""

    DRAFT = "draft"
    PUBLISHED = "published"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


def read_state(fields: Mapping[str, object], at: Place) -> State | None:
    """Return the state that a publication asks for, None if it asks for none; its fault reported."""
    if "state" not in fields:
        return None
    for state in State:
        if fields["state"] == state.value:
            return state
    (at / "state").fault(FaultCode.INVALID_VALUE, f"is none of {', '.join(state.value for state in State)}")
    return None
