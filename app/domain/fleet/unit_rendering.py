"""Rendering for what makes devices on a unit of a host: `vdpa dev add`, and `mdevctl start` for mediated devices."""

import re
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from app.domain.things.profile import Values
from app.domain.things.variable import Scope, Variable
from app.domain.things.variable_set import VariableSet
from app.domain.values.value import Type, same, shown


class UnrenderableError(ValueError):
    """A configuration that no arguments can express; the message says which part."""


class Made(NamedTuple):
    """Which device is made where. unit: the id of the host's unit that was answered, None for the whole host."""

    device: str
    unit: str | None = None
    is_part: bool = False


# The feature bits of virtio (VIRTIO 1.4, 5.1.3 and 5.2.3, 6, and those of earlier versions), by the name that the vdpa
# tool prints, in lower case. A variable for one is called that, with or without a leading `f.`.
_TRANSPORT = {
    "notify_on_empty": 24, "any_layout": 27, "ring_indirect_desc": 28, "ring_event_idx": 29, "version_1": 32,
    "access_platform": 33, "ring_packed": 34, "in_order": 35, "order_platform": 36, "sr_iov": 37,
    "notification_data": 38, "notif_config_data": 39, "ring_reset": 40, "admin_vq": 41,
}  # fmt: skip
_NET = {
    "csum": 0, "guest_csum": 1, "ctrl_guest_offloads": 2, "mtu": 3, "mac": 5, "gso": 6, "guest_tso4": 7,
    "guest_tso6": 8, "guest_ecn": 9, "guest_ufo": 10, "host_tso4": 11, "host_tso6": 12, "host_ecn": 13, "host_ufo": 14,
    "mrg_rxbuf": 15, "status": 16, "ctrl_vq": 17, "ctrl_rx": 18, "ctrl_vlan": 19, "ctrl_rx_extra": 20,
    "guest_announce": 21, "mq": 22, "ctrl_mac_addr": 23, "device_stats": 50, "hash_tunnel": 51, "vq_notf_coal": 52,
    "notf_coal": 53, "guest_uso4": 54, "guest_uso6": 55, "host_uso": 56, "hash_report": 57, "guest_hdrlen": 59,
    "rss": 60, "rsc_ext": 61, "standby": 62, "speed_duplex": 63,
}  # fmt: skip
_BLOCK = {
    "barrier": 0, "size_max": 1, "seg_max": 2, "geometry": 4, "ro": 5, "blk_size": 6, "scsi": 7, "flush": 9,
    "topology": 10, "config_wce": 11, "mq": 12, "discard": 13, "write_zeroes": 14, "lifetime": 15, "secure_erase": 16,
    "zoned": 17,
}  # fmt: skip
# A model says of which class of devices it is by a word of its name, where its features do not.
_WORDS = {"net": _NET, "nic": _NET, "blk": _BLOCK, "block": _BLOCK}
# What `vdpa dev add` takes in addition to features, with the feature without which the kernel refuses it (EINVAL).
_SETTINGS = {"mac": "mac", "mtu": "mtu", "max_vqp": "mq"}
_ALL = _TRANSPORT | _NET | _BLOCK
# The variable that says which type of mediated device one is, where a release has several.
_TYPE_VARIABLES = ("mdev-type", "mdev_type", "vgpu-type", "type")


def feature_bits(*, is_block: bool) -> Mapping[str, int]:
    """Return the bits of the features of a virtio network card, or of a disk, by name in lower case."""
    return _TRANSPORT | (_BLOCK if is_block else _NET)


def vdpa(configuration: Values, variable_set: VariableSet, made: Made) -> list[str]:
    """Return the arguments with which the vdpa tool makes a device on a management device (vdpa-dev(8)).

    All features that are on are in device_features, also those that the hardware always has: the kernel takes the whole
    set. Where none of them can be set, the kernel takes no device_features.
    """
    if made.unit is None:
        message = "vdpa dev add needs a management device: name it as a unit of the host."
        raise UnrenderableError(message)
    variables = variable_set.stated
    features = _features(variable_set.model, variables)
    if not features:
        message = f"vdpa dev add makes virtio devices, and {variable_set.model} has none of virtio's features."
        raise UnrenderableError(message)
    arguments = ["dev", "add", "name", made.device, "mgmtdev", made.unit]
    on = {features[name] for name, value in configuration.items() if name in features and value is True}
    bits = {name.removeprefix("f."): bit for name, bit in features.items()}
    are_given = any(variables[name].settable for name in features)
    taken = set(features)
    for name, feature in _SETTINGS.items():
        variable, value = variables.get(name), configuration.get(name)
        if variable is None or not variable.settable or value is None or value == "":
            continue
        # Where features are given, the kernel refuses a setting whose feature is not among them (EINVAL).
        if not are_given or bits.get(feature) in on:
            arguments += [name, str(value)]
            taken.add(name)
    if are_given:
        arguments += ["device_features", f"{sum(1 << bit for bit in on):#x}"]
    _check_rest(configuration, variables, taken, "vdpa dev add")
    return arguments


def _features(model: str, variables: Mapping[str, Variable]) -> Mapping[str, int]:
    """Return the bits of the variables that are virtio features; raises UnrenderableError if some bit is not known."""
    bools = {name: name.removeprefix("f.") for name, variable in variables.items() if variable.type is Type.BOOL}
    own = set(bools.values()) - _TRANSPORT.keys()
    # Features that only one class has say which class it is; MQ, for example, has another bit in each.
    classes = [table for table, other in ((_NET, _BLOCK), (_BLOCK, _NET)) if own & (table.keys() - other.keys())]
    words = re.split(r"[^a-z]+", model.rpartition("/")[2].lower())
    classes = classes or [table for word, table in _WORDS.items() if word in words][:1]
    known = own & (_NET.keys() | _BLOCK.keys())
    strange = sorted(name for name, feature in bools.items() if name.startswith("f.") and feature not in _ALL)
    if strange or len(classes) > 1 or (known and not classes):
        why = (
            f"has features that it does not know: {', '.join(strange)}"
            if strange
            else "is neither a network card nor a disk"
        )
        message = f"vdpa dev add cannot set the features of {model}, which {why}."
        raise UnrenderableError(message)
    table = _TRANSPORT | (classes[0] if classes else {})
    return {name: table[feature] for name, feature in bools.items() if feature in table}


def mdevctl(configuration: Values, variable_set: VariableSet, implementation: str, made: Made) -> list[str]:
    """Return the arguments with which the command mdevctl starts a device: its UUID, parent and type.

    A unit is called `<parent>/<type>`, or as the parent alone; then the type is the value of a variable that says it,
    or else what the implementation is called after its last slash. The UUID is the device's id, if it is one: without
    it mdevctl makes one and prints it.
    """
    if made.unit is None:
        message = "mdevctl needs the parent of the device: name it as a unit of the host."
        raise UnrenderableError(message)
    parent, slash, of_unit = made.unit.removeprefix("pci/").partition("/")
    variables = variable_set.stated
    named = next((name for name in _TYPE_VARIABLES if isinstance(configuration.get(name), str)), None)
    of_type = configuration[named] if named else of_unit if slash else implementation.rpartition("/")[2]
    _check_rest(configuration, variables, {named} if named else set(), "mdevctl")
    uuid = ["--uuid", made.device] if _is_uuid(made.device) else []
    return ["start", *uuid, "--parent", parent, "--type", str(of_type)]


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _check_rest(configuration: Values, variables: Mapping[str, Variable], taken: set[str], tool: str) -> None:
    """Raise UnrenderableError for a setting of the guest's interface that a tool cannot make."""
    for name, value in sorted(configuration.items()):
        variable = variables[name]
        is_made = name in taken or not variable.settable or variable.scope is not Scope.INTERFACE
        if not is_made and not same(value, variable.init_value):
            message = f"{tool} cannot set {name} to {shown(value)}; a new device has {shown(variable.init_value)}."
            raise UnrenderableError(message)
