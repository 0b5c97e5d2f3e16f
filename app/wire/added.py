"""What a change of another registry added, by its kind: the shapes that a mirror requires of its documents.

What publications and errata state is read by the domain, as if it was published here. Fields that these shapes do not
have are ignored: later versions can add some. A host is stored as it comes, so it must have the shape of one.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from app.domain.publishing.change import ChangeKind
from app.domain.publishing.gate import Mode
from app.wire.base import MAX_TEXT, Name, OpenShape, Text, printable
from app.wire.change import Digest
from app.wire.host import HostDocument
from app.wire.reading import MAX_FAULTS, InvalidShapeError, read_shape
from app.wire.state import AnyState
from app.wire.variable_set import Description

_PrintableName = Annotated[Name, printable]
_Line = Annotated[str, Field(max_length=MAX_TEXT), printable]


class _Vendor(OpenShape):
    name: Description | None = None
    url: Description | None = None
    keys: list[Text] = Field(default_factory=list)
    revoked_keys: list[Text] = Field(default_factory=list)
    signed: bool | None = None


class _Profile(OpenShape):
    values: dict[str, Digest]


class _Release(OpenShape):
    models: dict[str, Digest]
    profiles: list[str | _Profile] = Field(default_factory=list)
    own_values: dict[str, dict[str, Digest]] = Field(default_factory=dict)


class _State(OpenShape):
    state: AnyState


class _Evolution(OpenShape):
    evolution: Annotated[Mode, Field(strict=False)]
    transitive: bool


class _Broken(OpenShape):
    profile: _PrintableName
    model: _PrintableName
    accepted_by: _PrintableName
    refused_by: _PrintableName
    problems: list[str]


class _Override(OpenShape):
    reason: Annotated[_Line, Field(min_length=1)]
    at: Annotated[str, Field(max_length=40), printable]
    broken: list[_Broken]


class _Withdrawal(OpenShape):
    erratum: _PrintableName


_SHAPES: Mapping[ChangeKind, type[OpenShape]] = {
    ChangeKind.VENDOR_REGISTERED: _Vendor,
    ChangeKind.VENDOR_COMPLETED: _Vendor,
    ChangeKind.RELEASE_PUBLISHED: _Release,
    ChangeKind.RELEASE_EXTENDED: _Release,
    ChangeKind.PROFILE_PUBLISHED: _Profile,
    ChangeKind.PROFILE_EXTENDED: _Profile,
    ChangeKind.RELEASE_STATE_CHANGED: _State,
    ChangeKind.PROFILE_STATE_CHANGED: _State,
    ChangeKind.ERRATUM_WITHDRAWN: _Withdrawal,
    ChangeKind.EVOLUTION_SET: _Evolution,
    ChangeKind.GATE_OVERRIDDEN: _Override,
}
_OF_HOSTS = frozenset({ChangeKind.HOST_REGISTERED, ChangeKind.HOST_CHANGED})


def check_added(kind: ChangeKind, document: Mapping[str, Any]) -> HostDocument | None:
    """Check that the document of a change has the shape of its kind; return the host that it states, if any.

    Raises InvalidShapeError.
    """
    if kind in _OF_HOSTS:
        return read_shape(HostDocument, document)
    if kind in _SHAPES:
        try:
            _SHAPES[kind].model_validate(document)
        except ValidationError as error:
            raise InvalidShapeError(error.errors(include_url=False, include_input=False)[:MAX_FAULTS]) from None
    return None
