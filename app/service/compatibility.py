"""Compatibility: check a question, load what it names, and have the engine answer it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeAlias

from app.domain.engine.question import Answer, Engine, Question, TakesLongerError
from app.domain.fleet.group import Group, Listing, Named, groups_of, merged
from app.domain.fleet.remedy import RemedySearch
from app.domain.things.snapshot import Snapshot
from app.domain.values.document import FaultCode, Place
from app.domain.values.state import State
from app.domain.verdict.destination import Destination, Unit
from app.domain.verdict.policy import Policy
from app.domain.verdict.source import Device
from app.storage import fleet
from app.storage.fleet import Selected
from app.storage.reader import Reader, no_host
from app.wire import compatibility as wire
from app.wire.detail import Detail

# A question beyond these bounds takes more than a few milliseconds, too long for the event loop: explicit values times
# distinct hosts, and hosts.
_MAX_VALUES_AT_ONCE = 3_000
_MAX_HOSTS_AT_ONCE = 1_500
_WITH_REMEDIES = {Detail.PROBLEMS, Detail.FULL}


@dataclass(frozen=True, slots=True)
class VmAnswer:
    """The answers on one VM, one for each kind of destinations.

    vm: its id, None where the question asks about devices alone.
    """

    vm: str | None
    answers: Sequence[Answer]


class _Devices(NamedTuple):
    """The devices of a question that has no VMs, in place of a VM."""

    devices: Sequence[wire.Device]
    id: str | None = None
    release: str | None = None
    profile: str | None = None
    host: str | None = None


_Vm: TypeAlias = wire.Vm | _Devices


@dataclass(frozen=True, slots=True)
class Destinations:
    """What a question asks about. first: of each kind of destinations the one that stands for it, and is judged.

    count: for the limits: how many the question names one by one, and the kinds of those that it selects (DESIGN 6).
    listing: the destinations one by one, for answers that name them all. groups: the destinations of each kind, for
    summaries; they cost their kinds, however many hosts are of them. The other one is None.
    """

    first: Sequence[Destination]
    count: int
    listing: Listing | None = None
    groups: Sequence[Group] | None = None

    @property
    def answer_count(self) -> int:
        """How many are answered one by one; kinds, for a summary."""
        return len(self.first) if self.listing is None else len(self.listing.ids)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A question with all that it needs; its answers need no I/O.

    names_of: returns all destinations of a group; it can read the names of hosts.
    """

    snapshot: Snapshot
    destinations: Destinations
    answers: Iterator[VmAnswer]
    names_of: Callable[[Group], Iterable[Named]]


def ask(question: wire.Question, detail: Detail, reader: Reader) -> Loaded:
    """Return the answers on each VM; raises InvalidDocumentError for a question that has faults.

    detail: what the answer contains, which can be more than the question says.
    """
    vms: Sequence[_Vm] = question.vms if question.vms is not None else [_Devices(question.devices or [])]
    value_counts = [1 + len(device.values) for vm in vms for device in vm.devices]
    device_count, value_count = len(value_counts), sum(value_counts)
    _check_at_once(reader, value_count, len(question.destinations or ()))
    place = Place()
    _check(question, vms, device_count, place)
    place.raise_faults()
    hosts = _registered(vms, question.destinations or (), reader)
    devices_of = [[_device(device, vm, index, hosts) for index, device in enumerate(vm.devices)] for vm in vms]
    devices = [device for devices in devices_of for device in devices]
    asked = _Asked(question.destinations or (), hosts, reader, question.leave_out)
    if question.destinations:
        destinations = asked.grouped(place) if detail is Detail.SUMMARY else asked.listed(place)
        place.raise_faults()
        _check_pairs(detail, device_count * destinations.count, place)
        place.raise_faults()
        distinct = {host.all_releases() for host in destinations.first}
        _check_at_once(reader, value_count * len(distinct), destinations.answer_count)
        snapshot = _load(devices, chain.from_iterable(distinct), destinations.first, reader)
    else:
        all_releases, snapshot = _load_all_releases(devices, reader)
        _check_pairs(detail, device_count * len(all_releases), place)
        place.raise_faults()
        _check_at_once(reader, value_count * len(all_releases), len(all_releases))
        count = len(all_releases)
        if detail is Detail.SUMMARY:
            destinations = Destinations(all_releases, count, groups=groups_of(enumerate(all_releases)))
        else:
            destinations = Destinations(all_releases, count, listing=Listing.of(all_releases))
    engine = Engine(
        snapshot,
        Policy(question.policy.value),
        reader.memo,
        remedies=RemedySearch() if detail in _WITH_REMEDIES else None,
        with_configurations=detail is Detail.FULL,
        only_remembered=not reader.can_wait,
    )
    ids = [(vm.id or str(index)) if question.vms is not None else None for index, vm in enumerate(vms)]
    answers = _answers(ids, devices_of, destinations.first, engine)
    return Loaded(snapshot, destinations, answers, asked.names_of)


def _answers(
    ids: Sequence[str | None], devices_of: Sequence[Sequence[Device]], kinds: Sequence[Destination], engine: Engine
) -> Iterator[VmAnswer]:
    for vm, devices in zip(ids, devices_of, strict=True):
        yield VmAnswer(vm, Question(devices, engine).at_all(kinds))


def _check_at_once(reader: Reader, values: int, hosts: int) -> None:
    """Raise TakesLongerError for a question that is too large for the event loop."""
    if not reader.can_wait and (values > _MAX_VALUES_AT_ONCE or hosts > _MAX_HOSTS_AT_ONCE):
        raise TakesLongerError(values)


def _load(
    devices: Sequence[Device], running: Iterable[str], destinations: Sequence[Destination], reader: Reader
) -> Snapshot:
    """Load all that the devices and the hosts name; running: the releases that the hosts run."""
    models, releases, profiles = _named(devices)
    named = dict.fromkeys(model for host in destinations if not host.is_plain for model, _ in host.named_models())
    return reader.snapshot(
        models=models | named,
        releases=dict.fromkeys([*releases, *running]),
        profiles=profiles,
        of_models=models,
    )


def _load_all_releases(devices: Sequence[Device], reader: Reader) -> tuple[Sequence[Destination], Snapshot]:
    """Load every release that implements one of the models; those that are not retired are the destinations."""
    models, releases, profiles = _named(devices)
    implementing = reader.implementing(
        sorted({*models, *_aliased(devices, reader.snapshot(releases=releases, of_models=()))})
    )
    names = dict.fromkeys([*releases, *implementing])
    snapshot = reader.snapshot(models=models, releases=names, profiles=profiles, of_models=models)
    states = {name: release.state for name, release in snapshot.releases.items() if release is not None}
    usable = [name for name in implementing if states[name] is not State.RETIRED]
    return [Destination(name, (name,)) for name in usable], snapshot


def _aliased(devices: Sequence[Device], sources: Snapshot) -> Iterator[str]:
    """Iterate over the models that the devices' own releases call by other names."""
    for device in devices:
        running = device.host.all_releases() if device.host is not None else ()
        for name in (device.release, *running):
            release = None if name is None else sources.release(name)
            if release is not None and device.model in release.aliases:
                yield release.aliases[device.model]


def _named(devices: Sequence[Device]) -> tuple[dict[str, None], dict[str, None], dict[str, None]]:
    """Return the models, releases and profiles that devices name, each once."""
    models: dict[str, None] = {}
    releases: dict[str, None] = {}
    profiles: dict[str, None] = {}
    for device in devices:
        models[device.model] = None
        if device.release is not None:
            releases[device.release] = None
        if device.profile is not None:
            profiles[device.profile] = None
        if device.host is not None:
            releases.update(dict.fromkeys(device.host.all_releases()))
    return models, releases, profiles


def _check(question: wire.Question, vms: Sequence[_Vm], device_count: int, place: Place) -> None:
    if (question.devices is None) == (question.vms is None):
        place.fault(FaultCode.MISSING_FIELD, "must have either devices or vms")
    if device_count > wire.MAX_DEVICES:
        where = place / ("vms" if question.vms is not None else "devices")
        where.fault(FaultCode.LIMIT_EXCEEDED, f"must have at most {wire.MAX_DEVICES:,} devices")
    for index, destination in enumerate(question.destinations or ()):
        if not _is_plain(destination):
            _check_destination(destination, place / "destinations" / index)
    single = {
        index: destination.id or destination.host
        for index, destination in enumerate(question.destinations or ())
        if not destination.is_selection
    }
    _check_ids(single, place / "destinations")
    if question.vms is None:
        _check_devices(vms[0], place / "devices")
        return
    _check_ids(dict(enumerate(vm.id for vm in vms)), place / "vms")
    for index, vm in enumerate(vms):
        _check_devices(vm, place / "vms" / index / "devices")


def _check_devices(vm: _Vm, place: Place) -> None:
    """Report ids that are given twice, and parts that are of no device of the VM, or of themselves."""
    _check_ids(dict(enumerate(device.id for device in vm.devices)), place)
    above: dict[str, str] = {}
    for index, device in enumerate(vm.devices):
        if device.unit is not None and device.host is None and vm.host is None:
            (place / index / "unit").fault(FaultCode.MISSING_FIELD, "must be given together with host")
        if device.part_of is not None:
            above[_id(device, index)] = device.part_of
        elif device.role is not None:
            (place / index / "role").fault(FaultCode.MISSING_FIELD, "must be given together with part_of")
    if not above:
        return
    ids = {_id(device, index) for index, device in enumerate(vm.devices)}
    for index, device in enumerate(vm.devices):
        if device.part_of is None:
            continue
        at = place / index / "part_of"
        if device.part_of not in ids:
            at.fault(
                FaultCode.INVALID_VALUE, f"must be the id of a device of the same VM{at.hint(device.part_of, ids)}"
            )
        elif _is_within_itself(_id(device, index), above):
            at.fault(FaultCode.INVALID_VALUE, "must not lead back to the device itself")


def _id(device: wire.Device, index: int) -> str:
    return str(index) if device.id is None else device.id


def _is_within_itself(device: str, above: Mapping[str, str]) -> bool:
    at = above[device]
    for _ in above:
        if at == device or at not in above:
            return at == device
        at = above[at]
    # It leads into a circle of others.
    return False


def _is_plain(destination: wire.Destination) -> bool:
    """Return whether a destination states its releases, and nothing else."""
    return (
        destination.releases is not None
        and destination.host is None
        and not destination.is_selection
        and not destination.units
    )


def _check_destination(destination: wire.Destination, place: Place) -> None:
    stated = [
        destination.releases,
        destination.host,
        destination.labels,
        destination.label,
        destination.all_hosts or None,
    ]
    if sum(field is not None for field in stated) != 1:
        place.fault(FaultCode.MISSING_FIELD, "must have exactly one of releases, host, labels (or label) and all_hosts")
    registered = {"restrict": destination.restrict, "resolves": destination.resolves, "units": destination.units}
    for field, content in registered.items():
        if content and destination.releases is None:
            (place / field).fault(FaultCode.UNKNOWN_FIELD, "must not be given here: it is registered with the host")
    check_units(destination.units, place / "units")
    if destination.id is not None and destination.is_selection:
        (place / "id").fault(FaultCode.UNKNOWN_FIELD, "must not be given here: the id of each host is its name")


def check_units(units: Sequence[wire.UnitDocument], place: Place) -> None:
    """Report ids of units that are given twice."""
    _check_ids(dict(enumerate(unit.id for unit in units)), place)


def _check_ids(ids: Mapping[int, str | None], place: Place) -> None:
    if len(set(ids.values())) == len(ids) and None not in ids.values():
        return
    seen = set()
    for index, given in ids.items():
        identifier = str(index) if given is None else given
        if identifier in seen:
            (place / index / "id").fault(FaultCode.DUPLICATE, f"duplicate id {identifier}")
        seen.add(identifier)


def _check_pairs(detail: Detail, pairs: int, place: Place) -> None:
    limit = wire.MAX_PAIRS_IN_FULL if detail is Detail.FULL else wire.MAX_PAIRS
    if pairs > limit:
        message = f"must have at most {limit:,} pairs of a device and a destination, not {pairs:,}"
        if detail is Detail.FULL:
            message += f"; with a detail below full, at most {wire.MAX_PAIRS:,}"
        place.fault(FaultCode.LIMIT_EXCEEDED, message)


def _registered(
    vms: Sequence[_Vm], destinations: Sequence[wire.Destination], reader: Reader
) -> Mapping[str, Destination]:
    """Return the registered hosts that a question names, by name: those that devices run on, and destinations."""
    sources = {host for vm in vms for device in vm.devices if (host := device.host or vm.host) is not None}
    wanted = {asked.host for asked in destinations if asked.host is not None}
    return reader.hosts(sorted(sources | wanted))


def _device(device: wire.Device, vm: _Vm, index: int, hosts: Mapping[str, Destination]) -> Device:
    host = device.host or vm.host
    return Device(
        id=_id(device, index),
        model=device.model,
        # The VM's release and profile are the emulator's. A part is a device of another product.
        release=vm.release if device.release is None and device.part_of is None else device.release,
        profile=vm.profile if device.profile is None and device.part_of is None else device.profile,
        values=device.values,
        complete=device.complete,
        host=None if host is None else hosts[host],
        unit=device.unit,
        part_of=device.part_of,
        role=device.role,
    )


def groups_of_hosts(names: Sequence[str], labels: Sequence[str], reader: Reader, place: Place) -> Sequence[Group]:
    """Return registered hosts by kind: those that are named, then those that meet all conditions; each counts once.

    names, labels: can be empty. What is not registered, and conditions that no host meets, are groups of their own with
    the problem `unknown-host`. Report more than wire.MAX_DESTINATIONS names and kinds.
    """
    wanted = list(dict.fromkeys(names))
    asked = [wire.Destination.model_construct(host=name) for name in wanted]
    if labels:
        asked.append(wire.Destination.model_construct(labels=list(labels)))
    return _Asked(asked, reader.hosts(wanted), reader).grouped(place).groups or ()


class _SelectedHosts(NamedTuple):
    """Selected hosts of a kind. position: of the selection. selections: it, and those before, which leave out hosts."""

    position: int
    selections: Sequence[Sequence[str]]
    selected: Selected


class _Asked:
    """The destinations that a question asks about, selections of hosts included; each host counts once."""

    def __init__(
        self,
        destinations: Sequence[wire.Destination],
        hosts: Mapping[str, Destination],
        reader: Reader,
        left_out: Sequence[str] = (),
    ) -> None:
        self._destinations = destinations
        self._left_out = frozenset(left_out)
        self._hosts = hosts
        self._reader = reader
        # By id, with the position of the first that names it.
        self._explicit: dict[str, tuple[int, Destination]] = {}
        # The names of hosts that no selection counts, because the question names them, or leaves them out.
        self._named = set(self._left_out)
        # With the position of each. Those before leave out their hosts.
        self._selections: dict[tuple[str, ...], int] = {}
        self._selected: dict[str, list[_SelectedHosts]] = {}

    def listed(self, place: Place) -> Destinations:
        """Return the destinations one by one, in the order asked; report all faults."""
        self._read(place)
        if not self._selections:
            listing = Listing.of([destination for _, destination in self._explicit.values()])
            return Destinations(listing.first, self._count(0, place), listing=listing)
        kinds: dict[str, Destination] = {}
        for selection in self._selections:
            kinds |= self._reader.kinds([one.digest for one in self._reader.selected([selection])])
        count = self._count(len(kinds), place)
        listing, numbers = Listing(), dict[str, int]()
        names: set[str] = set()
        selections = {position: selection for selection, position in self._selections.items()}
        explicit = dict(self._explicit.values())
        for position in sorted([*selections, *explicit]):
            if position in explicit:
                destination = explicit[position]
                if destination.id not in names:
                    names.add(destination.id)
                    listing.add(destination)
                continue
            for member in self._reader.members(selections[position]):
                if member.name in names or (member.name in self._named and member.name not in self._explicit):
                    continue
                if len(selections) > 1 or explicit:
                    names.add(member.name)
                host = fleet.destination(member, kinds[member.digest])
                numbers[member.digest] = listing.add(host, numbers.get(member.digest))
        return Destinations(listing.first, count, listing=listing)

    def grouped(self, place: Place) -> Destinations:
        """Return the destinations by kind; report all faults."""
        self._read(place)
        groups = list(groups_of(self._explicit.values()))
        kinds: set[str] = set()
        earlier: list[tuple[str, ...]] = []
        for selection, position in self._selections.items():
            selections = [selection, *earlier]
            earlier.append(selection)
            selected = self._reader.selected(selections, self._named)
            content = self._reader.kinds([one.digest for one in selected])
            groups += [_group(one, content[one.digest], position) for one in selected]
            kinds |= content.keys()
            for one in selected:
                self._selected.setdefault(one.digest, []).append(_SelectedHosts(position, selections, one))
        groups = list(merged(groups)) if self._selections else groups
        return Destinations([group.first for group in groups], self._count(len(kinds), place), groups=groups)

    def names_of(self, group: Group) -> Iterable[Named]:
        """Return all destinations of a group."""
        yield from group.explicit
        for position, selections, selected in self._selected.get(group.digest or "", ()):
            names = self._reader.host_names(selections, selected, self._named)
            yield from (Named((position, name), name) for name in names)

    def _read(self, place: Place) -> None:
        """Read the destinations that are named one by one, and the selections that some host meets."""
        selections = {wanted.selection for wanted in self._destinations if wanted.is_selection}
        if len(selections) > wire.MAX_SELECTIONS:
            message = f"must have at most {wire.MAX_SELECTIONS} selections by labels, not {len(selections):,}"
            (place / "destinations").fault(FaultCode.LIMIT_EXCEEDED, message)
            return
        for index, wanted in enumerate(self._destinations):
            if not wanted.is_selection:
                self._add(index, self._destination(wanted, index), place)
                if wanted.host is not None:
                    self._named.add(wanted.host)
            elif wanted.selection not in self._selections:
                if self._reader.selected([wanted.selection], self._left_out):
                    self._selections[wanted.selection] = index
                else:
                    are_left_out = bool(self._left_out and self._reader.selected([wanted.selection]))
                    self._add(index, no_host(wanted.selection, are_left_out=are_left_out), place)
        self._named |= self._explicit.keys()
        if self._explicit:
            self._check_ids_of_hosts(place)

    def _check_ids_of_hosts(self, place: Place) -> None:
        """Report ids that are also names of selected hosts which state something else."""
        for selection, index in self._selections.items():
            for name in self._reader.within([selection], self._explicit.keys() - self._left_out):
                position, destination = self._explicit[name]
                if self._destinations[position].host != name and destination != self._reader.hosts([name])[name]:
                    message = f"id {name} is also the name of a host that a selection includes: use another id"
                    (place / "destinations" / max(position, index)).fault(FaultCode.DUPLICATE, message)

    def _add(self, index: int, destination: Destination, place: Place) -> None:
        """Add a destination, unless its id is there already; report it if it then states something else."""
        _, other = self._explicit.setdefault(destination.id, (index, destination))
        if other._replace(problem=None) != destination._replace(problem=None):
            message = f"duplicate id {destination.id}, which states something else"
            (place / "destinations" / index).fault(FaultCode.DUPLICATE, message)

    def _destination(self, asked: wire.Destination, index: int) -> Destination:
        """Return a destination that a question names."""
        if asked.releases is None:
            host = self._hosts[asked.host or ""]
            return host if asked.id is None else host._replace(id=asked.id)
        return _inline(str(index) if asked.id is None else asked.id, asked.releases, asked)

    def _count(self, kinds: int, place: Place) -> int:
        """Return the number of the destinations that count; report it if it is too large. kinds: of selected hosts."""
        count = len(self._explicit) + kinds
        if count > wire.MAX_DESTINATIONS:
            message = f"must have at most {wire.MAX_DESTINATIONS:,} destinations, not {count:,}"
            (place / "destinations").fault(FaultCode.LIMIT_EXCEEDED, message)
        return count


def _group(selected: Selected, kind: Destination, position: int) -> Group:
    """Return the group of selected hosts of a kind; position: of the selection in the question."""
    examples, stale_examples = (
        [Named((position, name), name) for name in names] for names in (selected.examples, selected.stale_examples)
    )
    first = kind._replace(id=selected.examples[0])
    return Group(first, selected.digest, selected.count, examples, selected.stale, stale_examples)


def _inline(identifier: str, releases: Sequence[str], asked: wire.Destination) -> Destination:
    """Return a destination that the question itself describes."""
    if _is_plain(asked) and not asked.restrict and not asked.resolves:
        return Destination(identifier, tuple(releases))
    units = (
        Unit(unit.id, tuple(unit.releases), wire.restrictions(unit.restrict), unit.resolves, unit.available)
        for unit in asked.units
    )
    restrict = wire.restrictions(asked.restrict) if asked.restrict else {}
    return Destination(identifier, tuple(releases), restrict, resolves=asked.resolves, units=tuple(units))
