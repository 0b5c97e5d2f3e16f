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
        # Hosts are not read for a VM with a device that none of their units takes.
        wanted = [own for vm in kind.vms if all(own := needs.get((vm.name, kind.digest), ())) and own]
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
    A device that no unit takes needs a place in none of them: a VM with it has no room there.
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
        needs.setdefault((group.vm.name, kind.digest), []).append(frozenset(units))
    return {key: tuple(sorted(own, key=sorted)) for key, own in needs.items()}


@dataclass(frozen=True, slots=True)
class _Group:
    """A device of a VM that is made from a unit, with all parts behind it: one unit takes those that units make."""

    vm: Vm
    root: str
    devices: Sequence[Mapping[str, Any]] = field(repr=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.vm.name, self.root

    def asked(self, name: str) -> Mapping[str, Any]:
        """Return the group as a VM of its own: without the device that the root is a part of, which the host serves."""
        vm = {**self.vm.asked(), "id": name}
        # The VM's release and profile are defaults of devices that are not parts. The root must not get them if it was
        # a part.
        defaults: dict[str, Any] = {key: vm.pop(key) for key in ("release", "profile") if key in vm}
        return {**vm, "devices": [self._without_parent(device, defaults) for device in self.devices]}

    def _without_parent(self, device: Mapping[str, Any], defaults: Mapping[str, Any]) -> Mapping[str, Any]:
        if device["id"] != self.root:
            return device
        own = {key: content for key, content in device.items() if content is not None}
        if own.pop("part_of", None) is None:
            return {**defaults, **own}
        own.pop("role", None)
        return own


def _groups_of(vm: Vm, made: AbstractSet[str]) -> Sequence[_Group]:
    """Return the devices of a VM that go to units together. made: the ids of those that units make."""
    document = vm.asked()
    # Without an id, a device is called by its position.
    names = (device.get("id") for device in document["devices"])
    devices = {
        str(number if name is None else name): device
        for number, (name, device) in enumerate(zip(names, document["devices"], strict=True))
    }
    members: dict[str, list[Mapping[str, Any]]] = {}
    for name, device in devices.items():
        # The outermost one that a unit makes, itself or above it (DESIGN 5, Units).
        root = name if name in made else None
        above = device.get("part_of")
        while above is not None:
            root = above if above in made else root
            above = devices[above].get("part_of")
        if root is not None:
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
    return [(kind, group) for kind in kinds for vm in kind.vms for group in _groups_of(vm, made[vm.name, kind.host])]


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
    vms = [group.asked(str(number)) for number, group in enumerate(groups)]
    taking: set[tuple[tuple[str, str], str]] = set()
    left = iter(destinations)
    while batch := list(islice(left, _AT_ONCE)):
        question = {"vms": vms, "destinations": batch, "policy": policy.value, "detail": Detail.VERDICT.value}
        for answer in asking.answers(registry, question):
            results = answer["results"]
            taking.update((keys[result["vm"]], result["destination"]) for result in results if result["compatible"])
    return taking
