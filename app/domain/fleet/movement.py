"""The map of a fleet: which devices of a kind of hosts can move to another kind.

A device of the map is one as a new VM would get it: of a model that the kind implements, made with a profile, without
values of its own. Each is judged alone, by the rules of a verdict (DESIGN 5).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from app.domain.engine.question import Answer, Engine, Question
from app.domain.fleet.kind import HostKind
from app.domain.things.release import Release
from app.domain.values.canonical import canonical_json
from app.domain.verdict.source import Device, Registry

# The profile with which a release makes new devices of a model, None: without one.
ProfileOf: TypeAlias = Callable[[Release, str], str | None]


@dataclass(frozen=True, slots=True)
class Movement:
    """What can move from one kind to another. accepted, refused: devices, with the answer there.

    stuck: devices that cannot even move to another host of their own kind, with that answer; they are not counted.
    """

    accepted: Sequence[tuple[Device, Answer]]
    refused: Sequence[tuple[Device, Answer]]
    stuck: Sequence[tuple[Device, Answer]]

    @property
    def count(self) -> int:
        """How many devices are counted."""
        return len(self.accepted) + len(self.refused)


class FleetMap:
    """Judges the devices of kinds at kinds; equal devices are judged once."""

    def __init__(
        self,
        kinds: Sequence[HostKind],
        registry: Registry,
        engine: Engine,
        profile_of: ProfileOf,
        models: Collection[str] | None = None,
    ) -> None:
        """models: only devices of these are made; None: of all that a kind implements."""
        self.registry = registry
        self._engine = engine
        self._profile_of = profile_of
        self._models = models
        self._places = {kind.digest: place for place, kind in enumerate(kinds)}
        self._destinations = [kind.first for kind in kinds]
        self._answers: dict[tuple[object, ...], Sequence[Answer]] = {}

    def row(self, source: HostKind) -> Sequence[Movement]:
        """Return what can move from one kind to each of the kinds, in their order."""
        own = self._places[source.digest]
        movable: list[tuple[Device, Sequence[Answer]]] = []
        stuck: list[tuple[Device, Sequence[Answer]]] = []
        for device in self._devices(source):
            answers = self._answers_on(device)
            (movable if answers[own].compatible else stuck).append((device, answers))
        return [
            Movement(
                [(device, answers[place]) for device, answers in movable if answers[place].compatible],
                [(device, answers[place]) for device, answers in movable if not answers[place].compatible],
                [(device, answers[own]) for device, answers in stuck],
            )
            for place in range(len(self._destinations))
        ]

    def _devices(self, kind: HostKind) -> Iterator[Device]:
        """Iterate over the devices that hosts of a kind can make.

        Of each model by the first release of the whole host that implements it, otherwise by each unit that differs.
        """
        host = kind.first
        of_host: set[str] = set()
        ids: set[str] = set()
        for unit, name in kind.releases():
            release = self.registry.release(name)
            if release is None:
                continue
            for model in sorted(release.sets):
                # A unit makes only devices that no release of the whole host implements.
                if model in of_host or (self._models is not None and model not in self._models):
                    continue
                if unit is None:
                    of_host.add(model)
                has_limits = bool(host.limits(model, unit))
                device_id = model if model not in ids else f"{model} of {name}, unit {unit.id if unit else ''}"
                ids.add(device_id)
                yield Device(
                    id=device_id,
                    model=model,
                    release=name,
                    profile=self._profile_of(release, model),
                    # Hosts that state nothing of the model share one verdict.
                    host=host if has_limits else None,
                    unit=unit.id if unit is not None and has_limits else None,
                )

    def _answers_on(self, device: Device) -> Sequence[Answer]:
        key = (device.model, device.release, device.profile, _limits_of(device))
        if key not in self._answers:
            self._answers[key] = Question([device], self._engine).at_all(self._destinations)
        return self._answers[key]


def _limits_of(device: Device) -> str:
    if device.host is None:
        return ""
    unit = next((unit for unit in device.host.units if unit.id == device.unit), None)
    limits = device.host.limits(device.model, unit)
    return canonical_json([[dict(limit.restrict or {}), dict(limit.resolves or {})] for limit in limits])


def newest_listed(profiles: Sequence[str], named: Mapping[str, frozenset[str]]) -> ProfileOf:
    """Return the choice of the newest profile that a release lists and that names the model.

    profiles: the newest first. named: the models that each names.
    """

    def choose(release: Release, model: str) -> str | None:
        listed = release.profiles or frozenset()
        return next((name for name in profiles if name in listed and model in named[name]), None)

    return choose
