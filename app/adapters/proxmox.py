"""Proxmox VE: a hookscript refuses a migration to a node that cannot take the VM.

The arguments and phases are those of guest-example-hookscript.pl (pve-docs): any status but 0 at pre-start aborts the
start. qemu-server starts the incoming VM on the target node in the same way, with the source node in PVE_MIGRATED_FROM.
Until the VM has moved, its configuration is that of the source node (pmxcfs shows it on all nodes).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from app.adapters.asking import Asker
from app.adapters.devices import PREFIX, DevicesError, read_devices, read_words

PRE_START = "pre-start"
PHASES = (PRE_START, "post-start", "pre-stop", "post-stop")
MIGRATED_FROM = "PVE_MIGRATED_FROM"
# Where pmxcfs has the configuration of all nodes.
CONFIGURATION = Path("/etc/pve")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_SETTING = re.compile(r"([a-z][a-z_]*\d*):.*")
_PASSED_THROUGH = re.compile(r"hostpci\d+")
# Further devices of the guest (qm.conf(5)), whose ids a description may use.
_DEVICE = re.compile(r"(?:net|scsi|virtio|sata|ide|usb|rng|tpmstate|virtiofs|audio|hostpci)\d+")


@dataclass(frozen=True, slots=True)
class Machine:
    """A VM as its configuration states it. devices: those that its notes describe. keys: the settings of devices."""

    devices: Sequence[Mapping[str, Any]]
    keys: Collection[str]

    @classmethod
    def read(cls, vm: str, node: str | None, folder: Path = CONFIGURATION) -> "Machine":
        """Return a VM of a node; None: of this one.

        Raises OSError if its configuration cannot be read, ValueError if its notes describe devices wrongly.
        """
        if not vm.isdecimal() or (node is not None and not _NODE.fullmatch(node)):
            message = f"{vm} of {node} names no VM"
            raise ValueError(message)
        of_node = folder if node is None else folder / "nodes" / node
        text = (of_node / "qemu-server" / f"{vm}.conf").read_text(encoding="utf-8")
        # Sections with what is pending, and with the configuration of snapshots, follow.
        own = re.split(r"^\[", text, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
        keys = [match[1] for line in own if (match := _SETTING.fullmatch(line))]
        return cls(read_devices(_described(own)), sorted(filter(_DEVICE.fullmatch, keys)))

    @property
    def not_described(self) -> Sequence[str]:
        """The settings of devices that the notes do not describe."""
        described = {device["id"] for device in self.devices}
        return [key for key in self.keys if key not in described]


def _described(lines: Sequence[str]) -> Mapping[str, str]:
    """Return the properties in the notes: the lines that begin with dpr:, percent-encoded as Proxmox writes them.

    Raises DevicesError for a line that has it elsewhere or in other letters, too: it is not prose.
    """
    properties: dict[str, str] = {}
    for line in lines:
        note = unquote(line[1:]).strip() if line.startswith("#") else ""
        if note.startswith(PREFIX):
            words = read_words(note)
            if twice := properties.keys() & words:
                message = f"{min(twice)} is given twice"
                raise DevicesError(message)
            properties.update(words)
        elif PREFIX in note.lower():
            message = f"{note} must begin with {PREFIX}"
            raise DevicesError(message)
    return properties


@dataclass(frozen=True, slots=True)
class Decision:
    """What the hookscript decides. lines: for the log of the task, one sentence each."""

    is_allowed: bool
    lines: Sequence[str] = ()


def decide(  # noqa: PLR0913 (what qemu-server gives, and each a setting of the hookscript)
    vm: str,
    phase: str,
    source: str | None,
    asker: Asker,
    host: str,
    *,
    every_start: bool = False,
    without: Collection[str] = (),
    folder: Path = CONFIGURATION,
) -> Decision:
    """Return whether a VM may start on this node.

    source: PVE_MIGRATED_FROM, the node that the VM comes from; empty: an ordinary start, which is only asked about if
    every_start says so. host: this node, as it is registered. without: settings of passed-through devices that need no
    description. Nothing here raises an exception.
    """
    if phase not in PHASES:
        return Decision(is_allowed=False, lines=[f"{phase} is no phase of a hookscript ({', '.join(PHASES)})"])
    if phase != PRE_START or not (source or every_start):
        return Decision(is_allowed=True)
    try:
        machine = Machine.read(vm, source or None, folder)
    except (OSError, ValueError) as error:
        return _refused(vm, host, f"its configuration cannot be used: {error}")
    unknown = [key for key in machine.not_described if _PASSED_THROUGH.fullmatch(key) and key not in without]
    if unknown or not machine.devices:
        lacking = ", ".join(unknown) or "any device"
        return _refused(vm, host, f"its notes do not describe {lacking} ({PREFIX}ID.model=vendor/model)")
    question = {"devices": machine.devices, **({"host": source} if source else {})}
    verdict = asker.about(question, [host])[host]
    if not verdict.is_allowed:
        return _refused(vm, host, verdict.reason)
    lines = [f"VM {vm} can run on {host}: {', '.join(device['id'] for device in machine.devices)}"]
    if machine.not_described:
        lines.append(f"not asked about, because the notes do not describe it: {', '.join(machine.not_described)}")
    return Decision(is_allowed=True, lines=lines)


def _refused(vm: str, host: str, reason: str) -> Decision:
    return Decision(is_allowed=False, lines=[f"VM {vm} cannot run on {host}: {reason}"])
