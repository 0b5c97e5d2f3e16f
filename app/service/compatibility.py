"""Compatibility: check a question, load what it names, and have the engine answer it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeAlias

from app.domain.engine.question import Answer, Engine, Question, TakesLongerError
from app.domain.fleet.remedy import RemedySearch
from app.domain.things.snapshot import Snapshot
from app.domain.values.document import FaultCode, Place
from app.domain.values.state import State
from app.domain.verdict.destination import Destination, Unit
from app.domain.verdict.source import Device
from app.domain.verdict.steps import Policy
from app.storage.reader import Reader
from app.wire import compatibility as wire

# A question beyond these bounds takes more than a few milliseconds, too long for the event loop: explicit values times
# distinct hosts, and hosts.
_MAX_VALUES_AT_ONCE = 3_000
_MAX_HOSTS_AT_ONCE = 1_500
_WITH_REMEDIES = {wire.Detail.PROBLEMS, wire.Detail.FULL}


@dataclass(frozen=True, slots=True)
class VmAnswer:
    """The answers on one VM, one for each destination; vm: its id, None where the question asks about devices alone."""

    vm: str | None
    destinations: Sequence[Destination]
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
class Loaded:
    """A question with all that it needs; its answers need no I/O."""

    snapshot: Snapshot
    answers: Iterator[VmAnswer]


def ask(question: wire.Question, detail: wire.Detail, reader: Reader) -> Loaded:
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
    sources = _source_hosts(vms, reader)
    devices_of = [[_device(device, vm, index, sources) for index, device in enumerate(vm.devices)] for vm in vms]
    devices = [device for devices in devices_of for device in devices]
    destinations = _destinations(question.destinations, reader, place) if question.destinations else None
    if destinations is not None:
        _check_pairs(detail, device_count * len(destinations), place)
        place.raise_faults()
        distinct = {host.all_releases() for host in destinations}
        _check_at_once(reader, value_count * len(distinct), len(destinations))
        snapshot = _load(devices, chain.from_iterable(distinct), destinations, reader)
    else:
        destinations, snapshot = _load_all_releases(devices, reader)
        _check_pairs(detail, device_count * len(destinations), place)
        place.raise_faults()
        _check_at_once(reader, value_count * len(destinations), len(destinations))
    engine = Engine(
        snapshot,
        Policy(question.policy.value),
        reader.memo,
        remedies=RemedySearch() if detail in _WITH_REMEDIES else None,
        only_remembered=not reader.can_wait,
    )
    ids = [(vm.id or str(index)) if question.vms is not None else None for index, vm in enumerate(vms)]
    return Loaded(snapshot, _answers(ids, devices_of, destinations, engine))


def _answers(
    ids: Sequence[str | None],
    devices_of: Sequence[Sequence[Device]],
    destinations: Sequence[Destination],
    engine: Engine,
) -> Iterator[VmAnswer]:
    for vm, devices in zip(ids, devices_of, strict=True):
        yield VmAnswer(vm, destinations, Question(devices, engine).at_all(destinations))


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


def _check_pairs(detail: wire.Detail, pairs: int, place: Place) -> None:
    limit = wire.MAX_PAIRS_IN_FULL if detail is wire.Detail.FULL else wire.MAX_PAIRS
    if pairs > limit:
        message = f"must have at most {limit:,} pairs of a device and a destination, not {pairs:,}"
        if detail is wire.Detail.FULL:
            message += f"; with a detail below full, at most {wire.MAX_PAIRS:,}"
        place.fault(FaultCode.LIMIT_EXCEEDED, message)


def _source_hosts(vms: Sequence[_Vm], reader: Reader) -> Mapping[str, Destination]:
    """Return the registered hosts that devices run on, by name."""
    names = {host for vm in vms for device in vm.devices if (host := device.host or vm.host) is not None}
    return reader.hosts(sorted(names))


def _device(device: wire.Device, vm: _Vm, index: int, sources: Mapping[str, Destination]) -> Device:
    host = device.host or vm.host
    return Device(
        id=_id(device, index),
        model=device.model,
        # The VM's release and profile are the emulator's. A part is a device of another product.
        release=vm.release if device.release is None and device.part_of is None else device.release,
        profile=vm.profile if device.profile is None and device.part_of is None else device.profile,
        values=device.values,
        complete=device.complete,
        host=None if host is None else sources[host],
        unit=device.unit,
        part_of=device.part_of,
        role=device.role,
    )


def _destinations(asked: Sequence[wire.Destination], reader: Reader, place: Place) -> Sequence[Destination]:
    """Return the destinations that are asked about, labels and all_hosts expanded; each host once."""
    hosts = reader.hosts([destination.host for destination in asked if destination.host is not None])
    destinations: dict[str, Destination] = {}
    expanded_already: set[tuple[str, ...]] = set()
    for index, wanted in enumerate(asked):
        if wanted.releases is not None and wanted.id is not None and wanted.id not in destinations:
            destinations[wanted.id] = _inline(wanted.id, wanted.releases, wanted)
            continue
        if wanted.is_selection:
            if wanted.selection in expanded_already:
                continue
            expanded_already.add(wanted.selection)
        expanded = _expanded(wanted, index, hosts, reader)
        if not destinations:
            destinations = {destination.id: destination for destination in expanded}
            continue
        for destination in expanded:
            other = destinations.setdefault(destination.id, destination)
            if other._replace(problem=None) != destination._replace(problem=None):
                where = place / "destinations" / index
                where.fault(FaultCode.DUPLICATE, f"duplicate id {destination.id}, which states something else")
    if len(destinations) > wire.MAX_DESTINATIONS:
        message = f"must have at most {wire.MAX_DESTINATIONS:,} destinations, not {len(destinations):,}"
        (place / "destinations").fault(FaultCode.LIMIT_EXCEEDED, message)
    return list(destinations.values())


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


def _expanded(
    asked: wire.Destination, index: int, hosts: Mapping[str, Destination], reader: Reader
) -> Sequence[Destination]:
    """Return the destinations that one entry of the question expands to."""
    if asked.host is not None:
        host = hosts[asked.host]
        return [host._replace(id=asked.id or asked.host)]
    if asked.releases is not None:
        return [_inline(str(index) if asked.id is None else asked.id, asked.releases, asked)]
    return reader.all_hosts(asked.selection)
