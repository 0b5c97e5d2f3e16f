"""What is published already, as far as a publication depends on it: loaded first, then planned against."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.things.model import Model
from app.domain.things.profile import Values
from app.domain.things.variable_set import VariableSet
from app.domain.values.state import State


@dataclass(frozen=True, slots=True)
class Entry:
    """What a profile states for one model, as digests: of its own values, and of the resolved values."""

    own: str
    resolved: str


@dataclass(frozen=True, slots=True)
class ExistingProfile:
    """A published profile; entries: the models that it names itself."""

    extends: str | None
    description: str | None
    state: State
    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class ExistingRelease:
    """A published release.

    sets: the digest of its variable set per model. listed: the profiles on its list, None without a list.
    own_values: per profile and model, the digest of its own values. aliases: other names of profiles and models.
    """

    description: str | None
    state: State
    sets: Mapping[str, str]
    listed: frozenset[str] | None
    own_values: Mapping[str, Mapping[str, str]]
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Existing:
    """What a publication of profiles, alone or with a release, depends on.

    models: those that the document names, or that its profiles inherit.
    profiles: those whose names the document publishes again.
    resolved: per profile that is published again, extended or listed, the digests of its resolved values by model.
    values: by digest, as far as resolved values are inherited or listed, or own values could be changed.
    release: the release that is published again. sets: by digest, those of its sets that the plan needs.
    has_draft: there is a draft of the release. targets: the aliases of the document and what they stand for, as
    far as models or profiles have these names. aliased: those of the document's own profiles and models whose names
    some release states as aliases.
    """

    models: Mapping[str, Model] = field(default_factory=dict)
    profiles: Mapping[str, ExistingProfile] = field(default_factory=dict)
    resolved: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    values: Mapping[str, Values] = field(default_factory=dict)
    release: ExistingRelease | None = None
    sets: Mapping[str, VariableSet] = field(default_factory=dict)
    has_draft: bool = False
    targets: frozenset[str] = frozenset()
    aliased: frozenset[str] = frozenset()
