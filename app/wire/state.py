"""Changes of state on the wire."""

from typing import Annotated

from pydantic import Field

from app.domain.values.state import State
from app.wire.base import DryRun, OpenShape, ProfileName, ReleaseName, Shape
from app.wire.release import Publication

AnyState = Annotated[State, Field(strict=False, description="draft, published, deprecated or retired")]


class StateDocument(Shape):
    """The new state of a release or profile."""

    state: Annotated[State, Field(strict=False)] = Field(
        description="published; deprecated: verdicts warn; retired: verdicts refuse. A draft can only become published",
        examples=["deprecated"],
    )


class ListedPair(OpenShape):
    """A profile and a release that lists it."""

    profile: ProfileName
    release: ReleaseName


class Impact(OpenShape):
    """The verdicts that a change of state flips, from compatible to incompatible or back."""

    profiles: list[str] = Field(description="the profiles that a flipped verdict is about")
    releases: list[str] = Field(description="the releases that a flipped verdict is about")
    hosts: list[str] = Field(
        description="the hosts that a device can no longer move to, or can then move to; of more than 1,000 the first "
        "five of each kind"
    )
    host_count: int = Field(description="how many these hosts are")
    listed: list[ListedPair] = Field(description="the pairs of a release and a profile on its list whose verdict flips")


class StateChange(OpenShape):
    """What a change of state did, or with `dry_run` would do."""

    name: str = Field(description="the release or profile")
    before: AnyState
    state: AnyState
    dry_run: DryRun
    impact: Impact | None = Field(
        default=None, description="the verdicts that the change would flip; only with `dry_run`"
    )
    publication: Publication | None = Field(default=None, description="what was published; only for a draft")
