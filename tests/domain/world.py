"""A registry in memory, built from documents as vendors publish them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from app.domain.engine.memo import Memo
from app.domain.engine.question import Answer, Engine, Question
from app.domain.fleet.remedy import RemedySearch
from app.domain.things.erratum import read_erratum, understood
from app.domain.things.model import Model
from app.domain.things.profile import Profile
from app.domain.things.release import Release, ReleaseDocument, typed_own_values
from app.domain.values.document import Place
from app.domain.values.name import ReleaseName
from app.domain.values.state import State
from app.domain.verdict.destination import Destination
from app.domain.verdict.host import Served, judge_vm
from app.domain.verdict.judge import Verdict
from app.domain.verdict.policy import Policy
from app.domain.verdict.source import Device, Registry, Source, with_parts

NIC = "vendor-a.com/nic"


def variable(
    kind: str, init: Any, off: Any = None, allowed: Sequence[Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Return the document of a variable."""
    document = {"type": kind, "init_value": init, **more}
    if off is not None:
        document["off_value"] = off
    if allowed is not None:
        document["allowed_values"] = list(allowed)
    return document


class World:
    """A registry in memory; implements the lookups of a verdict."""

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
        *,
        own_values: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> "World":
        """Publish a release; models: for each model, the document of its set or only the variables.

        own_values: per profile and model, as the release states them.
        """
        at = Place()
        documents = {
            model: document if "variables" in document else {"variables": document}
            for model, document in models.items()
        }
        read = ReleaseDocument.read({"models": documents}, at)
        at.raise_faults()
        name = ReleaseName.parse(release)
        for model, variable_set in read.sets.items():
            existing = self._models.get(model, Model(model, {}))
            assert not list(existing.contradictions(variable_set, name.vendor))
            added = existing.additions(variable_set, name.vendor)
            self._models[model] = existing.with_statements(name.vendor, added)
        listed = None if profiles is None else frozenset(profiles)
        own = {
            profile: {model: typed_own_values(values, read.sets[model], at) for model, values in of_profile.items()}
            for profile, of_profile in (own_values or {}).items()
        }
        at.raise_faults()
        self._releases[release] = Release(name, read.sets, listed, state, own, aliases or {})
        return self

    def erratum(self, release: str, model: str = NIC, description: str = "it fails", **more: Any) -> "World":
        """Publish an erratum of a release; others: the releases at the other end."""
        place = Place()
        document = {"release": release, "model": model, "description": description, **more}
        if "others" in document:
            document["with"] = document.pop("others")
        before = self._releases[release]
        erratum = understood(read_erratum(document, place), before.sets[model], place)
        place.raise_faults()
        errata = {**before.errata, model: [*before.errata.get(model, ()), erratum]}
        self._releases[release] = replace(before, errata=errata)
        return self

    def profile(self, name: str, values: Mapping[str, Mapping[str, Any]], state: State = State.PUBLISHED) -> "World":
        """Publish a profile with these resolved values."""
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
        """Return the answer on a VM's devices at one destination, which the engine and the plain rule both give."""
        answer = self.question(devices, policy).at(destination)
        registry = self.lookups()
        sources = [Source.of(device, registry) for device in with_parts(devices)]
        plain = judge_vm(sources, destination, registry, policy)
        assert [Served(one.release, replace(one.verdict, remedies=()), one.unit) for one in answer.devices] == plain
        assert answer.compatible == all(served.verdict.compatible for served in plain)
        self._check_remembered(devices, destination, policy, plain)
        return answer

    def _check_remembered(
        self, devices: Sequence[Device], destination: Destination, policy: Policy, plain: Sequence[Served]
    ) -> None:
        """Check that devices with other values, judged before, do not decide what is remembered for these."""
        memo, registry = Memo(), self.lookups()

        def asked(vm: Sequence[Device]) -> Answer:
            engine = Engine(registry, policy, memo, with_configurations=False)
            return Question(vm, engine).at(destination)

        # A device that is no part, but equal to one.
        asked([replace(device, id=f"other {device.id}", part_of=None, role=None) for device in devices])
        names = dict.fromkeys(name for device in devices for name in device.values)
        for name, written in product(names, _OTHER_VALUES):
            asked(
                [replace(one, values={**one.values, name: written}) if name in one.values else one for one in devices]
            )
        served = [
            Served(one.release, replace(one.verdict, configuration=None), one.unit) for one in asked(devices).devices
        ]
        assert served == [one._replace(verdict=replace(one.verdict, configuration=None)) for one in plain]

    def profiles_for(self, model: str) -> list[Profile]:
        """Return the profiles that name a model, the newest first."""
        return [profile for profile in reversed(self._profiles.values()) if model in profile.values]

    def lookups(self) -> Registry:
        """Return the lookups of a verdict."""
        return _Lookups(self)

    def question(self, devices: Sequence[Device], policy: Policy, *, with_remedies: bool = True) -> Question:
        """Return the question about the devices of a VM."""
        remedies = RemedySearch() if with_remedies else None
        return Question(devices, Engine(self.lookups(), policy, remedies=remedies))


# Values that some variable of a test allows.
_OTHER_VALUES = (1, 2, 4, 8, True, False, "on", "off", "", "x")


class _Lookups:
    """The lookups of a world under the names that a verdict uses."""

    def __init__(self, world: World) -> None:
        self._world = world

    def model(self, name: str) -> Model | None:
        return self._world.model(name)

    def release(self, name: str) -> Release | None:
        return self._world.release(name)

    def profile(self, name: str) -> Profile | None:
        return self._world.profile_named(name)


def device(release: str | None = None, profile: str | None = None, *, complete: bool = False, **values: Any) -> Device:
    """Return a NIC on the source; an underscore in a variable name becomes a hyphen."""
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
