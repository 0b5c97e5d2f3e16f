"""The hookscript is called as qemu-server calls it, on a configuration as pmxcfs has it; no Proxmox VE was run."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.adapters.asking import Asker
from app.adapters.proxmox import Decision, Machine, decide
from tests.adapters.conftest import NIC, PROFILE
from tests.running.conftest import ROOT, Server, command, environment

# As qemu-server writes it: notes first, with what is not plain percent-encoded, the colon among it; snapshots last.
_CONF = f"""#A VM with a card.
#
#dpr%3Ahostpci0.model={NIC} dpr%3Ahostpci0.profile={PROFILE}
#dpr%3Ahostpci0.values.num-queues=8
boot: order=scsi0;net0
hostpci0: mapping=card
memory: 4096
net0: virtio=BC:24:11:2E:4D:01,bridge=vmbr0
scsi0: local-lvm:vm-100-disk-0,size=32G
scsihw: virtio-scsi-single
smbios1: uuid=27dbf2d9-1df7-4a2d-a6b2-ab4c1a0c1a7b

[before]
#dpr%3Ahostpci1.model=of.a/snapshot
hostpci1: mapping=other
"""


def configure(folder: Path, node: str, text: str = _CONF) -> Path:
    """Write the configuration of VM 100 on a node; return the folder that stands for /etc/pve."""
    path = folder / "nodes" / node / "qemu-server" / "100.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def decided(fleet: Server, ask: Callable[..., Asker], tmp_path: Path) -> Callable[..., Decision]:
    """Return a function that has the hookscript called on a node, for a VM from another node."""

    def decided(host: str, text: str = _CONF, source: str = "new-1", **options: Any) -> Decision:
        folder = configure(tmp_path, source, text)
        return decide("100", "pre-start", source, ask(fleet.url), host, folder=folder, **options)

    return decided


def test_the_notes_describe_the_devices(tmp_path: Path) -> None:
    machine = Machine.read("100", "pve1", configure(tmp_path, "pve1"))
    assert machine.devices == [
        {"id": "hostpci0", "model": NIC, "profile": PROFILE, "values": {"num-queues": "8"}},
    ]
    assert machine.not_described == ["net0", "scsi0"]


def test_a_node_that_can_take_the_vm_lets_it_start(decided: Callable[..., Decision]) -> None:
    decision = decided("new-2")
    assert decision.is_allowed, decision.lines
    assert decision.lines == [
        "VM 100 can run on new-2: hostpci0",
        "not asked about, because the notes do not describe it: net0, scsi0",
    ]


def test_a_node_that_cannot_refuses_with_the_reason(decided: Callable[..., Decision]) -> None:
    decision = decided("old-1")
    assert not decision.is_allowed
    (line,) = decision.lines
    assert line.startswith("VM 100 cannot run on old-1: hostpci0: ")
    assert line.endswith("(value-not-allowed)")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_CONF.replace("dpr%3A", "dpx%3A"), "its notes do not describe hostpci0 (dpr:ID.model=vendor/model)"),
        (f"#dpr%3Anet0.model={NIC}\nnet0: virtio=x\nhostpci3: y\n", "its notes do not describe hostpci3"),
        ("net0: virtio=BC:24:11:2E:4D:01\n", "its notes do not describe any device"),
        (_CONF.replace("values.num", "valeus.num"), "its configuration cannot be used: dpr:hostpci0.valeus.num-queues"),
        (_CONF.replace("values.num-queues=8", f"model={NIC}"), "dpr:hostpci0.model is given twice"),
        ("#dpr%3Ahostpci0.model='\n", "its configuration cannot be used: dpr:hostpci0.model=' cannot be read"),
        (_CONF.replace(NIC, "unknown.example/nic"), "hostpci0: "),
        (f"#- dpr%3Anet0.model=x\n{_CONF}", "- dpr:net0.model=x must begin with dpr:"),
        (f"#DPR%3Anet0.model=x\n{_CONF}", "DPR:net0.model=x must begin with dpr:"),
        (f"#see `dpr:net0.model=x`\n{_CONF}", "see `dpr:net0.model=x` must begin with dpr:"),
    ],
)
def test_a_device_that_is_not_known_is_refused(decided: Callable[..., Decision], text: str, reason: str) -> None:
    decision = decided("new-2", text)
    assert not decision.is_allowed
    assert reason in decision.lines[0]


def test_a_passed_through_device_can_be_left_out(decided: Callable[..., Decision]) -> None:
    text = f"{_CONF.partition('[')[0]}hostpci1: mapping=sound\n"
    assert not decided("new-2", text).is_allowed
    decision = decided("new-2", text, without=["hostpci1"])
    assert decision.is_allowed
    assert decision.lines[1].endswith("hostpci1, net0, scsi0")


def test_nodes_that_are_not_registered_are_refused(decided: Callable[..., Decision]) -> None:
    assert "No host pve9 is registered" in decided("pve9").lines[0]
    assert not decided("new-2", source="pve8").is_allowed


def test_other_calls_do_nothing(tmp_path: Path) -> None:
    away = Asker("http://127.0.0.1:1")
    for phase in ("post-start", "pre-stop", "post-stop"):
        assert decide("100", phase, "pve1", away, "pve2", folder=tmp_path) == Decision(is_allowed=True)
    # An ordinary start, also of a VM that came from another cluster.
    assert decide("100", "pre-start", None, away, "pve2", folder=tmp_path) == Decision(is_allowed=True)
    assert decide("100", "pre-start", "", away, "pve2", folder=tmp_path) == Decision(is_allowed=True)
    assert not decide("100", "restart", "pve1", away, "pve2", folder=tmp_path).is_allowed


def test_every_start_can_be_asked_about(fleet: Server, ask: Callable[..., Asker], tmp_path: Path) -> None:
    folder = tmp_path / "pve"
    (folder / "qemu-server").mkdir(parents=True)
    (folder / "qemu-server" / "100.conf").write_text(_CONF, encoding="utf-8")
    answers = {
        host: decide("100", "pre-start", None, ask(fleet.url), host, every_start=True, folder=folder).is_allowed
        for host in ("old-1", "new-1")
    }
    assert answers == {"old-1": False, "new-1": True}


@pytest.mark.parametrize(
    ("vm", "source"), [("100", "nowhere"), ("../100", "new-1"), ("100", "../new-1"), ("100", "a/b"), ("", "new-1")]
)
def test_a_vm_without_a_configuration_is_refused(tmp_path: Path, vm: str, source: str) -> None:
    decision = decide(
        vm, "pre-start", source, Asker("http://127.0.0.1:1"), "new-2", folder=configure(tmp_path, "new-1")
    )
    assert not decision.is_allowed
    assert "its configuration cannot be used" in decision.lines[0]


def test_with_the_registry_away_the_migration_fails(ask: Callable[..., Asker], tmp_path: Path) -> None:
    folder = configure(tmp_path, "new-1")
    decision = decide("100", "pre-start", "new-1", ask("http://127.0.0.1:1"), "new-2", folder=folder)
    assert not decision.is_allowed
    assert "the registry gave no answer" in decision.lines[0]


def test_the_command_ends_as_a_hookscript(fleet: Server) -> None:
    called = [*command("adapter", "proxmox", "100"), "pre-start"]
    ended = subprocess.run(
        called, cwd=ROOT, env=environment(url=fleet.url), capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    ended = subprocess.run(
        called,
        cwd=ROOT,
        env={**environment(url=fleet.url), "PVE_MIGRATED_FROM": "pve1"},
        capture_output=True,
        text=True,
        check=False,
    )
    # There is no /etc/pve here.
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "device-profile registry: VM 100 cannot run on" in ended.stderr


def test_the_hookscript_of_deploy_calls_the_command_at_the_start_alone(tmp_path: Path) -> None:
    program, settings, hookscript = tmp_path / "profile-registry", tmp_path / "hook.env", tmp_path / "hookscript"
    program.write_text('#!/bin/sh\necho "$REGISTRY_URL $PVE_MIGRATED_FROM" "$@"\nexit 1\n')
    program.chmod(0o755)
    settings.write_text("REGISTRY_URL=http://registry\nHOOK_OPTIONS='--without hostpci1'\n")
    script = (ROOT / "deploy" / "proxmox" / "profile-registry").read_text(encoding="utf-8")
    hookscript.write_text(
        script.replace("/usr/local/bin/profile-registry", str(program)).replace(
            "/etc/profile-registry/hook.env", str(settings)
        )
    )
    hookscript.chmod(0o755)

    def call(phase: str) -> tuple[int, str]:
        variables = {**environment(), "PVE_MIGRATED_FROM": "pve1"}
        ended = subprocess.run([hookscript, "100", phase], env=variables, capture_output=True, text=True, check=False)
        return ended.returncode, ended.stdout

    assert call("pre-start") == (1, "http://registry pve1 adapter proxmox --without hostpci1 -- 100 pre-start\n")
    assert [call(phase) for phase in ("post-start", "pre-stop", "post-stop")] == [(0, "")] * 3
