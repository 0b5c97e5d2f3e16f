"""The report of a host: what all sources state, joined with what stays registered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from app.cli.client import Registry
from app.cli.host import devlink, emulator, mdev, nvidia, tun, vdpa, vfio, vhost_user
from app.cli.host.emulator import Emulator
from app.cli.host.facts import Facts, Source, Stated, Unit
from app.cli.host.naming import Kernel, Names
from app.cli.host.tool import Machine, NotAskedError
from app.cli.output import named
from app.cli.qemu.live import Progress
from app.domain.values.name import MAX_NAME
from app.hypervisor.naming import releases_of
from app.wire.compatibility import MAX_UNITS

SOURCES = (vdpa.SOURCE, mdev.SOURCE, nvidia.SOURCE, devlink.SOURCE, vfio.SOURCE, vhost_user.SOURCE, tun.SOURCE)
_NOTHING: Mapping[str, Any] = {"releases": [], "restrict": {}, "resolves": {}, "units": [], "labels": {}}
QEMU = "QEMU"
_KERNEL, _CPU = "kernel", "CPU features"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator says. binaries: empty: all QEMU binaries in the usual folders. releases: further ones.

    units: by id, the release in place of the one that is chosen. labels: empty: those that are registered stay.
    emulated: VMs run without KVM.
    """

    binaries: Sequence[Path] = ()
    releases: Sequence[str] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    emulated: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A report. document: the body of PUT /hosts/{host}. existing: what is registered.

    not_asked: what could not be asked, with the reason; what is registered of it stays. notes: what else people need to
    know about it.
    """

    document: Mapping[str, Any]
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


def take(registry: Registry, host: str, wanted: Wanted, machine: Machine, progress: Progress) -> Report:
    """Return the report of a machine. Raises RegistryError."""
    asked = _Asked(machine, wanted, progress)
    cpu = asked.restrict(registry)
    # What an operator changes while the tools are asked, which can take a minute, is not undone.
    existing = {**_NOTHING, **(registry.find(f"/hosts/{host}") or {})}
    joining = _Joining(Names(registry), existing, asked)
    releases = joining.releases(wanted.releases)
    document = {
        "releases": releases,
        "restrict": {**existing["restrict"], **cpu},
        "resolves": joining.resolves(releases),
        "units": joining.units(wanted.units),
        "labels": dict(wanted.labels or existing["labels"]),
    }
    return Report(document, existing, asked.not_asked, asked.notes)


class _Asked:
    """What the machine states. whole: the sources that have stated all that there is."""

    def __init__(self, machine: Machine, wanted: Wanted, progress: Progress) -> None:
        self.not_asked: dict[str, str] = {}
        self.notes: list[str] = []
        self.whole: list[Source] = []
        self.kernel: Kernel | None = None
        self._progress = progress
        self._is_emulated = wanted.emulated
        self._binaries = wanted.binaries or emulator.binaries(machine)
        self.emulators = list(self._emulators())
        try:
            self.kernel = Kernel.of(machine)
        except NotAskedError as error:
            self.not_asked[_KERNEL] = str(error)
        self.facts = dict(self._facts(machine))

    def _emulators(self) -> Iterator[Emulator]:
        if not self._binaries:
            self.not_asked[QEMU] = "there is no QEMU binary in the usual folders"
        for number, binary in enumerate(self._binaries):
            self._progress(QEMU, number, len(self._binaries))
            try:
                yield Emulator.of(binary)
            except NotAskedError as error:
                self.not_asked[QEMU] = str(error)

    def _facts(self, machine: Machine) -> Iterator[tuple[str, Facts]]:
        for number, source in enumerate(SOURCES):
            self._progress(source.name, number, len(SOURCES))
            try:
                facts = source.read(machine, self.kernel)
            except NotAskedError as error:
                self.not_asked[source.name] = str(error)
                continue
            except Exception as error:  # noqa: BLE001 (no fault of a tool ends the report of all others)
                self.not_asked[source.name] = f"it states something that this command cannot read ({error!r})"
                continue
            self.notes += [f"{source.name}: {note}" for note in facts.notes]
            if not facts.is_partial:
                self.whole.append(source)
            yield source.name, facts

    def restrict(self, registry: Registry) -> Mapping[str, Any]:
        """Return what the CPU of this host lacks, by the CPU model. Raises RegistryError."""
        try:
            return emulator.restrict(registry, self._binaries, self._progress, emulated=self._is_emulated)
        except NotAskedError as error:
            self.not_asked[_CPU] = str(error)
            return {}


class _Joining:
    """Joins what a machine states with what is registered."""

    def __init__(self, names: Names, existing: Mapping[str, Any], asked: _Asked) -> None:
        self._names = names
        self._existing = existing
        self._asked = asked

    def releases(self, wanted: Sequence[str]) -> Sequence[str]:
        """Return the releases of the whole host, each once; wanted: what the operator states."""
        stated = [*wanted, *self._of_emulators(), *self._of_kernel(), *self._of_sources()]
        return list(dict.fromkeys([*stated, *self._others(stated)]))

    def _of_emulators(self) -> Iterator[str]:
        for stated in self._asked.emulators:
            yield from releases_of(self._names.registry.is_published, stated.product, stated.version, stated.package)

    def _of_kernel(self) -> Sequence[str]:
        """Return the releases of the kernel: its distribution's; upstream's if that is published or the only one."""
        if self._asked.kernel is None:
            return []
        names = self._asked.kernel.releases("linux")
        first = self._names.chosen(names[:1])
        return [*([first] if first else []), *(name for name in names[1:] if self._names.is_published(name))]

    def _of_sources(self) -> Iterator[str]:
        for facts in self._asked.facts.values():
            for names in facts.releases:
                if (release := self._names.chosen(names)) is not None:
                    yield release

    def _others(self, stated: Sequence[str]) -> Iterator[str]:
        """Iterate over the registered releases that stay: those that nothing that was asked states all of."""
        implementations = {release.partition("@")[0] for release in stated}
        sources = [
            *((source.owns_release, source in self._asked.whole) for source in SOURCES),
            (emulator.owns_release, QEMU not in self._asked.not_asked),
            (Kernel.owns_release, _KERNEL not in self._asked.not_asked),
        ]
        for release in self._existing["releases"]:
            are_whole = [is_whole for owns, is_whole in sources if owns(release)]
            if not (all(are_whole) if are_whole else release.partition("@")[0] in implementations):
                yield release

    def resolves(self, releases: Sequence[str]) -> Mapping[str, Any]:
        """Return what the host makes of values: as the sources state it, and otherwise as it is registered.

        releases: those of the host.
        """
        resolves = {model: dict(variables) for model, variables in self._existing["resolves"].items()}
        for source in SOURCES:
            facts = self._asked.facts.get(source.name)
            for model, names in source.resolves.items() if facts is not None else ():
                for name in names:
                    resolves.get(model, {}).pop(name, None)
                stated = facts.resolves.get(model, {}) if facts is not None else {}
                # What no release of the host has would only be a warning in each answer.
                known = {name for release in releases for name in self._names.variables(release, model)}
                resolves.setdefault(model, {}).update({name: made for name, made in stated.items() if name in known})
        return {model: variables for model, variables in resolves.items() if variables}

    def units(self, given: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """Return the units: those that stay registered in their order, then new ones.

        given: by unit, the release in place of the one that is chosen.
        """
        stated = {unit.id: unit for facts in self._asked.facts.values() for unit in facts.units}
        there = set(stated)
        kept = {unit for facts in self._asked.facts.values() for unit in facts.kept}
        units: list[Mapping[str, Any]] = []
        for registered in self._existing["units"]:
            unit = stated.pop(registered["id"], None)
            if unit is not None:
                units.append(self._unit(unit, given, registered) or registered)
            elif registered["id"] in kept or not self._is_gone(registered, given):
                units.append(registered)
        room = max(0, MAX_UNITS - len(units))
        new = (self._unit(unit, given, {}) for unit in islice(stated.values(), room))
        units += [document for document in new if document is not None]
        notes = self._asked.notes
        if ids := given.keys() - there:
            notes.append(f"--unit-release has no effect on units that are not there: {', '.join(sorted(ids))}")
        if left_out := list(stated)[room:]:
            notes.append(f"a host can have {MAX_UNITS} units; {len(left_out):,} are left out: {named(left_out)}")
        return units

    def _is_gone(self, registered: Mapping[str, Any], given: Mapping[str, str]) -> bool:
        """Return whether a registered unit is of a source that no longer states it; given: releases by unit."""
        unit = registered["id"]
        # The release that the operator names for a unit of a report is no sign that the unit is the operator's.
        releases = [name for name in registered["releases"] if name != given.get(unit)]
        owners = [source for source in SOURCES if source.owns_unit(unit, releases)]
        return bool(owners) and all(source in self._asked.whole for source in owners)

    def _unit(self, unit: Unit, given: Mapping[str, str], registered: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return a unit as a host states it, None if it cannot be stated; what nobody states stays as registered."""
        if unit.id in given:
            releases = [given[unit.id]]
        else:
            chosen = (unit.find(self._names, names) for names in unit.releases)
            releases = [name for name in chosen if name is not None]
        if not releases or not 0 < len(unit.id) <= MAX_NAME or not unit.id.isprintable():
            tried = ", ".join(name for names in unit.releases for name in names)[:MAX_NAME]
            name = unit.id[:MAX_NAME] or "a unit without a name"
            notes = self._asked.notes
            notes.append(f"{name} is not stated: no release can be called {tried}; name it with --unit-release")
            return None
        restrict = _restricted(registered.get("restrict", {}), unit.restrict(self._names, releases))
        available = registered.get("available") if unit.available is None else unit.available
        return {
            "id": unit.id,
            "releases": releases,
            **({"restrict": restrict} if restrict else {}),
            **({"resolves": registered["resolves"]} if registered.get("resolves") else {}),
            **({} if available is None else {"available": available}),
        }


def _restricted(registered: Stated, stated: Stated) -> dict[str, dict[str, Any]]:
    """Return what a unit restricts: what is stated of a variable in place of what is registered, None for nothing."""
    merged = {
        model: {**registered.get(model, {}), **stated.get(model, {})} for model in dict.fromkeys([*registered, *stated])
    }
    kept = {
        model: {name: values for name, values in variables.items() if values is not None}
        for model, variables in merged.items()
    }
    return {model: variables for model, variables in kept.items() if variables}
