"""Releases and what comes of publishing on the wire."""

from typing import Annotated

from pydantic import Field

from app.api.wire.base import (
    DryRun,
    ImplementationName,
    ModelName,
    Name,
    ProfileName,
    Published,
    ReleaseName,
    Shape,
    Value,
)
from app.api.wire.problem import MAX_BROKEN, Broken, Problem
from app.api.wire.profile import Asked, ProfileDocument
from app.api.wire.variable_set import Description, SetDocument
from app.domain.state import State

Version = Annotated[
    str, Field(description="1 to 64 letters, digits and ._+~:-, the first a letter or digit", examples=["10.0.13"])
]


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

    vendors: int = Field(default=0, description="1 if the vendor was registered, or gained a name or URL")
    releases: int = Field(default=0, description="1 if the release is new")
    models: int = Field(default=0, description="device models that came into being")
    release_models: int = Field(default=0, description="variable sets added to the release")
    variables: int = Field(default=0, description="variables that a model did not have before")
    off_values: int = Field(default=0, description="variables that gained an off value")
    drafts: int = Field(default=0, description="1 if a draft was kept where there was none")
    profiles: int = Field(default=0, description="profiles that are new")
    profile_models: int = Field(default=0, description="models that profiles gained")
    profile_lists: int = Field(default=0, description="1 if the release had no list of profiles before")
    listed_profiles: int = Field(default=0, description="profiles added to the release's list")
    own_values: int = Field(default=0, description="models under listed profiles with values of the release's own")


class NotAccepted(Shape):
    """What the release does not accept of a profile that it lists."""

    profile: ProfileName
    model: ModelName
    problems: list[Problem] = Field(description="why not")


class Publication(Shape):
    """What a publication did, or with `dry_run` would do."""

    name: str = Field(description="what was published")
    dry_run: DryRun
    added: Added = Field(description="what was not there before")
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

    model: ModelName
    digest: str = Field(description="of its variable set: GET /variable-sets/{digest}")


class Overridden(Shape):
    """A profile entry that an earlier release accepts, and that this one was allowed to break."""

    profile: ProfileName
    model: ModelName
    accepted_by: str = Field(description="the release that accepts it")
    refused_by: str = Field(description="this release")
    problems: list[str] = Field(description="why not, for people")


class Override(Shape):
    """That the release passed the evolution gate although it breaks it."""

    reason: str = Field(description="as it was given, 1 to 1,000 characters")
    at: str = Field(description="when, in UTC (ISO 8601)")
    broken: list[Overridden] = Field(description=f"at most {MAX_BROKEN:,}")
    broken_count: int = Field(description="how many there are")


class StoredRelease(Shape):
    """A published release."""

    release: ReleaseName
    implementation: ImplementationName
    version: Version
    state: Published
    description: str | None = Field(description="for people; null: none")
    digest: str = Field(description="of the whole release as it stands: its models' digests and its list of profiles")
    models: list[ReleaseModel] = Field(description="that it implements, by name")
    profiles: list[str] | None = Field(description="null: it says nothing about profiles")
    own_values: dict[str, dict[str, dict[str, Value]]] = Field(
        default_factory=dict,
        description="only with `own_values=true`: per listed profile and model, what the release itself makes "
        "otherwise than the profile says",
    )
    overrides: list[Override] = Field(description="why it was published although it breaks earlier releases' profiles")


class ListedRelease(Shape):
    """A published release in a list."""

    release: ReleaseName
    implementation: ImplementationName
    version: Version
    state: Published
    digest: str = Field(description="of the whole release as it stands")
    model_count: int = Field(description="how many models it implements")
    profile_count: int | None = Field(
        description="how many profiles are on its list; null: it says nothing about profiles"
    )
