"""The devices of a VM as key/value pairs: flavor extra specs, image properties, annotations, labels.

    dpr:ID.model = vendor/model            required: the device model
    dpr:ID.profile = vendor/profile        the profile that the device was created with
    dpr:ID.release = implementation@version    the release that it runs on; default: that of the source host
    dpr:ID.values.NAME = VALUE             an explicit value, as a command line writes it
    dpr:ID.complete = true                 with neither release nor profile: these are all the variables in effect
    dpr:ID.part_of = ID                    the device of the same VM that it is a part of
    dpr:ID.role = ROLE                     what it is for that device

ID is the id of the device, without a dot. The fields mean what they mean in POST /compatibility (DESIGN 6).
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

PREFIX = "dpr:"
# How a key begins that is meant for an adapter, in whatever spelling.
_SPELLINGS = ("dpr:", "dpr/", "dpr.")
_VALUES = "values"
_FIELDS = ("model", "profile", "release", "complete", "part_of", "role")
# As a command line writes them (DESIGN 3).
_BOOLS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


class DevicesError(ValueError):
    """Properties that begin with dpr: and describe no devices; the message names each fault."""


def is_meant(key: str) -> bool:
    """Return whether a key is meant to describe a device: it begins with dpr, in any letters, and a separator."""
    return key.strip().lower().startswith(_SPELLINGS)


def read_devices(properties: Mapping[str, str], prefix: str = PREFIX) -> Sequence[Mapping[str, Any]]:
    """Return the devices that properties describe, as POST /compatibility takes them, sorted by id.

    prefix: what the scheduler lets begin the keys, where it allows no colon. Other properties are not read; without
    any, there are no devices. Raises DevicesError for a key that has the prefix and is not in the table above, and for
    one that has it in another spelling: a device that is misspelt is not a device that needs no check.
    """
    devices: dict[str, dict[str, Any]] = {}
    faults: list[str] = []
    for key, value in sorted(properties.items()):
        if not key.startswith(prefix):
            if is_meant(key):
                faults.append(f"{key} must begin with {prefix}")
            continue
        identifier, _, field = key.removeprefix(prefix).partition(".")
        device = devices.setdefault(identifier, {"id": identifier})
        faults += _read(device, key, field, value)
    faults += [
        f"{prefix}{identifier}.model is missing"
        for identifier, device in devices.items()
        if identifier and "model" not in device
    ]
    if faults:
        raise DevicesError("; ".join(faults))
    return [devices[identifier] for identifier in sorted(devices)]


def read_words(text: str) -> Mapping[str, str]:
    """Return the properties in a text where a scheduler has room for one text alone: dpr:KEY=VALUE, and so on.

    White space separates them, and quotes keep it in a value, as in a shell. Raises DevicesError for any other word.
    """
    properties: dict[str, str] = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        message = f"{text} cannot be read: {error}"
        raise DevicesError(message) from error
    for word in words:
        key, equals, value = word.partition("=")
        if not (equals and key.startswith(PREFIX)):
            message = f"{word} must be {PREFIX}ID.model=vendor/model and so on"
            raise DevicesError(message)
        if key in properties:
            message = f"{key} is given twice"
            raise DevicesError(message)
        properties[key] = value
    return properties


def _read(device: dict[str, Any], key: str, field: str, value: object) -> Iterator[str]:
    """Add a property to its device; yields what is wrong with it."""
    name, _, variable = field.partition(".")
    if not device["id"]:
        yield f"{key} has no device id: it must be {PREFIX}ID.model and so on"
    elif not isinstance(value, str):
        yield f"{key} must be a string, not {type(value).__name__}"
    elif name == _VALUES and variable:
        device.setdefault(_VALUES, {})[variable] = value
    elif field == "complete":
        if value.lower() not in _BOOLS:
            yield f'{key} must be true or false, not "{value}"'
        else:
            device[field] = _BOOLS[value.lower()]
    elif field in _FIELDS:
        device[field] = value
    else:
        close = get_close_matches(field, [*_FIELDS, f"{_VALUES}.NAME"], 1)
        yield f"{key} is unknown" + (f' (did you mean "{close[0]}"?)' if close else "")
