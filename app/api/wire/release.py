"""Releases and what comes of publishing on the wire."""

from pydantic import Field

from app.api.wire.base import Name, Published, Shape, Value
from app.api.wire.problem import MAX_BROKEN, Broken, Problem
from app.api.wire.profile import Asked, ProfileDocument
from app.api.wire.variable_set import Description, SetDocument
from app.domain.state import State


class ReleaseDocument(Shape):
    """One version of an implementation; the RFC's migration information JSON is one as it is."""

    models: dict[str, SetDocument] = Field(description="the variable set of each device model, by its name")
    profiles: list[Name | ProfileDocument] = Field(
        default_factory=list,
        description="the profiles that the release supports, by name or published with it. "
        "No list: it says nothing about profiles; an empty one: it supports none",
    )
    own_values: dict[Name, dict[Name, dict[str, Value]]] = Field(
        default_factory=dict,
        description="under a profile on its list, what the release itself makes of a model's variables where that is "
        "not what the profile says; what `render` leaves out depends on it, no verdict does",
    )
    description: Description = ""
    state: Asked = State.PUBLISHED


class Added(Shape):
    """How many entries of each kind were added; all 0 if everything was there already."""

    vendors: int = 0
    releases: int = 0
    models: int = Field(default=0, description="device models that came into being")
    release_models: int = Field(default=0, description="variable sets added to the release")
    variables: int = Field(default=0, description="variables that a model did not have before")
    off_values: int = Field(default=0, description="variables that gained an off value")
    drafts: int = Field(default=0, description="1 if a draft was kept where there was none")
    profiles: int = 0
    profile_models: int = Field(default=0, description="models that profiles gained")
    profile_lists: int = Field(default=0, description="1 if the release had no list of profiles before")
    listed_profiles: int = Field(default=0, description="profiles added to the release's list")
    own_values: int = Field(default=0, description="models under listed profiles with values of the release's own")


class NotAccepted(Shape):
    """What the release does not accept of a profile that it lists."""

    profile: str
    model: str
    problems: list[Problem]


class Publication(Shape):
    """What a publication did, or with `dry_run` would do."""

    name: str
    dry_run: bool
    added: Added
    not_accepted: list[NotAccepted] = Field(
        default_factory=list, description="per listed profile and model, what the release does not accept and why"
    )

    overridden: list[Broken] = Field(
        default_factory=list,
        description="what it breaks of earlier releases, published all the same with `override`; "
        f"at most {MAX_BROKEN:,} are told",
    )
    overridden_count: int = Field(default=0, description="how many there are")


class ReleaseModel(Shape):
    """A model of a release."""

    model: str
    digest: str = Field(description="of its variable set: GET /variable-sets/{digest}")


class Overridden(Shape):
    """A profile entry that an earlier release accepts, and that this one was allowed to break."""

    profile: str
    model: str
    accepted_by: str
    refused_by: str
    problems: list[str]


class Override(Shape):
    """That the release passed the evolution gate although it breaks it."""

    reason: str
    at: str = Field(description="when, in UTC (ISO 8601)")
    broken: list[Overridden] = Field(description=f"at most {MAX_BROKEN:,}")
    broken_count: int = Field(description="how many there are")


class StoredRelease(Shape):
    """A published release."""

    release: str = Field(examples=["qemu.org/qemu-system-x86_64@10.0.13"])
    implementation: str
    version: str
    state: Published
    description: str | None
    digest: str = Field(description="of the whole release as it stands: its models' digests and its list of profiles")
    models: list[ReleaseModel]
    profiles: list[str] | None = Field(description="null: it says nothing about profiles")
    own_values: dict[str, dict[str, dict[str, Value]]] = Field(
        default_factory=dict,
        description="only with `own_values=true`: per listed profile and model, what the release itself makes "
        "otherwise than the profile says",
    )
    overrides: list[Override] = Field(description="why it was published although it breaks earlier releases' profiles")


class ListedRelease(Shape):
    """A published release in a list."""

    release: str
    implementation: str
    version: str
    state: Published
    digest: str
    model_count: int
    profile_count: int | None = Field(description="null: it says nothing about profiles")
