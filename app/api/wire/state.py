"""Changes of state on the wire."""

from typing import Annotated

from pydantic import Field

from app.api.wire.base import DryRun, ProfileName, ReleaseName, Shape
from app.api.wire.release import Publication
from app.domain.state import State

AnyState = Annotated[State, Field(strict=False, description="draft, published, deprecated or retired")]


class StateDocument(Shape):
    """The state that something is to have: published, deprecated (a warning in verdicts) or retired (a problem)."""

    state: Annotated[State, Field(strict=False)] = Field(
        description="published, deprecated or retired; of a draft published alone", examples=["deprecated"]
    )


class ListedPair(Shape):
    """A profile and a release that lists it."""

    profile: ProfileName
    release: ReleaseName


class Impact(Shape):
    """Whose verdicts a change of state flips, from compatible to incompatible or back."""

    profiles: list[str] = Field(description="those that a verdict with them flips for")
    releases: list[str] = Field(description="those that a verdict on them flips for")
    hosts: list[str] = Field(description="where a device could go that then no longer can, or the other way round")
    listed: list[ListedPair] = Field(description="the pairs of a release and a profile on its list that flip")


class StateChange(Shape):
    """What a change of state did, or with `dry_run` would do."""

    name: str = Field(description="the release or profile")
    before: AnyState
    state: AnyState
    dry_run: DryRun
    impact: Impact | None = Field(default=None, description="only with `dry_run`")
    publication: Publication | None = Field(default=None, description="what publishing a draft added")
