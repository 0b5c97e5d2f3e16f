"""The report of a host: what all sources state, joined with what stays registered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.cli.client import Registry
from app.cli.host import devlink, emulator, mdev, nvidia, tun, vdpa, vfio, vhost_user
from app.cli.host.facts import Facts, Source, Unit
from app.cli.host.naming import Kernel, chosen
from app.cli.host.tool import Machine, NotAskedError
from app.cli.qemu.live import Progress
from app.domain.values.name import MAX_NAME
from app.wire.compatibility import MAX_UNITS

SOURCES = (vdpa.SOURCE, mdev.SOURCE, nvidia.SOURCE, devlink.SOURCE, vfio.SOURCE, vhost_user.SOURCE, tun.SOURCE)
_NOTHING: Mapping[str, Any] = {"releases": [], "restrict": {}, "resolves": {}, "units": [], "labels": {}}
_KERNEL = "kernel"
_CPU = "CPU features"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator says. releases: further ones of the host. units: by id, the release in place of the one found.

    labels: empty: those that are registered stay. emulated: VMs run without KVM.
    """

    binaries: Sequence[Path]
    releases: Sequence[str] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    emulated: bool = False


@dataclass(slots=True)
class Report:
    """A report. document: the body of PUT /hosts/{host}. existing: what is registered.

    not_asked: what could not be asked, with the reason; what is registered of it stays. notes: what a source says
    beside that.
    """

    document: dict[str, Any]
    existing: Mapping[str, Any]
    not_asked: Mapping[str, str]
    notes: Sequence[str]

    @property
    def removed(self) -> Sequence[str]:
        """What is registered and no longer there: releases, and the ids of units."""
        ids = {unit["id"] for unit in self.document["units"]}
        return [
            *(name for name in self.existing["releases"] if name not in self.document["releases"]),
            *(f"unit {unit['id']}" for unit in self.existing["units"] if unit["id"] not in ids),
        ]


def take(registry: Registry, host: str, wanted: Wanted, machine: Machine, progress: Progress, complain: Any) -> Report:
    """Return the report of a machine; complain: called with what is wrong with a binary. Raises RegistryError."""
    existing = {**_NOTHING, **(registry.find(f"/hosts/{host}") or {})}
    taking = _Taking(registry, existing)
    emulators = list(emulator.releases(registry, wanted.binaries, complain))
    facts = taking.all_facts(machine, progress)
    releases = [*wanted.releases, *emulators, *taking.kernel_releases(), *taking.releases(facts)]
    document = {
        "releases": list(dict.fromkeys([*releases, *taking.other_releases(releases)])),
        "restrict": {**existing["restrict"], **taking.restrict(wanted, progress)},
        "resolves": taking.resolves(facts),
        "units": taking.units(facts, wanted.units),
        "labels": dict(wanted.labels or existing["labels"]),
    }
    return Report(document, existing, taking.not_asked, taking.notes)


class _Taking:
    """Joins what the sources state with what is registered."""

    def __init__(self, registry: Registry, existing: Mapping[str, Any]) -> None:
        self._registry = registry
        self._existing = existing
        self._kernel: Kernel | None = None
        self.not_asked: dict[str, str] = {}
        self.notes: list[str] = []
        # The sources that have stated all that there is.
        self._whole: list[Source] = []

    def all_facts(self, machine: Machine, progress: Progress) -> Mapping[str, Facts]:
        """Return what each source states, by its name; without those that cannot be asked."""
        facts: dict[str, Facts] = {}
        try:
            self._kernel = Kernel.of(machine)
        except NotAskedError as error:
            self.not_asked[_KERNEL] = str(error)
        for number, source in enumerate(SOURCES):
            progress(source.name, number, len(SOURCES))
            try:
                facts[source.name] = source.read(machine, self._kernel or Kernel(""))
            except NotAskedError as error:
                self.not_asked[source.name] = str(error)
            else:
                self.notes += [f"{source.name}: {note}" for note in facts[source.name].notes]
                if not facts[source.name].is_partial:
                    self._whole.append(source)
        return facts

    def kernel_releases(self) -> Sequence[str]:
        """Return the releases of the kernel: its distribution's; upstream's if that is published or the only one."""
        if self._kernel is None:
            return []
        first, *others = self._kernel.releases("linux")
        return [first, *(name for name in others if self._registry.find(f"/releases/{name}") is not None)]

    def releases(self, facts: Mapping[str, Facts]) -> Iterator[str]:
        """Iterate over the releases of the whole host that the sources state."""
        for of_source in facts.values():
            for names in of_source.releases:
                if (release := chosen(self._registry, names)) is not None:
                    yield release

    def other_releases(self, stated: Sequence[str]) -> Iterator[str]:
        """Iterate over the registered releases that stay: those that no source states all of, if it was asked."""
        implementations = {release.partition("@")[0] for release in stated}
        asked = [source.owns_implementation for source in self._whole]
        if _KERNEL not in self.not_asked:
            asked.append(lambda implementation: implementation.endswith("/linux"))
        owners = [emulator.owns_implementation, *asked]
        for release in self._existing["releases"]:
            implementation = release.partition("@")[0]
            if implementation not in implementations and not any(owns(implementation) for owns in owners):
                yield release

    def restrict(self, wanted: Wanted, progress: Progress) -> Mapping[str, Any]:
        """Return what the CPU of this host lacks, by the CPU model."""
        try:
            return emulator.restrict(self._registry, wanted.binaries, progress, emulated=wanted.emulated)
        except NotAskedError as error:
            self.not_asked[_CPU] = str(error)
            return {}

    def resolves(self, facts: Mapping[str, Facts]) -> Mapping[str, Any]:
        """Return what the host makes of values: as the sources state it, and otherwise as it is registered."""
        resolves = {model: dict(variables) for model, variables in self._existing["resolves"].items()}
        for source in SOURCES:
            if source.name not in facts:
                continue
            for model, variables in source.resolves.items():
                stated = facts[source.name].resolves.get(model, {})
                for name in variables:
                    resolves.get(model, {}).pop(name, None)
                if stated and self._registry.find(f"/models/{model}") is not None:
                    resolves.setdefault(model, {}).update(stated)
        return {model: variables for model, variables in resolves.items() if variables}

    def units(self, facts: Mapping[str, Facts], releases: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """Return the units: those that stay registered in their order, then new ones.

        What a source states of a unit replaces what is registered for it. releases: by unit, in place of those found.
        """
        stated = {unit.id: unit for of_source in facts.values() for unit in of_source.units}
        units: list[Mapping[str, Any]] = []
        for registered in self._existing["units"]:
            if registered["id"] in stated:
                units += self._unit(stated.pop(registered["id"]), releases)
            elif not self._is_gone(registered["id"]):
                units.append(registered)
        units += [document for unit in stated.values() for document in self._unit(unit, releases)]
        if ids := releases.keys() - {unit["id"] for unit in units}:
            self.notes.append(f"--unit-release has no effect on units that are not there: {', '.join(sorted(ids))}")
        if len(units) > MAX_UNITS:
            left_out = ", ".join(unit["id"] for unit in units[MAX_UNITS:])
            self.notes.append(f"a host can have {MAX_UNITS} units; left out: {left_out}")
        return units[:MAX_UNITS]

    def _is_gone(self, unit: str) -> bool:
        owners: Sequence[Source] = [source for source in SOURCES if source.owns_unit(unit)]
        return bool(owners) and all(source in self._whole for source in owners)

    def _unit(self, unit: Unit, given: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        """Yield a unit as a host states it, nothing if it cannot be stated."""
        if unit.id in given:
            releases = [given[unit.id]]
        else:
            found = (unit.find(self._registry, names) for names in unit.releases)
            releases = [name for name in found if name is not None]
        if not releases or not 0 < len(unit.id) <= MAX_NAME:
            self.notes.append(f"{unit.id[:MAX_NAME]} is left out: what it runs has no name that a release can have")
            return
        restrict = unit.restrict(self._registry, releases)
        yield {
            "id": unit.id,
            "releases": releases,
            **({"restrict": restrict} if restrict else {}),
            **({} if unit.available is None else {"available": unit.available}),
        }
