"""libvirt refuses a real migration with the registry's reason, and makes it once the host can take the VM."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from app.cli.incoming import NAMESPACE
from app.client import Registry
from tests.conftest import TOKEN
from tests.libvirt.conftest import BINARY, MACHINE, OLD, command_of, installed
from tests.libvirt.daemons import Daemon, missing, two_daemons
from tests.running.conftest import ROOT, Server

_WHY_NOT = missing()
pytestmark = pytest.mark.skipif(bool(_WHY_NOT), reason=f"two libvirtds cannot run here: {_WHY_NOT}")

_DOMAIN = f"""<domain type='qemu'>
  <name>vm1</name>
  <uuid>{uuid4()}</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='{MACHINE}'>hvm</type></os>
  <devices>
    <controller type='usb' model='qemu-xhci'/>
    <input type='tablet' bus='usb'/>
    <interface type='user'><model type='virtio'/></interface>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <serial type='null'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""
_STAMP_SECONDS = 30


@pytest.fixture
def daemons(server: Server) -> Iterator[tuple[Daemon, Daemon]]:
    """Yield two libvirtds whose hook asks the registry."""
    # The VM runs without KVM; the CPU models of a registry are those of KVM.
    hook = f"""#!/bin/sh
export REGISTRY_URL={server.url} REGISTRY_TOKEN={TOKEN} PYTHONPATH={ROOT}
cd {ROOT} && exec {sys.executable} -m app.cli hook libvirt --stamp --without cpu --host host-{{name}} "$@"
"""
    # The folder's name is short, because sockets are in it.
    with TemporaryDirectory(prefix="l") as folder, two_daemons(Path(folder), hook) as pair:
        yield pair


def _stamp(daemon: Daemon) -> str:
    """Return what the metadata of the VM says of its source, once it does."""
    deadline = time.monotonic() + _STAMP_SECONDS
    while (read := daemon.virsh("metadata", "vm1", NAMESPACE)).returncode and time.monotonic() < deadline:
        time.sleep(0.1)
    return read.stdout


def test_a_refused_migration_fails_with_the_reason_and_succeeds_later(
    server: Server, api: Registry, daemons: tuple[Daemon, Daemon]
) -> None:
    first, second = daemons
    for name, release in (("host-a", installed()), ("host-b", OLD)):
        api.put(f"/hosts/{name}", {"releases": [release]})
    first.create(_DOMAIN)
    assert 'host="host-a"' in (stamp := _stamp(first).replace("'", '"'))
    assert f'version="{installed().rpartition("@")[2]}"' in stamp

    refused = first.migrate("vm1", second)
    assert refused.returncode == 1
    assert "the device-profile registry refuses to move vm1 to host-b:" in refused.stderr
    assert f"{OLD} does not list qemu.org/{MACHINE} among the profiles" in refused.stderr, refused.stderr
    assert (first.domains(), second.domains()) == (["vm1"], [])
    assert first.virsh("domstate", "vm1").stdout.strip() == "running"

    # The QEMU of the host is updated, and the host says so.
    command_of(server, "host", "report", "--name", "host-b", "--binary", BINARY)
    moved = first.migrate("vm1", second)
    assert moved.returncode == 0, moved.stderr
    assert (first.domains(), second.domains()) == ([], ["vm1"])
    # From now on it comes from there.
    deadline = time.monotonic() + _STAMP_SECONDS
    while "host-b" not in _stamp(second) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "host-b" in _stamp(second)


def test_a_vm_stays_while_the_registry_is_away(api: Registry, daemons: tuple[Daemon, Daemon]) -> None:
    first, second = daemons
    for name in ("host-a", "host-b"):
        api.put(f"/hosts/{name}", {"releases": [installed()]})
    first.create(_DOMAIN)
    second.hook(
        f"#!/bin/sh\ncd {ROOT} && REGISTRY_URL=http://127.0.0.1:1 PYTHONPATH={ROOT} "
        f'exec {sys.executable} -m app.cli hook libvirt --host host-b "$@"\n'
    )
    refused = first.migrate("vm1", second)
    assert refused.returncode == 1
    assert "REGISTRY_URL sets the registry's address" in refused.stderr
    assert (first.domains(), second.domains()) == (["vm1"], [])
