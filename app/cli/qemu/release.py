"""Builds the release document of a QEMU from its capture and from what the registry already has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.cli.qemu.capture import Capture, MachineType
from app.cli.qemu.properties import Kind, Value, is_unset_marker, kind_of, scope_of
from app.domain.values.allowed import AllowedValues
from app.domain.values.document import Place
from app.domain.values.lazy import lazy
from app.domain.values.value import Type

VENDOR = "qemu.org"


def qualified(name: str) -> str:
    """Return the registry's name for a device type or machine type."""
    return f"{VENDOR}/{name}"


@dataclass(frozen=True, slots=True)
class Known:
    """The content of the registry that a release depends on.

    statements: model → variable → {"type", "off_value"?}. earlier: the next lower release's variable sets, by model.
    own: this release's variable sets, by model, if it is already published. profiles: name → model → resolved values.
    """

    statements: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Mapping[str, Value]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is published differently from this QEMU; the import does not change it.

    source: the machine type, or the part of the release, that has the value.
    """

    device: str
    variable: str
    published: Value | None
    captured: Value | None
    source: str


@dataclass(frozen=True, slots=True)
class _Variable:
    """The variable of a property; constant: it allows only its init value."""

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
    """A QEMU as a release: one device model per device type, one profile per machine type."""

    def __init__(self, capture: Capture, known: Known) -> None:
        self._capture = capture
        self._known = known
        self.kinds = {
            device: {
                name: kind
                for name, qemu_property in capture.properties[device].items()
                if (kind := self._kind(device, kind_of(qemu_property), name)) is not None
            }
            for device in capture.device_types
        }

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
                for device in self._capture.device_types
                if qualified(device) not in self._known.own
            },
            "profiles": [self._profile_entry(machine) for machine in self._machines],
            "own_values": self._own_values_of_release(),
        }

    @lazy
    def variables(self) -> Mapping[str, Mapping[str, _Variable]]:
        """The variables of each device type, including those that only the earlier release has."""
        return {device: dict(self._variables(device)) for device in self._capture.device_types}

    def _variables(self, device: str) -> Iterator[tuple[str, _Variable]]:
        statements = self._known.statements.get(qualified(device), {})
        machines = self._capture.versioned_machines
        for name, kind in self.kinds[device].items():
            scope = scope_of(name, kind)
            values = [] if scope != "interface" else [self.value(machine, device, name) for machine in machines]
            known = [value for value in values if value is not None and kind.allows(value)]
            off = statements.get(name, {}).get("off_value", known[0] if known else None)
            # The init value is the one under the newest machine type, which sorts last.
            live_values = (self._capture.live(machine.name, device, name) for machine in reversed(machines))
            live = next((kind.value(value) for value in live_values if value is not None), None)
            init = self._default(device, name)
            if live is not None and kind.allows(live) and scope == "interface":
                init = live
            yield name, _Variable(kind, scope, init, off if off is not None and kind.allows(off) else None)
        yield from self._fixed_variables(device)

    def _fixed_variables(self, device: str) -> Iterator[tuple[str, _Variable]]:
        """Iterate over the variables that this QEMU no longer has: they stay constant at their last default."""
        statements = self._known.statements.get(qualified(device), {})
        earlier = self._known.earlier.get(qualified(device), {}).get("variables", {})
        for name, variable in earlier.items():
            if name in self.kinds[device]:
                continue
            init = variable["init_value"]
            off = statements.get(name, {}).get("off_value")
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
        live = self._capture.live(machine.name, device, name)
        if live is not None:
            return kind.value(live)
        if machine.compat_props is not None or device in self._capture.effective.get(machine.name, {}):
            compat_value = self._compat_values(machine, device).get(name)
            value = self._default(device, name) if compat_value is None else kind.value(compat_value)
            return None if value is None else self._usable(device, name, value)
        return None

    def _usable(self, device: str, name: str, value: Value) -> Value:
        """Return a value that was not read live, or the earlier release's default if the value is an unset marker.

        Some defaults became an unset marker that the earlier release does not allow (rombar: 1, later -1). The device
        is unchanged, so the earlier default is the value that the marker stands for.
        """
        earlier = self._known.earlier.get(qualified(device), {}).get("variables", {}).get(name)
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

    def _is_known(self, machine: MachineType, device: str) -> bool:
        """Return whether a device type can be migrated and its values under a machine type are known."""
        has_values = machine.compat_props is not None or device in self._capture.effective.get(machine.name, {})
        return has_values and not self._is_unmigratable(device)

    def _is_unmigratable(self, device: str) -> bool:
        return self._capture.unmigratable is not None and device in self._capture.unmigratable

    @lazy
    def _machines(self) -> Sequence[MachineType]:
        """The machine types that become profiles, the oldest first: those with known values of some device."""
        return [
            machine
            for machine in sorted(self._capture.machines, key=lambda machine: machine.age or ((), machine.name))
            if any(self._is_known(machine, device) for device in self._capture.device_types)
        ]

    def _set_document(self, device: str) -> dict[str, Any]:
        variables = {name: variable.document() for name, variable in self.variables[device].items()}
        return {"variables": variables, **({"migratable": False} if self._is_unmigratable(device) else {})}

    def _profile_entry(self, machine: MachineType) -> str | dict[str, Any]:
        """Return the machine type's profile with the models to add, or only its name if there are none."""
        name = qualified(machine.name)
        published = self._known.profiles.get(name)
        values = {
            qualified(device): self._own_values(machine, device)
            for device in self._capture.device_types
            if self._is_known(machine, device) and (published is None or qualified(device) not in published)
        }
        return {"name": name, "values": values} if values else name

    def _own_values(self, machine: MachineType, device: str) -> dict[str, Value]:
        """Return a device type's values under a machine type that differ from the off value."""
        statements = self._known.statements.get(qualified(device), {})
        values = {}
        for name, variable in self.variables[device].items():
            if variable.scope != "interface":
                continue
            value = variable.init if variable.constant else self.value(machine, device, name)
            if value is None or not (variable.constant or variable.kind.allows(value)):
                continue
            off = statements.get(name, {}).get("off_value", variable.off)
            if off is None or value != off or type(value) is not type(off):
                values[name] = value
        return values

    def _own_values_of_release(self) -> Mapping[str, Mapping[str, Mapping[str, Value]]]:
        """Return this QEMU's values that differ from published profiles: profile → model → values."""
        own: dict[str, dict[str, dict[str, Value]]] = {}
        for difference in self._differences_in_profiles:
            if difference.captured is not None:
                models = own.setdefault(qualified(difference.source), {})
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
        published = self._known.profiles.get(qualified(machine.name), {})
        for device in self._capture.device_types:
            entry = published.get(qualified(device))
            if entry is not None and self._is_known(machine, device):
                yield device, entry

    def _differences_in_entry(
        self, machine: MachineType, device: str, entry: Mapping[str, Value]
    ) -> Iterator[Difference]:
        own = self._own_values(machine, device)
        for name in sorted(entry.keys() | own.keys()):
            statement = self._known.statements.get(qualified(device), {}).get(name, {})
            variable = self.variables[device].get(name)
            if variable is None:
                continue
            off = statement.get("off_value", variable.off)
            captured, published = own.get(name, off), entry.get(name, off)
            is_live = self._capture.live(machine.name, device, name) is not None
            if captured == published or (not is_live and captured is not None and is_unset_marker(name, captured)):
                continue
            yield Difference(device, name, published, captured, machine.name)

    def _differences_in_own_sets(self) -> Iterator[Difference]:
        for device in self._capture.device_types:
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
