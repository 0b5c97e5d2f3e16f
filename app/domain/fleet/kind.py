"""Kinds of hosts as people and programs name them: by a digest of what their hosts state (DESIGN 6)."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.domain.engine.kind import Kinds
from app.domain.things.release import Release
from app.domain.things.restriction import narrowed
from app.domain.things.variable_set import VariableSet
from app.domain.values.budget import spend
from app.domain.values.canonical import canonical_json, digest
from app.domain.verdict.destination import Destination, Unit


@dataclass(frozen=True, slots=True)
class HostKind:
    """Hosts that state the same releases, restrictions, resolutions and units; the ids of units apart.

    digest: of what they state. first: stands for all of them; its units are named by their positions.
    """

    digest: str
    first: Destination

    def releases(self) -> Sequence[tuple[Unit | None, str]]:
        """Return the releases of the whole host and of its units, each with its unit; equal units are named once."""
        stated: dict[tuple[str | None, str], tuple[Unit | None, str]] = {}
        for unit, name in _runners(self.first):
            stated.setdefault((None if unit is None else canonical_json(_stated(unit)), name), (unit, name))
        return list(stated.values())


def digest_of(host: Destination) -> str:
    """Return the digest of what a host states; the ids of its units, and their free places, are left out."""
    return digest(canonical_json({**_stated(host), "units": [_stated(unit) for unit in host.units]}))


def _stated(place: Destination | Unit) -> Mapping[str, Any]:
    return {"releases": list(place.releases), "restrict": dict(place.restrict), "resolves": dict(place.resolves)}


@dataclass(frozen=True, slots=True)
class Statement:
    """What a host states, in two parts. kind: what its kind states, canonical JSON. digest: of that.

    own: what the host alone states: the id of each unit and its free places, canonical JSON; None without units.
    """

    kind: str
    digest: str
    own: str | None

    @classmethod
    def of(cls, stated: Mapping[str, Any]) -> "Statement":
        """Take apart what a host states in plain JSON; what is empty can be left out."""
        units = stated.get("units", ())
        kind = canonical_json({**_of_kind(stated), "units": list(map(_of_kind, units))})
        own = [[unit["id"], unit.get("available")] for unit in units]
        return cls(kind, digest(kind), canonical_json(own) if own else None)


def _of_kind(stated: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "releases": stated["releases"],
        "restrict": stated.get("restrict", {}),
        "resolves": stated.get("resolves", {}),
    }


def stated_by(kind: Destination, own: str | None) -> dict[str, Any]:
    """Return what a host states in plain JSON; what is empty is left out of its units."""
    units = []
    for unit, (name, available) in zip(kind.units, json.loads(own or "[]"), strict=True):
        free = {} if available is None else {"available": available}
        units.append({"id": name, **{field: content for field, content in _stated(unit).items() if content}, **free})
    return {**_stated(kind), "units": units}


def read_kind(document: str) -> Destination:
    """Return the destination that stands for the hosts of a kind, from what they state as canonical JSON."""
    stated = json.loads(document)
    units = tuple(
        Unit(str(position), tuple(unit["releases"]), unit["restrict"], unit["resolves"])
        for position, unit in enumerate(stated["units"])
    )
    releases = tuple(stated["releases"])
    return Destination("", releases, stated["restrict"], resolves=stated["resolves"], units=units)


def units_of(kind: Destination, own: str | None) -> tuple[Unit, ...]:
    """Return the units of a host of a kind, with the ids and free places that it alone states."""
    if own is None:
        return kind.units
    return tuple(
        unit._replace(id=name, available=available)
        for unit, (name, available) in zip(kind.units, json.loads(own), strict=True)
    )


def _runners(host: Destination) -> Iterator[tuple[Unit | None, str]]:
    """Iterate over the releases of the whole host, then of its units, each with its unit, in the host's order."""
    yield from ((None, name) for name in host.releases)
    yield from ((unit, name) for unit in host.units for name in unit.releases)


class SetsAtHosts:
    """Variable sets as hosts and their units restrict and resolve them; equal statements about a set share one."""

    def __init__(self) -> None:
        self._kinds = Kinds()
        # Keyed by ids; the objects are held too, so that no id is reused.
        self._sets: dict[tuple[object, ...], tuple[VariableSet, VariableSet]] = {}

    def at(self, host: Destination, unit: Unit | None, own: VariableSet) -> VariableSet:
        """Return a set as a host, and a unit of it, restricts and resolves it; the same one if they do not."""
        limits = host.limits(own.model, unit)
        if not limits:
            return own
        key = (id(own), *(self._kinds.text(stated) for limit in limits for stated in limit))
        if key not in self._sets:
            spend(len(own.variables))
            self._sets[key] = (narrowed(own, limits)[0], own)
        return self._sets[key][0]

    def release_at(self, host: Destination, unit: Unit | None, release: Release, models: Collection[str]) -> Release:
        """Return a release with its sets of some models as a host, and a unit of it, restricts and resolves them."""
        places = [place for place in (host, unit) if place is not None]
        stated = {model for place in places for stated in (place.restrict, place.resolves) for model in stated}
        own = {model: release.sets[model] for model in stated.intersection(models) if model in release.sets}
        sets = {model: self.at(host, unit, variable_set) for model, variable_set in own.items()}
        return replace(release, sets={**release.sets, **sets}) if sets else release
