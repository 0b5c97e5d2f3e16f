"""A registry with the installed QEMU, for what a real libvirt starts."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from app.client import Registry
from tests.conftest import TOKEN
from tests.running.conftest import Server, command, environment, running_anew

_CAPTURE = Path(__file__).parents[1] / "data/qemu-7.2.json.gz"
BINARY = shutil.which("qemu-system-x86_64") or ""
PRODUCT = "qemu.org/qemu-system-x86_64"
OLD = f"{PRODUCT}@7.1.0"
# Machine types of the installed QEMU and of the capture.
MACHINE, OLD_BOARD = "pc-q35-7.2", "pc-i440fx-7.2"
_DEVICES = (
    *("virtio-rng-pci", "virtio-net-pci", "virtio-blk-pci", "virtio-scsi-pci", "scsi-hd", "virtio-vga", "VGA"),
    *(
        "isa-serial",
        "pcie-root-port",
        "qemu-xhci",
        "usb-tablet",
        "usb-kbd",
        "ich9-ahci",
        "ide-hd",
        "tpm-tis",
        "tpm-crb",
    ),
    *("virtio-balloon-pci", "virtio-serial-pci", "virtserialport", "piix3-usb-uhci", "pcie-pci-bridge", "lsi53c895a"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Yield a registry with the installed QEMU, and an older one that has none of its machine types."""
    with TemporaryDirectory() as folder, running_anew(Path(folder)) as server:
        devices = [option for device in _DEVICES for option in ("--device", device)]
        for release, machines in ((OLD, ["pc-q35-7.1"]), (installed(), [MACHINE, OLD_BOARD])):
            profiles = [option for machine in machines for option in ("--machine", machine)]
            arguments = ("--capture", str(_CAPTURE), "--release", release, *profiles, *devices)
            command_of(server, "import", "qemu", *arguments)
        command_of(server, "import", "cpu-models", "--binary", BINARY, "--release", installed())
        yield server


@pytest.fixture
def api(server: Server) -> Iterator[Registry]:
    """Yield the registry's client."""
    with Registry(server.url, TOKEN) as registry:
        yield registry


def installed() -> str:
    """Return the release of the installed QEMU."""
    version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.split()[3]
    return f"{PRODUCT}@{version}"


def command_of(server: Server, *arguments: str, libvirt: str = "", status: int | None = 0) -> str:
    """Run the command against a registry, and return what it prints.

    libvirt: the URI of the daemon that it asks. status: the one that it ends with, None: any.
    """
    settings: dict[str, Any] = {"url": server.url, "token": TOKEN}
    variables = {**environment(**settings), "LIBVIRT_DEFAULT_URI": libvirt}
    done = subprocess.run(command(*arguments), env=variables, check=False, capture_output=True, text=True)
    assert status is None or done.returncode == status, done.stderr
    return done.stdout
