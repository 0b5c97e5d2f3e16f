"""A registry in memory, built from documents as vendors publish them."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.document import Place
from app.domain.model import Model
from app.domain.name import ReleaseName
from app.domain.profile import Profile
from app.domain.question import Answer, Destination, Judging, Question
from app.domain.release import Release, ReleaseDocument
from app.domain.source import Device, Registry
from app.domain.state import State
from app.domain.verdict import Policy, Verdict

NIC = "vendor-a.com/nic"


def variable(
    kind: str, init: Any, off: Any = None, allowed: Sequence[Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Return a variable's document."""
    document = {"type": kind, "init_value": init, **more}
    if off is not None:
        document["off_value"] = off
    if allowed is not None:
        document["allowed_values"] = list(allowed)
    return document


class World:
    """What is published; implements the lookups of a verdict."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}
        self._releases: dict[str, Release] = {}
        self._profiles: dict[str, Profile] = {}

    def publish(
        self,
        release: str,
        models: Mapping[str, Mapping[str, Any]],
        profiles: Sequence[str] | None = None,
        state: State = State.PUBLISHED,
    ) -> "World":
        """Publish a release: per model its set's document, or just its variables."""
        at = Place()
        documents = {model: each if "variables" in each else {"variables": each} for model, each in models.items()}
        read = ReleaseDocument.read({"models": documents}, at)
        at.raise_faults()
        name = ReleaseName.parse(release)
        for model, variable_set in read.sets.items():
            standing = self._models.get(model, Model(model, {}))
            assert not list(standing.contradictions(variable_set, name.vendor))
            added = standing.additions(variable_set, name.vendor)
            self._models[model] = standing.with_statements(name.vendor, added)
        listed = None if profiles is None else frozenset(profiles)
        self._releases[release] = Release(name, read.sets, listed, state)
        return self

    def profile(self, name: str, values: Mapping[str, Mapping[str, Any]], state: State = State.PUBLISHED) -> "World":
        """Publish a profile's resolved values."""
        self._profiles[name] = Profile(name, values, state)
        return self

    def model(self, name: str) -> Model | None:
        """Return a model."""
        return self._models.get(name)

    def release(self, name: str) -> Release | None:
        """Return a release."""
        return self._releases.get(name)

    def profile_named(self, name: str) -> Profile | None:
        """Return a profile."""
        return self._profiles.get(name)

    def ask(self, device: Device, *releases: str, policy: Policy = Policy.PERMISSIVE, **more: Any) -> Verdict:
        """Return the verdict on one device at one destination."""
        return self.answer([device], Destination("there", releases, **more), policy).devices[0].verdict

    def answer(self, devices: Sequence[Device], destination: Destination, policy: Policy = Policy.PERMISSIVE) -> Answer:
        """Return the answer on a VM's devices at one destination."""
        return self.question(devices, policy).at(destination)

    def profiles_for(self, model: str) -> list[Profile]:
        """Return the profiles that name a model, the newest first."""
        return [each for each in reversed(self._profiles.values()) if model in each.values]

    def lookups(self) -> Registry:
        """Return the lookups of a verdict."""
        return _Lookups(self)

    def question(self, devices: Sequence[Device], policy: Policy, *, with_remedies: bool = True) -> Question:
        """Return the question about a VM's devices."""
        return Question(devices, Judging(self.lookups(), policy), with_remedies=with_remedies)


class _Lookups:
    """The lookups of a world by the names that a verdict knows them by."""

    def __init__(self, world: World) -> None:
        self._world = world

    def model(self, name: str) -> Model | None:
        return self._world.model(name)

    def release(self, name: str) -> Release | None:
        return self._world.release(name)

    def profile(self, name: str) -> Profile | None:
        return self._world.profile_named(name)


def device(release: str | None = None, profile: str | None = None, *, complete: bool = False, **values: Any) -> Device:
    """Return a NIC as it is on the source; in variable names _ stands for -."""
    return Device(
        id="nic",
        model=NIC,
        release=release,
        profile=profile,
        values={name.replace("_", "-"): value for name, value in values.items()},
        complete=complete,
    )


def codes(verdict: Verdict) -> list[tuple[str, str | None]]:
    """Return the problems of a verdict as (code, variable)."""
    return [(problem.code.value, problem.variable) for problem in verdict.problems]
