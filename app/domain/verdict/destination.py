"""A destination: a host that a VM could move to, or that it runs on."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from app.domain.things.restriction import Limits, Resolutions, Restrictions
from app.domain.verdict.problem import Problem

_NOTHING: Mapping[str, Mapping[str, object]] = MappingProxyType({})


class Unit(NamedTuple):
    """A piece of a host that devices are made from: a card, an mdev parent, a vDPA management device (DESIGN 2).

    available: how many more devices it has room for, if the host states it. It decides nothing.
    """

    id: str
    releases: tuple[str, ...]
    restrict: Restrictions = MappingProxyType({})
    resolves: Resolutions = MappingProxyType({})
    available: int | None = None


class Destination(NamedTuple):
    """A host that a VM could move to, or that a device runs on.

    releases: what it runs, in its own order of preference.
    restrict: per model and variable the only values that this host allows.
    problem: why nothing can be said about it: it is not a registered host.
    resolves: per model, variable and value what this host makes of the value.
    units: what devices are made from, in its own order of preference.
    is_stale: whether it is registered and has not reported for a long time.
    """

    id: str
    releases: tuple[str, ...]
    restrict: Restrictions = MappingProxyType({})
    problem: Problem | None = None
    resolves: Resolutions = MappingProxyType({})
    units: tuple[Unit, ...] = ()
    is_stale: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it runs releases, and states nothing else."""
        return not (self.restrict or self.resolves or self.units or self.problem)

    def all_releases(self) -> tuple[str, ...]:
        """Return the releases of the whole host and of its units, each once."""
        if not self.units:
            return self.releases
        return tuple(dict.fromkeys([*self.releases, *(name for unit in self.units for name in unit.releases)]))

    def named_models(self) -> Iterator[tuple[str, str]]:
        """Iterate over the models of which the host or a unit states something, with what it states."""
        places: list[Destination | Unit] = [self, *self.units]
        for place in places:
            yield from ((model, "restricts") for model in place.restrict)
            yield from ((model, "resolves") for model in place.resolves)

    def limits(self, model: str, unit: Unit | None = None) -> Sequence[Limits]:
        """Return what the host, and a unit of it, states of the variables of a model; empty if nothing."""
        if unit is None and not self.restrict and not self.resolves:
            return ()
        places: list[Destination | Unit] = [self] if unit is None else [self, unit]
        stated = (Limits(place.restrict.get(model) or None, place.resolves.get(model) or None) for place in places)
        return [limits for limits in stated if limits != (None, None)]
