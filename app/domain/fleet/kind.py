"""Kinds of hosts as people and programs name them: by a digest of what their hosts state (DESIGN 6)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.domain.engine.kind import Kinds, KindsOf
from app.domain.things.release import Release
from app.domain.values.canonical import canonical_json, digest
from app.domain.verdict.destination import Destination, Unit
from app.domain.verdict.host import narrowed


@dataclass(frozen=True, slots=True)
class HostKind:
    """Hosts that state the same releases, restrictions, resolutions and units; the ids of units apart.

    digest: of what they state. hosts: at least one, by name.
    """

    digest: str
    hosts: Sequence[Destination]

    @property
    def first(self) -> Destination:
        """The first host, which stands for all of them."""
        return self.hosts[0]

    def releases(self) -> Sequence[tuple[Unit | None, str]]:
        """Return the releases of the whole host and of its units, each with its unit; equal units are named once."""
        stated: dict[tuple[str | None, str], tuple[Unit | None, str]] = {}
        for unit, name in _runners(self.first):
            stated.setdefault((None if unit is None else canonical_json(_stated(unit)), name), (unit, name))
        return list(stated.values())


def kinds_of(hosts: Sequence[Destination]) -> Sequence[HostKind]:
    """Return the kinds of registered hosts: the one with most hosts first, then by the name of the first host."""
    groups = KindsOf.of(hosts, Kinds()).groups()
    kinds = [HostKind(digest_of(group[0]), group) for group in groups]
    return sorted(kinds, key=lambda kind: (-len(kind.hosts), kind.first.id))


def digest_of(host: Destination) -> str:
    """Return the digest of what a host states; the ids of its units, and their free places, are left out."""
    return digest(canonical_json({**_stated(host), "units": [_stated(unit) for unit in host.units]}))


def _stated(place: Destination | Unit) -> Mapping[str, Any]:
    return {"releases": list(place.releases), "restrict": dict(place.restrict), "resolves": dict(place.resolves)}


def _runners(host: Destination) -> Iterator[tuple[Unit | None, str]]:
    """Iterate over the releases of the whole host, then of its units, each with its unit, in the host's order."""
    yield from ((None, name) for name in host.releases)
    yield from ((unit, name) for unit in host.units for name in unit.releases)


def release_at(host: Destination, unit: Unit | None, release: Release) -> Release:
    """Return a release with what a host, and a unit of it, state: its sets allow only what they allow."""
    models = [
        model
        for place in (host, unit)
        if place is not None
        for stated in (place.restrict, place.resolves)
        for model in stated
        if model in release.sets
    ]
    if not models:
        return release
    sets = dict(release.sets)
    for model in dict.fromkeys(models):
        variable_set, _ = narrowed(release, model, host.limits(model, unit))
        if variable_set is not None:
            sets[model] = variable_set
    return replace(release, sets=sets)
