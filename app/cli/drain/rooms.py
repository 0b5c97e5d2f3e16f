"""The room at other hosts: which units VMs need there, and how many more devices each unit has room for."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from app.cli import asking, json_text
from app.cli.client import Registry
from app.cli.drain.question import Question
from app.cli.drain.vms import Vm
from app.client.core import PAGE
from app.domain.fleet.drain import Leaver, Need, Needs, Room, has_room
from app.domain.verdict.policy import Policy
from app.wire.detail import Detail

# What of a unit decides whether it takes a device.
_OF_UNIT = ("releases", "restrict", "resolves")
# A question describes at most this many hosts, because it must not be larger than a megabyte.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the plan of a drain is made from. units: the ids of the units of each host, by position.

    partial: kinds of which only so many hosts were read that each VM could have one of its own.
    """

    leavers: Sequence[Leaver]
    rooms: Sequence[Room]
    units: Mapping[str, Sequence[str]]
    partial: AbstractSet[str]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of hosts with units. document: its first host. vms: those that can go there.

    alike: the positions of units that state the same, each by that of the first of them.
    """

    digest: str
    document: Mapping[str, Any]
    vms: Sequence[Vm]
    alike: Mapping[int, Sequence[int]]

    @classmethod
    def of(cls, digest: str, document: Mapping[str, Any], vms: Sequence[Vm]) -> "_Kind":
        """Return a kind by its first host."""
        alike: dict[str, list[int]] = {}
        for number, unit in enumerate(document["units"]):
            alike.setdefault(json_text.line([unit.get(name) for name in _OF_UNIT]), []).append(number)
        return cls(digest, document, vms, {numbers[0]: numbers for numbers in alike.values()})

    @property
    def host(self) -> str:
        return str(self.document["host"])

    def only(self, unit: int) -> str:
        """Return the name of the destination that has only one of the units."""
        return f"{self.digest} {unit}"


def read_rooms(
    vms: Sequence[Vm],
    possible: Mapping[str, Sequence[Mapping[str, Any]]],
    drained: Question,
    registry: Registry,
) -> Rooms:
    """Return the room for VMs at the kinds of hosts that take them.

    possible: by VM, these kinds, as a summary answers them. drained: what was asked. Raises RegistryError.
    """
    kinds = list(_kinds(vms, possible, registry))
    needs = _needs(kinds, drained.policy, registry)
    labels = {"label": list(drained.labels)} if drained.labels else {}
    left_out = set(drained.leave_out)
    rooms: list[Room] = []
    units: dict[str, Sequence[str]] = {}
    partial: set[str] = set()
    for kind in kinds:
        wanted = [needs[vm.name, kind.digest] for vm in kind.vms if (vm.name, kind.digest) in needs]
        if not wanted:
            continue
        count = roomy = 0
        for host in registry.items("/hosts", kind=kind.digest, **labels):
            if host["host"] in left_out:
                continue
            room = Room(host["host"], kind.digest, tuple(unit.get("available") for unit in host["units"]))
            rooms.append(room)
            units[room.host] = [unit["id"] for unit in host["units"]]
            count += 1
            roomy += all(has_room(one, room) for one in set(wanted))
            if count >= PAGE and roomy >= len(wanted):
                # Each VM could have a host of its own.
                partial.add(kind.digest)
                break
    return Rooms(_leavers(vms, possible, needs), rooms, units, partial)


def unlimited(vms: Sequence[Vm], possible: Mapping[str, Sequence[Mapping[str, Any]]]) -> Rooms:
    """Return what a plan is made from where nothing is known of the room at hosts."""
    return Rooms(_leavers(vms, possible, {}), [], {}, frozenset())


def _leavers(
    vms: Sequence[Vm],
    possible: Mapping[str, Sequence[Mapping[str, Any]]],
    needs: Mapping[tuple[str, str], Needs],
) -> Sequence[Leaver]:
    return [
        Leaver(
            vm.name,
            {kind["kind"]: needs.get((vm.name, kind["kind"]), ()) for kind in possible[vm.name]},
            sum(kind["count"] for kind in possible[vm.name]),
        )
        for vm in vms
    ]


def _kinds(
    vms: Sequence[Vm], possible: Mapping[str, Sequence[Mapping[str, Any]]], registry: Registry
) -> Iterator[_Kind]:
    """Iterate over the kinds whose hosts have units."""
    at: dict[str, list[Vm]] = {}
    examples: dict[str, str] = {}
    for vm in vms:
        for kind in possible[vm.name]:
            at.setdefault(kind["kind"], []).append(vm)
            examples[kind["kind"]] = kind["examples"][0]
    for digest, host in examples.items():
        document = registry.find(f"/hosts/{host}")
        # The host can have changed since.
        if document is not None and document["kind"] == digest and document["units"]:
            yield _Kind.of(digest, document, at[digest])


def _needs(kinds: Sequence[_Kind], policy: Policy, registry: Registry) -> Mapping[tuple[str, str], Needs]:
    """Return what VMs need of the units of kinds, by VM and kind; those that need none are not in it.

    The answer about a host names the first unit that takes a device. Which others take it is asked about each alone.
    """
    in_units = _in_units(kinds, policy, registry)
    groups = {group.key: group for _, group in in_units}
    several = {kind.digest: kind for kind, _ in in_units if len(kind.alike) > 1}
    models = {device["model"] for group in groups.values() for device in group.devices}
    destinations = [_with_one_unit(kind, unit, models) for kind in several.values() for unit in kind.alike]
    takes = _taking(list(groups.values()), destinations, policy, registry)
    needs: dict[tuple[str, str], list[Need]] = {}
    for kind, group in in_units:
        units = [
            unit
            for first, positions in kind.alike.items()
            if kind.digest not in several or (group.key, kind.only(first)) in takes
            for unit in positions
        ]
        if units:
            needs.setdefault((group.vm.name, kind.digest), []).append(frozenset(units))
    return {key: tuple(sorted(own, key=sorted)) for key, own in needs.items()}


@dataclass(frozen=True, slots=True)
class _Group:
    """A device of a VM with its parts: one unit makes what of them no release of the whole host implements."""

    vm: Vm
    root: str
    devices: Sequence[Mapping[str, Any]] = field(repr=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.vm.name, self.root


def _groups_of(vm: Vm) -> Sequence[_Group]:
    """Return the devices of a VM, each with its parts."""
    document = vm.asked()
    # Without an id, a device is called by its position.
    devices = {str(device.get("id", number)): device for number, device in enumerate(document["devices"])}
    members: dict[str, list[Mapping[str, Any]]] = {}
    for name, device in devices.items():
        root = name
        for _ in devices:
            root = devices[root].get("part_of", root)
        members.setdefault(root, []).append({**device, "id": name})
    return [_Group(vm, root, of_root) for root, of_root in members.items()]


def _in_units(kinds: Sequence[_Kind], policy: Policy, registry: Registry) -> Sequence[tuple[_Kind, _Group]]:
    """Return the devices that units make, each with the kind of hosts of which these units are."""
    vms = {vm.name: vm for kind in kinds for vm in kind.vms}
    if not vms:
        return []
    question = {
        "vms": [vm.asked() for vm in vms.values()],
        "destinations": [{"host": kind.host} for kind in kinds],
        "policy": policy.value,
        "detail": Detail.PROBLEMS.value,
    }
    made = {
        (result["vm"], result["destination"]): {device["id"] for device in result["devices"] if "unit" in device}
        for answer in asking.answers(registry, question)
        for result in answer["results"]
    }
    groups = {name: _groups_of(vm) for name, vm in vms.items()}
    return [
        (kind, group)
        for kind in kinds
        for vm in kind.vms
        for group in groups[vm.name]
        if any(device["id"] in made[vm.name, kind.host] for device in group.devices)
    ]


def _with_one_unit(kind: _Kind, unit: int, models: Collection[str]) -> Mapping[str, Any]:
    """Return a host of a kind with one of its units alone; what it states of other models than these is left out."""

    def of_models(place: Mapping[str, Any]) -> dict[str, Any]:
        limits = {
            statement: {model: stated for model, stated in place.get(statement, {}).items() if model in models}
            for statement in ("restrict", "resolves")
        }
        return {"releases": place["releases"], **limits}

    own = kind.document["units"][unit]
    return {"id": kind.only(unit), **of_models(kind.document), "units": [{"id": own["id"], **of_models(own)}]}


def _taking(
    groups: Sequence[_Group], destinations: Sequence[Mapping[str, Any]], policy: Policy, registry: Registry
) -> Collection[tuple[tuple[str, str], str]]:
    """Return which devices, with their parts, which destinations take."""
    keys = {str(number): group.key for number, group in enumerate(groups)}
    vms = [{**group.vm.asked(), "id": str(number), "devices": group.devices} for number, group in enumerate(groups)]
    taking: set[tuple[tuple[str, str], str]] = set()
    left = iter(destinations)
    while batch := list(islice(left, _AT_ONCE)):
        question = {"vms": vms, "destinations": batch, "policy": policy.value, "detail": Detail.VERDICT.value}
        for answer in asking.answers(registry, question):
            results = answer["results"]
            taking.update((keys[result["vm"]], result["destination"]) for result in results if result["compatible"])
    return taking
