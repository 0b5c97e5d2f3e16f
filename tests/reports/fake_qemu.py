"""A stand-in for a QEMU binary: it says over QMP what a JSON file tells it to say.

Usage: fake_qemu.py CONFIG.json <QEMU's own arguments>. CONFIG: {"version": [7, 2, 22], "target", "kvm",
"machines": [{"name", "alias"?, "compat-props"?}], "types": {type: parent}, "devices": {type: {property: [type,
default]}}, "effective": {machine: {type: {property: value}}}, "needs": {type: "drive" | "host"}, "only_on": {type:
prefix of a machine}, "unmigratable": [types], "abort_on": [types that end the process], "tells_compat_props": bool,
"cpu": {"features": {name: bool}, "models": {name: {"props", "alias-of"?}}}}
"""

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text()) if len(sys.argv) > 1 else {}
ARGUMENTS = sys.argv[2:]
DEVICES: Mapping[str, Mapping[str, Any]] = CONFIG.get("devices", {})
CPU: Mapping[str, Any] = CONFIG.get("cpu", {})


class RefusedError(Exception):
    """An error that QMP answers."""


def options(name: str) -> list[str]:
    """Return the values of an option of the command line."""
    return [value for option, value in pairwise(ARGUMENTS) if option == name]


def machine_name() -> str:
    """Return the machine type that the command line asks for."""
    asked: str = [*options("-M"), *options("-machine"), CONFIG["machines"][0]["name"]][0].partition(",")[0]
    return next((str(machine["name"]) for machine in CONFIG["machines"] if machine.get("alias") == asked), asked)


def refusal(option: str, machine: str) -> str | None:
    """Return why a device does not start, None if it does."""
    device = option.partition(",")[0]
    need = CONFIG.get("needs", {}).get(device)
    if device not in DEVICES:
        return None
    if not machine.startswith(CONFIG.get("only_on", {}).get(device, "")):
        return "not supported on this machine"
    if need == "drive" and "drive=" not in option:
        return "drive property not set"
    if need == "host":
        return "No provided host device"
    if "-only-migratable" in ARGUMENTS and device in CONFIG.get("unmigratable", ()):
        return f"Device {device} is not migratable, but --only-migratable was specified"
    return None


def version() -> dict[str, Any]:
    """Return QEMU's version, as QMP has it."""
    return {"qemu": dict(zip(("major", "minor", "micro"), CONFIG["version"], strict=True)), "package": ""}


def machines(given: Mapping[str, Any]) -> Any:
    """Return the machine types; an older QEMU does not know the argument."""
    if given and not CONFIG.get("tells_compat_props", False):
        message = "Parameter 'compat-props' is unexpected"
        raise RefusedError(message)
    return CONFIG["machines"]


def types(given: Mapping[str, Any]) -> Any:
    """Return all types, or the device types."""
    parents = {"device": "object", **dict.fromkeys(DEVICES, "device"), **CONFIG.get("types", {})}
    names = DEVICES if given.get("implements") == "device" else parents
    return [{"name": name, "parent": parents[name]} for name in names]


def properties(given: Mapping[str, Any]) -> Any:
    """Return the properties of a device type; some types end the process."""
    device = given["typename"]
    if device in CONFIG.get("abort_on", ()):
        sys.stderr.write(f"missing object type '{device}-device'\n")
        sys.stderr.flush()
        os._exit(134)
    return [{"name": name, "type": kind, "default-value": value} for name, (kind, value) in DEVICES[device].items()]


def value(given: Mapping[str, Any]) -> Any:
    """Return the value of a property of a device that was started."""
    device_id = given["path"].rpartition("/")[2]
    started = {
        part[3:]: option.partition(",")[0]
        for option in options("-device")
        for part in option.split(",")
        if part.startswith("id=")
    }
    device, name = started[device_id], given["property"]
    effective = CONFIG.get("effective", {}).get(machine_name(), {}).get(device, {})
    return effective.get(name, DEVICES[device][name][1])


def cpu_definitions(_: Mapping[str, Any]) -> Any:
    """Return the CPU models."""
    return [
        {"name": name, "migration-safe": True, **{key: model[key] for key in ("alias-of",) if key in model}}
        for name, model in CPU.get("models", {}).items()
    ]


def cpu_model(given: Mapping[str, Any]) -> Any:
    """Return the features of a CPU model."""
    name = given["model"]["name"]
    features = CPU.get("features", {})
    none = dict.fromkeys(features, False)
    return {"model": {"props": features if name == "max" else {**none, **CPU["models"][name]["props"]}}}


COMMANDS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "qmp_capabilities": lambda _: {},
    "quit": lambda _: {},
    "query-version": lambda _: version(),
    "query-target": lambda _: {"arch": CONFIG.get("target", "x86_64")},
    "query-kvm": lambda _: {"enabled": CONFIG.get("kvm", True), "present": True},
    "query-machines": machines,
    "qom-list-types": types,
    "device-list-properties": properties,
    "qom-get": value,
    "query-cpu-definitions": cpu_definitions,
    "query-cpu-model-expansion": cpu_model,
}


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a QMP command."""
    try:
        return {"return": COMMANDS[request["execute"]](request.get("arguments") or {})}
    except (RefusedError, KeyError) as error:
        return {"error": {"class": "GenericError", "desc": str(error)}}


def requests(connection: socket.socket) -> Iterator[Any]:
    """Iterate over what a client sends: JSON objects, with or without a line end between them."""
    decoder, text = json.JSONDecoder(), ""
    while part := connection.recv(65_536).decode():
        text += part
        while text := text.lstrip():
            try:
                request, end = decoder.raw_decode(text)
            except ValueError:
                break
            text = text[end:]
            yield request


def serve(path: str) -> None:
    """Answer one client at a socket."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(1)
    connection, _ = server.accept()

    def say(document: Mapping[str, Any]) -> None:
        connection.sendall(json.dumps(document).encode() + b"\r\n")

    say({"QMP": {"version": version(), "capabilities": []}})
    for request in requests(connection):
        say({**answer(request), **({"id": request["id"]} if "id" in request else {})})
        if request["execute"] == "quit":
            break


def main() -> int:
    """Do what the command line asks for; return the exit status."""
    if "--version" in ARGUMENTS:
        sys.stdout.write("QEMU emulator version " + ".".join(map(str, CONFIG["version"])) + "\n")
        return 0
    if options("-device") == ["help"]:
        sys.stdout.write("".join(f'name "{device}", bus PCI\n' for device in DEVICES))
        return 0
    for option in options("-device"):
        if (reason := refusal(option, machine_name())) is not None:
            sys.stderr.write(f"qemu: -device {option}: {reason}\n")
            return 1
    sockets = [option for option in options("-qmp") if option.startswith("unix:")]
    if sockets:
        serve(sockets[0].removeprefix("unix:").partition(",")[0])
    else:
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
