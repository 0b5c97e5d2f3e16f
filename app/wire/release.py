"""Releases and the results of publications on the wire."""

from typing import Annotated

from pydantic import Field

from app.domain.values.state import State
from app.wire.base import (
    DryRun,
    ImplementationName,
    ModelName,
    Name,
    OpenShape,
    ProfileName,
    ReleaseName,
    Shape,
    Value,
)
from app.wire.difference import Difference
from app.wire.problem import MAX_BROKEN, Broken, Problem
from app.wire.profile import NewState, ProfileDocument, Published
from app.wire.signature import Signature
from app.wire.variable_set import Description, SetDocument

Version = Annotated[
    str,
    Field(
        description="the version: 1 to 64 letters, digits and ._+~:-, the first a letter or digit", examples=["10.0.13"]
    ),
]


class ReleaseDocument(Shape):
    """One version of an implementation; the RFC's migration information JSON is a valid document."""

    models: dict[str, SetDocument] = Field(description="by device model, its variable set")
    profiles: list[Name | ProfileDocument] = Field(
        default_factory=list,
        description="the profiles that the release supports: names, or profiles to publish with it. "
        "Absent: the release has no list, and verdicts compare only variables; empty: it supports none",
    )
    own_values: dict[Name, dict[Name, dict[str, Value]]] = Field(
        default_factory=dict,
        description="by listed profile and model, the values that the release itself gives a new device where they "
        "differ from the profile: they are what a device made there has, and at a destination what has to be set "
        "explicitly otherwise (warning `must-be-set`)",
    )
    aliases: dict[Name, Name] = Field(
        default_factory=dict,
        description="other names of profiles and device models, as devices of this release can give them",
        examples=[{"qemu.org/q35": "qemu.org/pc-q35-10.0"}],
    )
    description: Description = ""
    state: NewState = State.PUBLISHED


class Added(OpenShape):
    """The number of entries added, by kind; all 0 if everything was already published."""

    vendors: int = Field(default=0, description="1 if the vendor is new, gained a name or URL, or has `signed` changed")
    releases: int = Field(default=0, description="1 if the release is new")
    models: int = Field(default=0, description="new device models")
    release_models: int = Field(default=0, description="variable sets added to the release")
    variables: int = Field(default=0, description="variables that are new to their model")
    off_values: int = Field(default=0, description="variables that gained an off value")
    drafts: int = Field(default=0, description="1 if the draft is new")
    profiles: int = Field(default=0, description="new profiles")
    profile_models: int = Field(default=0, description="models added to profiles")
    profile_lists: int = Field(default=0, description="1 if the release had no list of profiles yet")
    listed_profiles: int = Field(default=0, description="profiles added to the release's list")
    own_values: int = Field(default=0, description="models that gained `own_values` under a listed profile")
    aliases: int = Field(default=0, description="aliases added to the release")
    signatures: int = Field(default=0, description="1 if the publication is signed, and was not with these keys")


class NotAccepted(OpenShape):
    """A model of a listed profile that the release does not accept."""

    profile: ProfileName
    model: ModelName
    problems: list[Problem] = Field(description="why not")


class MadeValue(OpenShape):
    """The value that releases make of a variable by themselves."""

    before: Value | None = Field(alias="from", description="the previous release; null: no value is known")
    after: Value | None = Field(alias="to", description="this release; null: no value is known")


class MadeOtherwise(OpenShape):
    """A profile of which a release makes something else of a model than the previous release."""

    profile: ProfileName
    model: ModelName
    values: dict[str, MadeValue] = Field(description="the variables that differ")


class StateNotReadable(OpenShape):
    """A release whose devices cannot move to this one, because it does not read what they write."""

    release: str = Field(description="an earlier release, or this one")
    model: ModelName
    message: str = Field(description="what is written and what is read, for people")


class Publication(OpenShape):
    """What a publication did, or with `dry_run` would do."""

    name: str = Field(description="the name of what was published")
    dry_run: DryRun
    added: Added = Field(description="what was added")
    not_accepted: list[NotAccepted] = Field(
        default_factory=list,
        description="the models of listed profiles that the release does not accept, with the reasons",
    )

    overridden: list[Broken] = Field(
        default_factory=list,
        description="with `override`, what earlier releases accept and this one does not; "
        f"at most {MAX_BROKEN:,} entries",
    )
    overridden_count: int = Field(default=0, description="the number of all these entries")
    breaks: list[Broken] = Field(
        default_factory=list,
        description="of a draft: what the evolution gate would refuse when it is published; "
        f"at most {MAX_BROKEN:,} entries",
    )
    breaks_count: int = Field(default=0, description="the number of all these entries")
    previous: str | None = Field(
        default=None, description="the release of the highest lower version, which it is compared with; null: none"
    )
    no_longer_listed: list[str] = Field(
        default_factory=list, description="profiles that the previous release lists and this one does not"
    )
    makes_otherwise: list[MadeOtherwise] = Field(
        default_factory=list,
        description="profiles that both list, and of which this release makes other values by itself (`own_values`)",
    )
    state_not_readable: list[StateNotReadable] = Field(
        default_factory=list,
        description="the earlier releases whose `saved_state` this release does not read, and itself if it cannot read "
        f"its own; at most {MAX_BROKEN:,} entries",
    )
    state_not_readable_count: int = Field(default=0, description="the number of all these entries")
    differences: dict[str, list[Difference]] | None = Field(
        default=None,
        description="with `dry_run`, the differences from `previous` by device model, as GET /diff answers them once "
        "it is published; null: there is no previous release, or it is published",
    )


class ReleaseModel(OpenShape):
    """A device model of a release."""

    model: ModelName
    digest: str = Field(description="the digest of its variable set: GET /variable-sets/{digest}")


class Overridden(OpenShape):
    """A profile and model that an earlier release accepts, and this one was allowed to refuse."""

    profile: ProfileName
    model: ModelName
    accepted_by: str = Field(description="the release that accepts it")
    refused_by: str = Field(description="this release, which does not")
    problems: list[str] = Field(description="the reasons, for people")


class Override(OpenShape):
    """An admin's decision to publish a release that breaks earlier ones."""

    reason: str = Field(description="the reason, 1 to 1,000 characters")
    at: str = Field(description="the time in UTC (ISO 8601)")
    broken: list[Overridden] = Field(description=f"what it breaks, at most {MAX_BROKEN:,} entries")
    broken_count: int = Field(description="the number of all these entries")


class StoredRelease(OpenShape):
    """A published release."""

    release: ReleaseName
    implementation: ImplementationName
    version: Version
    state: Published
    description: str | None = Field(description="for people; null: none")
    digest: str = Field(
        description="the digest of the whole release: the digests of its models, and its list of profiles"
    )
    models: list[ReleaseModel] = Field(description="the models that it implements, by name")
    profiles: list[str] | None = Field(description="the profiles on its list; null: it has no list")
    own_values: dict[str, dict[str, dict[str, Value]]] = Field(
        default_factory=dict,
        description="only with `own_values=true`: by listed profile and model, the values that the release itself "
        "gives a new device where they differ from the profile",
    )
    aliases: dict[str, str] = Field(
        default_factory=dict, description="other names of profiles and models, as its devices can give them"
    )
    overrides: list[Override] = Field(
        description="why it was published although it breaks earlier releases; empty if it does not"
    )
    signatures: list[Signature] = Field(
        default_factory=list, description="signed publications of the release; empty: it is unsigned"
    )


class ListedRelease(OpenShape):
    """A published release in a list."""

    release: ReleaseName
    implementation: ImplementationName
    version: Version
    state: Published
    digest: str = Field(description="the digest of the whole release")
    model_count: int = Field(description="the number of models that it implements")
    profile_count: int | None = Field(description="the number of profiles on its list; null: it has no list")
