"""The release document of a QEMU, made from its capture and from what the registry already has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.cli.qemu.capture import Capture, MachineType
from app.cli.qemu.properties import Kind, Value, is_unset_marker, kind_of, scope_of
from app.domain.allowed import AllowedValues
from app.domain.document import Place
from app.domain.lazy import lazy
from app.domain.value import Type

VENDOR = "qemu.org"


def qualified(name: str) -> str:
    """Return the registry's name of a device type or machine type."""
    return f"{VENDOR}/{name}"


@dataclass(frozen=True, slots=True)
class Known:
    """What the registry has that bears on a release.

    statements: model → variable → {"type", "off_value"?}. earlier: the next lower release's sets by model.
    own: this release's sets, by model, where it is published already. profiles: name → model → resolved values.
    """

    statements: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Mapping[str, Value]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Find:
    """Something found that the registry keeps otherwise, and that the import did not change."""

    device: str
    variable: str
    published: Value | None
    found: Value | None
    where: str


@dataclass(frozen=True, slots=True)
class _Variable:
    """A property of a device type on its way to the registry; constant: it can have its init value only."""

    kind: Kind
    scope: str
    init: Value
    off: Value | None
    constant: bool = False

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {"type": self.kind.type, "init_value": self.init, "scope": self.scope}
        if self.off is not None:
            document["off_value"] = self.off
        if self.constant:
            document["settable"] = False
        elif (allowed := self.kind.allowed_values) is not None:
            document["allowed_values"] = allowed
        return document


class QemuRelease:
    """A QEMU as a release: one model per device type, one profile per machine type."""

    def __init__(self, capture: Capture, known: Known) -> None:
        self._capture = capture
        self._known = known
        self.kinds = {
            device: {
                name: kind
                for name, told in capture.properties[device].items()
                if (kind := self._kind(device, kind_of(told), name)) is not None
            }
            for device in capture.device_types
        }

    def _kind(self, device: str, kind: Kind | None, name: str) -> Kind | None:
        """Return a property's kind in the type that the registry has for it, which stands."""
        stated = self._known.statements.get(qualified(device), {}).get(name)
        return kind if kind is None or stated is None else kind.in_type(stated["type"])

    @lazy
    def finds(self) -> Sequence[Find]:
        """What the registry has otherwise than this QEMU: types, profiles that are published, its own sets."""
        return [*self._finds_in_types(), *self._finds_in_profiles, *self._finds_in_own_sets()]

    def _finds_in_types(self) -> Iterator[Find]:
        for device, kinds in self.kinds.items():
            for name, kind in kinds.items():
                told = kind_of(self._capture.properties[device][name])
                if told is not None and told.type != kind.type:
                    yield Find(device, name, kind.type, told.type, "its type")

    def document(self) -> dict[str, Any]:
        """Return the release's document, without the models and profile entries that are published already."""
        return {
            "models": {
                qualified(device): self._set_document(device)
                for device in self._capture.device_types
                if qualified(device) not in self._known.own
            },
            "profiles": [self._listed(machine) for machine in self._machines],
            "own_values": self._own_values_of_release(),
        }

    @lazy
    def variables(self) -> Mapping[str, Mapping[str, _Variable]]:
        """The variables of each device type, those included that an earlier release had."""
        return {device: dict(self._variables(device)) for device in self._capture.device_types}

    def _variables(self, device: str) -> Iterator[tuple[str, _Variable]]:
        stated = self._known.statements.get(qualified(device), {})
        machines = self._capture.versioned_machines
        for name, kind in self.kinds[device].items():
            scope = scope_of(name, kind)
            values = [] if scope != "interface" else [self.value(machine, device, name) for machine in machines]
            known = [value for value in values if value is not None and kind.allows(value)]
            off = stated.get(name, {}).get("off_value", known[0] if known else None)
            # The newest machine types sort last; what they make of a device is what a new one is.
            lives = (self._capture.live(machine.name, device, name) for machine in reversed(machines))
            live = next((kind.value(value) for value in lives if value is not None), None)
            init = self._default(device, name)
            if live is not None and kind.allows(live) and scope == "interface":
                init = live
            yield name, _Variable(kind, scope, init, off if off is not None and kind.allows(off) else None)
        yield from self._fixed_variables(device)

    def _fixed_variables(self, device: str) -> Iterator[tuple[str, _Variable]]:
        """Iterate over what an earlier release had and this one lacks: QEMU fixed it at its last default."""
        stated = self._known.statements.get(qualified(device), {})
        earlier = self._known.earlier.get(qualified(device), {}).get("variables", {})
        for name, variable in earlier.items():
            if name in self.kinds[device]:
                continue
            init = variable["init_value"]
            off = stated.get(name, {}).get("off_value")
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
        """Return the value under a machine type: as read live, else as the compat properties make it, if QEMU tells."""
        kind = self.kinds[device][name]
        live = self._capture.live(machine.name, device, name)
        if live is not None:
            return kind.value(live)
        if machine.compat_props is not None or device in self._capture.effective.get(machine.name, {}):
            compatible = self._compatible(machine, device).get(name)
            value = self._default(device, name) if compatible is None else kind.value(compatible)
            return None if value is None else self._usable(device, name, value)
        return None

    def _usable(self, device: str, name: str, value: Value) -> Value:
        """Return a value that was not read live, or what an earlier release says in its place.

        Where a default became an unset marker that the earlier release cannot take (rombar: 1, then -1), the device is
        what it was: the earlier default is what the marker stands for.
        """
        earlier = self._known.earlier.get(qualified(device), {}).get("variables", {}).get(name)
        if earlier is None or not is_unset_marker(name, value) or "allowed_values" not in earlier:
            return value
        allowed = AllowedValues.read(Type(earlier["type"]), earlier["allowed_values"], Place())
        usable: Value = earlier["init_value"]
        return value if value in allowed or not self.kinds[device][name].allows(usable) else usable

    def _compatible(self, machine: MachineType, device: str) -> Mapping[str, str]:
        key = (machine.name, device)
        if key not in self._compatible_found:
            self._compatible_found[key] = self._capture.compatible(machine, device)
        return self._compatible_found[key]

    @lazy
    def _compatible_found(self) -> dict[tuple[str, str], Mapping[str, str]]:
        return {}

    def _is_known(self, machine: MachineType, device: str) -> bool:
        """Return whether the values of a device type under a machine type are known, and it can be migrated."""
        is_told = machine.compat_props is not None or device in self._capture.effective.get(machine.name, {})
        return is_told and not self._is_unmigratable(device)

    def _is_unmigratable(self, device: str) -> bool:
        return self._capture.unmigratable is not None and device in self._capture.unmigratable

    @lazy
    def _machines(self) -> Sequence[MachineType]:
        """The machine types that become profiles, the oldest first: some device's values are known under each."""
        return [
            machine
            for machine in sorted(self._capture.machines, key=lambda machine: machine.age or ((), machine.name))
            if any(self._is_known(machine, device) for device in self._capture.device_types)
        ]

    def _set_document(self, device: str) -> dict[str, Any]:
        variables = {name: variable.document() for name, variable in self.variables[device].items()}
        return {"variables": variables, **({"migratable": False} if self._is_unmigratable(device) else {})}

    def _listed(self, machine: MachineType) -> str | dict[str, Any]:
        """Return the machine type's profile with the models that it gains, or its name if it gains none."""
        name = qualified(machine.name)
        published = self._known.profiles.get(name)
        values = {
            qualified(device): self._own_values(machine, device)
            for device in self._capture.device_types
            if self._is_known(machine, device) and (published is None or qualified(device) not in published)
        }
        return {"name": name, "values": values} if values else name

    def _own_values(self, machine: MachineType, device: str) -> dict[str, Value]:
        """Return what is not off of a device type under a machine type."""
        stated = self._known.statements.get(qualified(device), {})
        values = {}
        for name, variable in self.variables[device].items():
            if variable.scope != "interface":
                continue
            value = variable.init if variable.constant else self.value(machine, device, name)
            if value is None or not (variable.constant or variable.kind.allows(value)):
                continue
            off = stated.get(name, {}).get("off_value", variable.off)
            if off is None or value != off or type(value) is not type(off):
                values[name] = value
        return values

    def _own_values_of_release(self) -> Mapping[str, Mapping[str, Mapping[str, Value]]]:
        """Return what this QEMU makes otherwise than the profiles say that are published: profile → model → values."""
        own: dict[str, dict[str, dict[str, Value]]] = {}
        for find in self._finds_in_profiles:
            if find.found is not None:
                of_profile = own.setdefault(qualified(find.where), {})
                of_profile.setdefault(qualified(find.device), {})[find.variable] = find.found
        return own

    @lazy
    def _finds_in_profiles(self) -> Sequence[Find]:
        return [
            find
            for machine in self._machines
            for device, entry in self._published(machine)
            for find in self._finds_in_entry(machine, device, entry)
        ]

    def _published(self, machine: MachineType) -> Iterator[tuple[str, Mapping[str, Value]]]:
        """Iterate over the device types that a profile is published for, and whose values here are known."""
        published = self._known.profiles.get(qualified(machine.name), {})
        for device in self._capture.device_types:
            entry = published.get(qualified(device))
            if entry is not None and self._is_known(machine, device):
                yield device, entry

    def _finds_in_entry(self, machine: MachineType, device: str, entry: Mapping[str, Value]) -> Iterator[Find]:
        own = self._own_values(machine, device)
        for name in sorted(entry.keys() | own.keys()):
            stated = self._known.statements.get(qualified(device), {}).get(name, {})
            variable = self.variables[device].get(name)
            if variable is None:
                continue
            off = stated.get("off_value", variable.off)
            here, there = own.get(name, off), entry.get(name, off)
            is_live = self._capture.live(machine.name, device, name) is not None
            if here == there or (not is_live and here is not None and is_unset_marker(name, here)):
                continue
            yield Find(device, name, there, here, machine.name)

    def _finds_in_own_sets(self) -> Iterator[Find]:
        for device in self._capture.device_types:
            own = self._known.own.get(qualified(device))
            if own is None:
                continue
            found = self.variables[device]
            for name in sorted(own["variables"].keys() | found.keys()):
                published = own["variables"].get(name)
                variable = found.get(name)
                if published is None or variable is None or published["init_value"] != variable.init:
                    yield Find(
                        device,
                        name,
                        published["init_value"] if published else None,
                        variable.init if variable else None,
                        "this release",
                    )
