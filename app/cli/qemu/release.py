"""Builds the release document of a QEMU from its capture and from what the registry already has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from app.cli.qemu.capture import Capture, MachineType
from app.cli.qemu.properties import Kind, Value, is_unset_marker, kind_of, scope_of
from app.domain.values.allowed import AllowedValues
from app.domain.values.document import Place
from app.domain.values.lazy import lazy
from app.domain.values.name import numeric
from app.domain.values.value import Type, same, shown
from app.hypervisor.facts import (
    blocks_of,
    decided_by_host,
    decided_by_probe,
    is_never_migratable,
    is_state,
    loses_state,
    needs_of,
    rename_of,
    resolved_by_host,
    same_as,
    together_of,
)
from app.hypervisor.naming import BOARD, UPSTREAM, component, profile_of, without_epoch

VENDOR = UPSTREAM
# Device types with the same name differ between architectures, and do not read each other's saved states. This variable
# distinguishes the devices of every architecture but x86.
TARGET = "qemu-target"
_FIRST_TARGET = "x86_64"
_NAME_IS_TAKEN = "another device type has its name in the registry"
_NOT_UPSTREAM = f"the registry has no such device model of {VENDOR}; {VENDOR} has to publish it first"
# What a difference is about, where it is not about a variable.
MIGRATABLE, BLOCKS, NEEDS, TOGETHER = "migratable", "blocks_migration", "needs", "together"
SAVED_STATE = "saved_state"


def qualified(name: str, vendor: str = VENDOR) -> str:
    """Return the registry's name for a device type."""
    return f"{vendor}/{component(name)}"


@dataclass(frozen=True, slots=True)
class Known:
    """The content of the registry that a release depends on.

    statements: model → variable → {"type", "off_value"?}. earlier: the next lower release's variable sets, by model.
    earlier_version: its version, empty if there is none. own: this release's variable sets, by model, if it is already
    published. profiles: name → model → resolved values.
    """

    statements: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Mapping[str, Value]]] = field(default_factory=dict)
    earlier_version: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is published differently from this QEMU; the import does not change it.

    source: the profile, or the part of the release, that has the value.
    """

    device: str
    variable: str
    published: Value | None
    captured: Value | None
    source: str


@dataclass(frozen=True, slots=True)
class _Variable:
    """The variable of a property; constant: it allows only its init value.

    stands_for: the variable that it is under another name; inverted: with the opposite value.
    """

    kind: Kind
    scope: str
    init: Value
    off: Value | None
    constant: bool = False
    stands_for: str | None = None
    inverted: bool = False
    resolved_by_host: Sequence[Value] = ()

    def compared(self, value: Value) -> Value:
        """Return a value as one of the variable that it stands for."""
        return not value if self.inverted else value

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {"type": self.kind.type, "init_value": self.init, "scope": self.scope}
        if self.stands_for is not None:
            document["stands_for"] = {"variable": self.stands_for, "inverted": self.inverted}
        if self.resolved_by_host:
            document["resolved_by_host"] = list(self.resolved_by_host)
        if self.off is not None:
            document["off_value"] = self.off
        if self.constant:
            document["settable"] = False
        elif (allowed := self.kind.allowed_values) is not None:
            document["allowed_values"] = allowed
        return document


class QemuRelease:
    """A QEMU as a release: one device model per device type, one profile per machine type.

    vendor: who publishes it. A distribution lists upstream's profiles, and has machine types of its own; device models
    are upstream's, so those that upstream has not published are left out.
    """

    def __init__(self, capture: Capture, known: Known, vendor: str = VENDOR) -> None:
        self._capture = capture
        self._known = known
        self._vendor = vendor
        types = capture.device_types
        # Of two types with one name in the registry, the one that is called so counts.
        in_order = sorted(types, key=lambda device: (component(device) == device, device))
        names = {qualified(device): device for device in in_order}
        self.devices = [
            device
            for device in types
            if names[qualified(device)] == device and (vendor == VENDOR or qualified(device) in known.statements)
        ]
        self.left_out = {
            device: _NAME_IS_TAKEN if names[qualified(device)] != device else _NOT_UPSTREAM
            for device in types
            if device not in set(self.devices)
        }
        self.renamed = {device: component(device) for device in self.devices if component(device) != device}
        self.kinds = {
            device: {
                name: kind
                for name, qemu_property in capture.properties[device].items()
                if name not in capture.state.get(device, ())
                and not is_state(capture.lineage(device), name)
                and (kind := self._kind(device, kind_of(qemu_property), name)) is not None
            }
            for device in self.devices
        }

    def profile_name(self, machine: MachineType) -> str:
        """Return the name of a machine type's profile: upstream's if upstream has it, else the publisher's."""
        target = self._capture.target
        upstream = profile_of(target, machine.name)
        return upstream if upstream in self._known.profiles else profile_of(target, machine.name, self._vendor)

    def _kind(self, device: str, kind: Kind | None, name: str) -> Kind | None:
        """Return a property's kind, converted to the variable's published type: a type never changes."""
        statement = self._known.statements.get(qualified(device), {}).get(name)
        return kind if kind is None or statement is None else kind.in_type(statement["type"])

    @lazy
    def differences(self) -> Sequence[Difference]:
        """The differences between this QEMU and what is published: in types, profiles and its own variable sets."""
        return [*self._differences_in_types(), *self._differences_in_profiles, *self._differences_in_own_sets()]

    def _differences_in_types(self) -> Iterator[Difference]:
        for device, kinds in self.kinds.items():
            for name, kind in kinds.items():
                captured = kind_of(self._capture.properties[device][name])
                if captured is not None and captured.type != kind.type:
                    yield Difference(device, name, kind.type, captured.type, "its type")

    def document(self) -> dict[str, Any]:
        """Return the release's document without the models and profile entries that are already published."""
        return {
            "models": {
                qualified(device): self._set_document(device)
                for device in self.devices
                if qualified(device) not in self._known.own
            },
            # Without machine types that are profiles, it says nothing about profiles; an empty list would support none.
            **({"profiles": list(map(self._profile_entry, self._machines))} if self._machines else {}),
            "own_values": self._own_values_of_release(),
            "aliases": self._aliases(),
        }

    def _aliases(self) -> Mapping[str, str]:
        """Return the other names of machine types and device types that people use."""
        aliases = {}
        for machine in self._machines:
            profile = self.profile_name(machine)
            for name in filter(None, (machine.alias, machine.name)):
                alias = profile_of(self._capture.target, name)
                if alias != profile:
                    aliases[alias] = profile
        for alias, device in self._capture.device_aliases.items():
            if device in self.kinds and alias not in self.kinds:
                aliases[qualified(alias)] = qualified(device)
        return aliases

    @lazy
    def variables(self) -> Mapping[str, Mapping[str, _Variable]]:
        """The variables of each device type, including those that only the earlier release has."""
        return {device: dict(self._variables(device)) for device in self.devices}

    def _statement(self, device: str, name: str) -> Mapping[str, Any]:
        """Return what is published of a variable, empty if nothing is."""
        return self._known.statements.get(qualified(device), {}).get(name, {})

    def _stands_for(self, device: str, name: str) -> tuple[str | None, bool]:
        """Return the variable that a property is under another name, and whether its value is the opposite.

        A variable keeps its meaning: one that was published as a variable of its own stays one.
        """
        statement, rename = self._statement(device, name), rename_of(device, name)
        if rename is None or (statement and "stands_for" not in statement):
            return None, False
        return rename.earlier, rename.inverted

    def _variables(self, device: str) -> Iterator[tuple[str, _Variable]]:
        for name, kind in self.kinds[device].items():
            scope = scope_of(name, kind)
            stands_for, inverted = self._stands_for(device, name)
            off = self._statement(device, name).get("off_value")
            if off is None and scope == "interface":
                off = self._off_value(device, name)
            if stands_for is not None and "off_value" in (statement := self._statement(device, stands_for)):
                off = not statement["off_value"] if inverted else statement["off_value"]
            # The init value is the one under the newest machine type, which sorts last.
            live_values = (self._live(machine, device, name) for machine in reversed(self._capture.read_machines))
            live = next((kind.value(value) for value in live_values if value is not None), None)
            if name in self._capture.computed.get(device, ()):
                # An older machine type can have a value of its own; a new device has what QEMU computes.
                live = None
            init = self._default(device, name)
            if live is not None and kind.allows(live) and scope == "interface":
                init = live
            yield (
                name,
                _Variable(
                    kind,
                    scope,
                    init,
                    off if off is not None and kind.allows(off) else None,
                    stands_for=stands_for,
                    inverted=inverted,
                    resolved_by_host=self._resolved_by_host(device, name, kind),
                ),
            )
        yield from self._fixed_variables(device)
        earlier = self._known.earlier.get(qualified(device), {}).get("variables")
        if self._capture.target != _FIRST_TARGET and (earlier is None or TARGET in earlier):
            yield TARGET, _Variable(Kind("str"), "interface", self._capture.target, _FIRST_TARGET, constant=True)

    def _off_value(self, device: str, name: str) -> Value | None:
        """Return the value that means "as before this property existed", None if that is not known.

        A release without a property does the same under all its machine types: what the new one does under the newest
        of these. Where no earlier release is published, it is the value under the oldest machine type, unless it
        changed more than once: then nobody knows before which change there was no property.
        """
        earlier = self._known.earlier.get(qualified(device))
        is_new = earlier is not None and name not in earlier["variables"]
        latest = numeric(without_epoch(self._known.earlier_version))[:2]
        values = [
            (machine.age, value)
            for machine in self._capture.versioned_machines
            if self._has_values(machine, device) and (not is_new or (machine.age and machine.age[0][:2] <= latest))
            if (value := self.value(machine, device, name)) is not None and self.kinds[device][name].allows(value)
        ]
        if not values:
            return None
        if is_new:
            newest = values[-1][0]
            of_newest = [value for age, value in values if age and newest and age[0] == newest[0]]
            return of_newest[0] if all(same(value, of_newest[0]) for value in of_newest) else None
        changes = sum(not same(one, other) for (_, one), (_, other) in pairwise(values))
        return values[0][1] if changes <= 1 else None

    def _resolved_by_host(self, device: str, name: str, kind: Kind) -> Sequence[Value]:
        """Return the values that mean what a host makes of them: also the marker of what QEMU computes for each VM."""
        values = list(resolved_by_host(device, name))
        if name in self._capture.computed.get(device, ()):
            values.append(self._default(device, name))
        return [value for value in dict.fromkeys(values) if kind.allows(value)]

    def _fixed_variables(self, device: str) -> Iterator[tuple[str, _Variable]]:
        """Iterate over the variables that this QEMU no longer has: they stay constant at their last default."""
        earlier = self._known.earlier.get(qualified(device), {}).get("variables", {})
        renamed = {self._stands_for(device, name)[0] for name in self.kinds[device]}
        for name, variable in earlier.items():
            if name in self.kinds[device] or name in renamed or name == TARGET:
                continue
            init = variable["init_value"]
            off = self._statement(device, name).get("off_value")
            is_off = off == init and type(off) is type(init)
            yield (
                name,
                _Variable(Kind(variable["type"]), variable["scope"], init, off if is_off else None, constant=True),
            )

    def _default(self, device: str, name: str) -> Value:
        kind = self.kinds[device][name]
        value = kind.value(self._capture.properties[device][name].default)
        if value is not None and kind.allows(value):
            return value
        earlier = self._known.earlier.get(qualified(device), {}).get("variables", {}).get(name)
        return earlier["init_value"] if earlier and kind.allows(earlier["init_value"]) else kind.empty

    def value(self, machine: MachineType, device: str, name: str) -> Value | None:
        """Return the value under a machine type: read live, otherwise from the compat properties, None if unknown."""
        kind = self.kinds[device][name]
        live = self._live(machine, device, name)
        if live is None and not self._is_known(machine, device):
            return None
        compat_value = self._compat_values(machine, device).get(name) if live is None else live
        value = self._default(device, name) if compat_value is None else kind.value(compat_value)
        return None if value is None else self._usable(device, name, value)

    def _live(self, machine: MachineType, device: str, name: str) -> Any:
        """Return the value read from a real device; None if it was not, or if the probe's host or VM decided it."""
        # Where devices were read in several VMs, what a VM decides is known to be computed, or it is always the same.
        decided = decided_by_host(name) if self._capture.computed else decided_by_probe(name)
        is_of_probe = name in self.kinds[device] and self._default(device, name) in decided
        return None if is_of_probe else self._capture.live(machine.name, device, name)

    def _usable(self, device: str, name: str, value: Value) -> Value:
        """Return a value, or the earlier release's default if the value is an unset marker that was not allowed there.

        Some defaults became an unset marker that the earlier release does not allow (rombar: 1, later -1). The device
        is unchanged, so the earlier default is the value that the marker stands for.
        """
        earlier = self._known.earlier.get(qualified(device), {}).get("variables", {}).get(name)
        published: tuple[Value | None, ...] = (
            self._statement(device, name).get("off_value"),
            (earlier or {}).get("init_value"),
        )
        for stated in published:
            if stated is not None and same_as(name, value, stated):
                return stated
        if earlier is None or not is_unset_marker(name, value) or "allowed_values" not in earlier:
            return value
        allowed = AllowedValues.read(Type(earlier["type"]), earlier["allowed_values"], Place())
        usable: Value = earlier["init_value"]
        return value if value in allowed or not self.kinds[device][name].allows(usable) else usable

    def _compat_values(self, machine: MachineType, device: str) -> Mapping[str, str]:
        key = (machine.name, device)
        if key not in self._compat_cache:
            self._compat_cache[key] = self._capture.compat_values(machine, device)
        return self._compat_cache[key]

    @lazy
    def _compat_cache(self) -> dict[tuple[str, str], Mapping[str, str]]:
        return {}

    def _has_values(self, machine: MachineType, device: str) -> bool:
        """Return whether the binary reports the values of a device type under a machine type.

        A device that a board has itself, and that cannot be added, is nothing on the boards that do not have it.
        """
        read = self._families_read.get(device)
        return device in self._capture.effective.get(machine.name, {}) or (
            machine.compat_props is not None and (read is None or machine.family in read)
        )

    @lazy
    def _families_read(self) -> Mapping[str, frozenset[str]]:
        """The boards that real devices were read on, by device type."""
        families: dict[str, set[str]] = {}
        for machine in self._capture.machines:
            for device in self._capture.effective.get(machine.name, {}):
                families.setdefault(device, set()).add(machine.family)
        return {device: frozenset(names) for device, names in families.items()}

    def _is_known(self, machine: MachineType, device: str) -> bool:
        """Return whether the values of a device type under a machine type are known.

        Under the machine type of this QEMU's own version, no compatibility properties apply: they are the defaults, but
        of a device that was read on other boards.
        """
        return self._has_values(machine, device) or (
            device not in self._families_read and self._capture.is_own_version(machine)
        )

    def _is_in_profile(self, machine: MachineType, device: str) -> bool:
        """Return whether a machine type's profile has values for a device type: they are known, and can be migrated."""
        return self._is_known(machine, device) and self._migratable(device) is not False

    def _migratable(self, device: str) -> bool | str:
        """Return whether a device type can be migrated: as the binary says, or as is known of its release.

        A device that QEMU saves nothing of arrives as new: it has no state to lose, or the guest loses it.
        """
        capture = self._capture
        if device in (capture.unmigratable or ()) or is_never_migratable(device, capture.version):
            return False
        if device not in capture.asked:
            return "unknown"
        if not capture.saved_states or self._saved_state(device) or device.endswith(BOARD):
            return True
        loses = loses_state(device)
        return "unknown" if loses is None else not loses

    def _blocks(self, device: str) -> Sequence[Mapping[str, Any]]:
        """Return the configurations in which a device type cannot be migrated, of properties that it has."""
        kinds = self.kinds[device]
        blocks = []
        for block in blocks_of(device):
            if block.when.keys() <= kinds.keys():
                when = {name: [kinds[name].value(value) for value in values] for name, values in block.when.items()}
                blocks.append({"when": when, "description": block.description})
        return blocks

    @staticmethod
    def _needs(device: str) -> Sequence[Mapping[str, Any]]:
        """Return the parts that a device type needs, in whatever configuration."""
        return [{"role": need.role, "description": need.description} for need in needs_of(device)]

    @lazy
    def _machines(self) -> Sequence[MachineType]:
        """The machine types that become profiles, the oldest first: those with known values of some device.

        A machine type without a version means something else in each release, so that it is no profile; one of a
        family with versions is, such as Ubuntu's pc-q35-jammy.
        """
        families = {machine.family for machine in self._capture.versioned_machines}
        in_families = [machine for machine in self._capture.startable_machines if machine.family in families]
        machines = sorted(in_families, key=lambda machine: machine.age or ((), machine.name))
        return [machine for machine in machines if any(self._is_in_profile(machine, device) for device in self.devices)]

    def _set_document(self, device: str) -> dict[str, Any]:
        return {
            "variables": {name: variable.document() for name, variable in self.variables[device].items()},
            "migratable": self._migratable(device),
            "blocks_migration": self._blocks(device),
            "needs": self._needs(device),
            "together": together_of(device),
            **self._saved_state(device),
        }

    def _saved_state(self, device: str) -> Mapping[str, Any]:
        """Return the versions of the saved state, of the device inside a proxy; nothing if QEMU does not tell them."""
        states = self._capture.saved_states
        versions = states.get(device) or states.get(self._capture.proxied(device) or "")
        if versions is None:
            return {}
        written, oldest = versions
        return {"saved_state": {"writes": written, "reads": [f"{min(oldest, written)}-{written}"]}}

    def _profile_entry(self, machine: MachineType) -> str | dict[str, Any]:
        """Return the machine type's profile with the models to add, or only its name if there are none."""
        name = self.profile_name(machine)
        published = self._known.profiles.get(name)
        if not name.startswith(f"{self._vendor}/"):
            return name
        values = {
            qualified(device): self._own_values(machine, device)
            for device in self.devices
            if self._is_in_profile(machine, device) and (published is None or qualified(device) not in published)
        }
        return {"name": name, "values": values} if values else name

    def _own_values(self, machine: MachineType, device: str) -> dict[str, Value]:
        """Return a device type's values under a machine type that differ from the off value, by the name compared."""
        values = {}
        for name, variable in self.variables[device].items():
            if variable.scope != "interface":
                continue
            value = variable.init if variable.constant else self.value(machine, device, name)
            if value is None or not (variable.constant or variable.kind.allows(value)):
                continue
            off = self._statement(device, name).get("off_value", variable.off)
            if off is None or value != off or type(value) is not type(off):
                values[variable.stands_for or name] = variable.compared(value)
        return values

    def _own_values_of_release(self) -> Mapping[str, Mapping[str, Mapping[str, Value]]]:
        """Return this QEMU's values that differ from published profiles: profile → model → values."""
        own: dict[str, dict[str, dict[str, Value]]] = {}
        for difference in self._differences_in_profiles:
            if difference.captured is not None:
                models = own.setdefault(difference.source, {})
                models.setdefault(qualified(difference.device), {})[difference.variable] = difference.captured
        return own

    @lazy
    def _differences_in_profiles(self) -> Sequence[Difference]:
        return [
            difference
            for machine in self._machines
            for device, entry in self._published(machine)
            for difference in self._differences_in_entry(machine, device, entry)
        ]

    def _published(self, machine: MachineType) -> Iterator[tuple[str, Mapping[str, Value]]]:
        """Iterate over the published entries of a machine type's profile, of device types with known values."""
        published = self._known.profiles.get(self.profile_name(machine), {})
        for device in self.devices:
            entry = published.get(qualified(device))
            if entry is not None and self._has_values(machine, device) and self._is_in_profile(machine, device):
                yield device, entry

    def _differences_in_entry(
        self, machine: MachineType, device: str, entry: Mapping[str, Value]
    ) -> Iterator[Difference]:
        own = self._own_values(machine, device)
        variables = {variable.stands_for or name: (name, variable) for name, variable in self.variables[device].items()}
        for name in sorted(entry.keys() | own.keys()):
            if name not in variables:
                continue
            own_name, variable = variables[name]
            own_off = None if variable.off is None else variable.compared(variable.off)
            off = self._statement(device, name).get("off_value", own_off)
            captured, published = own.get(name, off), entry.get(name, off)
            is_live = self._live(machine, device, own_name) is not None
            if captured == published or (not is_live and captured is not None and is_unset_marker(name, captured)):
                continue
            yield Difference(device, name, published, captured, self.profile_name(machine))

    def _differences_in_own_sets(self) -> Iterator[Difference]:
        for device in self.devices:
            own = self._known.own.get(qualified(device))
            if own is None:
                continue
            variables = self.variables[device]
            for name in sorted(own["variables"].keys() | variables.keys()):
                published = own["variables"].get(name)
                variable = variables.get(name)
                if published is None or variable is None or published["init_value"] != variable.init:
                    yield Difference(
                        device,
                        name,
                        published["init_value"] if published else None,
                        variable.init if variable else None,
                        "this release",
                    )
            written = self._saved_state(device).get("saved_state")
            if written is not None and written["writes"] != own.get("saved_state", {}).get("writes"):
                published_state = own.get("saved_state", {}).get("writes")
                yield Difference(device, SAVED_STATE, published_state, written["writes"], "this release")
            yield from self._differences_in_migration(device, own)
            yield from self._differences_in_parts(device, own)

    def _differences_in_parts(self, device: str, own: Mapping[str, Any]) -> Iterator[Difference]:
        """Iterate over the roles that this QEMU needs, and the rules that it brings, that are not published."""
        published = {need["role"] for need in own.get("needs", ())}
        for need in needs_of(device):
            if need.role not in published:
                yield Difference(device, NEEDS, None, need.role, "this release")
        together = {rule["role"] for rule in own.get("together", ())}
        for rule in together_of(device):
            if rule["role"] not in together:
                yield Difference(device, TOGETHER, None, str(rule["role"]), "this release")
        for name, variable in self.variables[device].items():
            published_values = own["variables"].get(name, {}).get("resolved_by_host", [])
            missing = [value for value in variable.resolved_by_host if value not in published_values]
            if missing and name in own["variables"]:
                written = " or ".join(map(shown, missing))
                yield Difference(device, f"resolved_by_host of {name}", None, written, "this release")

    def _differences_in_migration(self, device: str, own: Mapping[str, Any]) -> Iterator[Difference]:
        """Iterate over what is published otherwise of migration; an unknown value here is not a difference."""
        migratable = self._migratable(device)
        if migratable not in {"unknown", own["migratable"]}:
            yield Difference(device, MIGRATABLE, own["migratable"], migratable, "this release")
        published = [block["when"] for block in own["blocks_migration"]]
        for block in self._blocks(device):
            if block["when"] not in published:
                written = ", ".join(
                    f"{name}={' or '.join(map(shown, values))}" for name, values in block["when"].items()
                )
                yield Difference(device, BLOCKS, None, written, "this release")

    @property
    def migrated(self) -> Sequence[str]:
        """The device types that nothing says cannot be migrated."""
        return [device for device in self.devices if self._migratable(device) is not False]

    def lineage(self, device: str) -> Sequence[str]:
        """Return a device type and its ancestors."""
        return list(self._capture.lineage(device))

    @property
    def deprecated(self) -> Sequence[str]:
        """The publisher's own profiles of the machine types that QEMU says are deprecated."""
        names = (self.profile_name(machine) for machine in self._machines if machine.is_deprecated)
        return [name for name in names if name.startswith(f"{self._vendor}/")]

    @property
    def not_asked(self) -> Sequence[str]:
        """The device models for which nobody stated whether they can be migrated."""
        return [qualified(device) for device in self.devices if self._migratable(device) == "unknown"]
