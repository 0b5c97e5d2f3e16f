"""vhost-user programs: the descriptors that they install (docs/interop/vhost-user.rst and vhost-user.json of QEMU)."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.host.facts import Facts, Source
from app.cli.host.naming import Kernel
from app.cli.host.tool import Machine, NotAskedError, check_trusted, output, read_json

_MAX_CHARACTERS = 64 * 1024
_FOLDERS = ("/etc/qemu/vhost-user", "/usr/share/qemu/vhost-user")
# What programs say of themselves with --version: virtiofsd in Rust, and the one that came with QEMU until 7.2.
_VERSIONS = (
    (re.compile(r"^virtiofsd version (?P<version>\d\S*)(?: \((?P<package>Debian \S+)\))?"), "qemu.org/virtiofsd"),
    (re.compile(r"^virtiofsd (?:backend )?(?P<version>\d\S*)"), "gitlab.com/virtio-fs/virtiofsd"),
)
# The features that QEMU's schema and the programs themselves have, by the type of device.
_FEATURES = {
    "block": ("blk-file", "read-only"),
    "fs": ("migrate-precopy", "posix-acl-negotiation-mode", "security-label-negotiation-mode", "separate-options"),
    "gpu": ("render-node", "virgl"),
    "input": ("evdev-path", "no-grab"),
}
# A program of the type fs says with this that it can be migrated.
_MIGRATES = "migrate-precopy"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor: which type of device a program serves, and what it can."""

    type: str
    binary: str
    features: frozenset[str] = frozenset()
    description: str = ""


def descriptor(text: str) -> Descriptor:
    """Read a descriptor; raises NotAskedError if it is none."""
    try:
        document = read_json(text)
        features = document.get("features", [])
        read = Descriptor(document["type"], document["binary"], frozenset(features), document.get("description", ""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = "it is no descriptor of a vhost-user program: that has type and binary"
        raise NotAskedError(message) from error
    if not all(isinstance(field, str) for field in (read.type, read.binary, read.description, *read.features)):
        message = "it is no descriptor of a vhost-user program: type, binary and features must be strings"
        raise NotAskedError(message)
    return read


def _files(machine: Machine) -> Sequence[Path]:
    """Return the descriptors that can count, in order; a name in an earlier folder hides the same one in a later."""
    own = os.environ.get("XDG_CONFIG_HOME")
    # What a user has configured is not run as root.
    folders = [*([Path(own) / "qemu/vhost-user"] if own and os.geteuid() else []), *map(machine.path, _FOLDERS)]
    files: dict[str, Path] = {}
    for folder in folders:
        for file in folder.glob("*.json"):
            files.setdefault(file.name, file)
    return [files[name] for name in sorted(files)]


def _read(machine: Machine, _kernel: Kernel | None) -> Facts:
    releases, notes = [], []
    is_partial = False
    for file in _files(machine):
        try:
            # An empty descriptor hides others of its name.
            if text := _text(file):
                binary = check_trusted(machine.path(descriptor(text).binary))
                releases.append(_releases(str(binary), output(str(binary), "--version")))
        except (NotAskedError, OSError, ValueError) as error:
            notes.append(f"{file.name}: {error}")
            is_partial = True
    return Facts(releases=list(dict.fromkeys(releases)), notes=notes, is_partial=is_partial)


def _text(file: Path) -> str:
    """Return a descriptor; raises NotAskedError and OSError."""
    if not file.is_file():
        message = "it is no file"
        raise NotAskedError(message)
    with file.open(encoding="utf-8") as opened:
        return opened.read(_MAX_CHARACTERS)


def _releases(binary: str, text: str) -> tuple[str, ...]:
    """Return the possible names of a program's release; raises NotAskedError."""
    for pattern, name in _VERSIONS:
        if (version := pattern.match(text)) is not None:
            package = (version.groupdict().get("package") or "").removeprefix("Debian ")
            packaged = [f"debian.org/{name.rpartition('/')[2]}@{package}"] if package else []
            return (*packaged, f"{name}@{version['version']}")
    message = f"{binary} --version names no program that is known here; give its release with --release"
    raise NotAskedError(message)


def models(program: Descriptor, model: str) -> dict[str, Any]:
    """Return what a laboratory publishes of a program: the models of a release, as `PUT /releases` has them.

    Each feature is a variable that cannot be set. Those that QEMU knows and the program lacks are off.
    """
    names = sorted({*_FEATURES.get(program.type, ()), *program.features})
    variables: dict[str, Mapping[str, Any]] = {
        name: {"type": "bool", "init_value": name in program.features, "off_value": False, "settable": False}
        for name in names
    }
    variables["device-type"] = {"type": "str", "init_value": program.type, "settable": False}
    migratable: bool | str = _MIGRATES in program.features if program.type == "fs" else "unknown"
    return {model: {"variables": variables, "migratable": migratable}}


def _owns(release: str) -> bool:
    return release.partition("@")[0] in {"debian.org/virtiofsd", *(name for _, name in _VERSIONS)}


SOURCE = Source("vhost-user programs", _read, owns_release=_owns)
