"""The hook is called as VDSM calls it, with a domain in the file that _hook_domxml names; no oVirt was run."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.adapters.ovirt import DOMAIN, Event, HookError, read_domain
from tests.adapters.conftest import admin
from tests.running.conftest import ROOT, Server, environment, running_anew

QEMU = "qemu.org/qemu-system-x86_64"
_NIC = "qemu.org/virtio-net-pci"
# What VDSM's libvirt domain has, in short: its own metadata, and devices of virtio.
XML = """<?xml version="1.0" encoding="utf-8"?>
<domain id="3" type="kvm">
  <name>vm1</name>
  <uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>
  <metadata xmlns:ovirt-vm="http://ovirt.org/vm/1.0">
    <ovirt-vm:vm><ovirt-vm:clusterVersion>4.7</ovirt-vm:clusterVersion></ovirt-vm:vm>
  </metadata>
  <memory unit="KiB">1048576</memory>
  <os><type arch="x86_64" machine="pc-q35-9.0">hvm</type></os>
  <devices>
    <emulator>/usr/libexec/qemu-kvm</emulator>
    <interface type="bridge">
      <mac address="56:6f:7a:1b:00:01"/><model type="virtio"/><source bridge="ovirtmgmt"/>
      <alias name="ua-8a0d5b3e-5d16-4ba3-b1a3-4b6f6b5a6c01"/>
    </interface>
  </devices>
</domain>
"""
_UNKNOWN = XML.replace("</devices>", "<hostdev mode='subsystem' type='pci'/></devices>")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a registry with three hosts: what leaves host-new, host-other can take and host-old cannot."""
    with running_anew(tmp_path_factory.mktemp("hosts")) as server:
        with admin(server) as registry:
            fill(registry)
        yield server


def fill(registry: Any) -> None:
    """Publish two releases of QEMU, and register hosts."""
    registry.put("/vendors/qemu.org", {})
    queues = {
        "queues": {"type": "int", "init_value": 1, "off_value": 1},
        "mac": {"type": "str", "init_value": "", "scope": "instance"},
    }
    new = {"type": "bool", "init_value": True, "off_value": False}
    profile = {"name": "qemu.org/pc-q35-9.0", "values": {_NIC: {"new": True}}}
    registry.put(f"/releases/{QEMU}@8.2.0", {"models": {_NIC: {"variables": queues}}})
    registry.put(
        f"/releases/{QEMU}@9.0.0", {"models": {_NIC: {"variables": {**queues, "new": new}}}, "profiles": [profile]}
    )
    for host, release, cluster in (
        ("host-old", "8.2.0", "c1"),
        ("host-new", "9.0.0", "c2"),
        ("host-other", "9.0.0", "c3"),
    ):
        registry.put(f"/hosts/{host}", {"releases": [f"{QEMU}@{release}"], "labels": {"cluster": cluster}})


def hook(
    folder: Path, event: str, url: str, *options: str, xml: str | None = XML, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the hook of deploy from the folder of an event, as VDSM runs it."""
    program, settings = folder / "profile-registry", folder / "hook.env"
    program.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m app.cli "$@"\n')
    program.chmod(0o755)
    settings.write_text(f"REGISTRY_URL={url}\nHOOK_OPTIONS='{' '.join(options)}'\n")
    script = (ROOT / "deploy" / "ovirt" / "50_profile_registry").read_text(encoding="utf-8")
    installed = folder / event / "50_profile_registry"
    installed.parent.mkdir()
    installed.write_text(
        script.replace("/usr/local/bin/profile-registry", str(program)).replace(
            "/etc/profile-registry/hook.env", str(settings)
        )
    )
    installed.chmod(0o755)
    given: Mapping[str, str] = {}
    if xml is not None:
        (folder / "domain.xml").write_text(xml, encoding="utf-8")
        given = {DOMAIN: str(folder / "domain.xml"), "vmId": "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"}
    called = subprocess.run(
        [installed], env={**environment(), **given, **variables}, capture_output=True, text=True, check=False
    )
    assert called.stdout == ""
    assert "Traceback" not in called.stderr
    return called


def test_a_destination_that_can_take_the_vm_lets_it_come(hosts: Server, tmp_path: Path) -> None:
    called = hook(tmp_path, "before_vm_migrate_destination", hosts.url, "--host", "host-new")
    assert called.returncode == 0, called.stderr


def test_a_destination_that_cannot_ends_the_migration(hosts: Server, tmp_path: Path) -> None:
    called = hook(tmp_path, "before_vm_migrate_destination", hosts.url, "--host", "host-old")
    assert called.returncode == 2
    assert "the device-profile registry refuses to move vm1 to host-old:" in called.stderr
    assert "ua-8a0d5b3e-5d16-4ba3-b1a3-4b6f6b5a6c01: " in called.stderr


@pytest.mark.parametrize(
    ("label", "status", "reason"),
    [
        ("cluster=c3", 0, ""),
        ("cluster", 0, ""),
        ("cluster=c1", 2, "refuses to move vm1 to a host with cluster=c1:"),
        ("cluster=c9", 2, "refuses to move vm1 to a host with cluster=c9:"),
        # The host that it leaves is no destination.
        ("cluster=c2", 2, "knows no other host for vm1 than host-new"),
    ],
)
def test_a_source_asks_whether_another_host_takes_the_vm(
    hosts: Server, tmp_path: Path, label: str, status: int, reason: str
) -> None:
    called = hook(tmp_path, "before_vm_migrate_source", hosts.url, "--host", "host-new", "--label", label)
    assert (called.returncode, reason in called.stderr) == (status, True), called.stderr


def test_a_source_that_is_not_registered_is_refused(hosts: Server, tmp_path: Path) -> None:
    called = hook(tmp_path, "before_vm_migrate_source", hosts.url, "--host", "host-9", "--label", "cluster=c3")
    assert (called.returncode, "host-9" in called.stderr) == (2, True)


def test_without_labels_a_source_cannot_ask(hosts: Server, tmp_path: Path) -> None:
    called = hook(tmp_path, "before_vm_migrate_source", hosts.url)
    assert (called.returncode, "needs --label" in called.stderr) == (2, True)


def test_what_cannot_be_checked_ends_it_unless_it_is_allowed(hosts: Server, tmp_path: Path) -> None:
    for options, status in ((), 2), (("--unasked", "allow"), 0), (("--without", "hostdev0"), 0):
        folder = tmp_path / "-".join(["x", *options])
        folder.mkdir()
        called = hook(folder, "before_vm_migrate_destination", hosts.url, "--host", "host-new", *options, xml=_UNKNOWN)
        assert called.returncode == status, called.stderr


@pytest.mark.parametrize("xml", [None, "", "<domain", "<domain/>"])
def test_no_domain_ends_it(hosts: Server, tmp_path: Path, xml: str | None) -> None:
    called = hook(tmp_path, "before_vm_migrate_destination", hosts.url, "--host", "host-new", xml=xml)
    assert (called.returncode, bool(called.stderr)) == (2, True)


def test_with_the_registry_away_it_ends(tmp_path: Path) -> None:
    called = hook(tmp_path, "before_vm_migrate_destination", "http://127.0.0.1:1", "--host", "host-new")
    assert (called.returncode, "http://127.0.0.1:1" in called.stderr) == (2, True)


def test_in_another_folder_and_without_the_command_it_ends(tmp_path: Path) -> None:
    assert hook(tmp_path, "before_vm_start", "http://127.0.0.1:1").returncode == 2
    # Where the command is not installed, too.
    (tmp_path / "before_vm_migrate_destination").mkdir()
    installed = tmp_path / "before_vm_migrate_destination" / "hook"
    script = (ROOT / "deploy" / "ovirt" / "50_profile_registry").read_text(encoding="utf-8")
    installed.write_text(script.replace("/usr/local/bin/profile-registry", str(tmp_path / "none")))
    installed.chmod(0o755)
    assert subprocess.run([installed], env={"PATH": os.environ["PATH"]}, check=False).returncode == 2


def test_the_events_are_those_of_vdsm() -> None:
    assert [event.value for event in Event] == ["before_vm_migrate_source", "before_vm_migrate_destination"]
    with pytest.raises(HookError, match="_hook_domxml is not set"):
        read_domain({})
    with pytest.raises(HookError, match="/none cannot be read: No such file or directory"):
        read_domain({DOMAIN: "/none"})
