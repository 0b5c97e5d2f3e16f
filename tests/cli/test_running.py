"""check --qmp and --live ask a running QEMU itself; those with a real one are skipped where none is installed."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import QMPClient

from app.cli.client import Registry
from app.cli.qemu.capture import Capture
from app.cli.qemu.monitor import Call, MonitorError, Refused, SocketMonitor, VirshMonitor
from app.cli.qemu.publication import publish
from app.cli.qemu.unread import unread
from tests.cli.conftest import DATA, RELEASE, Run

BINARY = shutil.which("qemu-system-x86_64")
real = pytest.mark.skipif(BINARY is None, reason="qemu-system-x86_64 is not installed")

DEVICES = {
    "scsi0": "virtio-scsi-pci,num_queues=3",
    "net0": "virtio-net-pci,mq=on,mac=52:54:00:00:00:01",
    "usb0": "qemu-xhci",
    "tablet0": "usb-tablet,bus=usb0.0",
    "video0": "virtio-vga",
    "rng0": "virtio-rng-pci",
    "disk0": "virtio-blk-pci,drive=d0,serial=S 1,num-queues=2",
}
HOTPLUGGED = "usb-kbd"
START_SECONDS = 30


def command_of(machine: str, sockets: Sequence[Path], arguments: Sequence[str]) -> list[str]:
    assert BINARY is not None
    monitors = [part for socket in sockets for part in ("-qmp", f"unix:{socket},server=on,wait=off")]
    quiet = ("-S", "-nodefaults", "-display", "none", "-name", "guest=vm-1")
    back_end = ("-blockdev", "driver=null-co,read-zeroes=on,node-name=d0")
    return [BINARY, "-M", machine, *quiet, *back_end, *monitors, *arguments]


@contextmanager
def qemu(folder: Path, machine: str, *arguments: str) -> Iterator[tuple[Path, Path]]:
    """Yield two QMP sockets of a running QEMU."""
    sockets = (folder / "one", folder / "two")
    with subprocess.Popen(command_of(machine, sockets, arguments)) as process:  # noqa: S603 (a program of its own)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not all(socket.exists() for socket in sockets):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield sockets
        finally:
            process.kill()


def told(socket: Path, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """Return what QEMU answers."""

    async def ask() -> list[Any]:
        client = QMPClient("test")
        await client.connect(str(socket))
        answers = [await client.execute(command, arguments) for command, arguments in calls]
        await client.disconnect()
        return answers

    return asyncio.run(ask())


def fill(api: Registry, *devices: str) -> None:
    """Publish both captures, of some device types."""
    api.put("/vendors/qemu.org", {})
    for version, release in RELEASE.items():
        capture = Capture.load(DATA / f"qemu-{version}.json.gz").selected([], devices)
        publish(api, capture, release, lambda *_: None, override="a test")


def as_written(value: Any) -> Any:
    """Return a value of QEMU as a variable of any type can have it."""
    return {True: {True, "on"}, False: {False, "off"}}[value] if isinstance(value, bool) else {value, str(value)}


@real
@pytest.mark.parametrize("machine", ["pc-q35-7.2", "pc-i440fx-7.2"])
def test_a_running_vm_is_asked_about_as_it_is(api: Registry, run: Run, tmp_path: Path, machine: str) -> None:
    fill(api, *(device.partition(",")[0] for device in DEVICES.values()), HOTPLUGGED)
    arguments = [part for name, device in DEVICES.items() for part in ("-device", f"{device},id={name}")]
    with qemu(tmp_path, machine, *arguments) as (one, two):
        told(two, ("device_add", {"driver": HOTPLUGGED, "id": "keyboard0", "bus": "usb0.0"}))
        asked = run("check", "--qmp", str(one), "--source", RELEASE["7.2"], "--show-question")
        assert asked.exit_code == 0, asked.output
        (vm,) = json.loads(asked.stdout)["vms"]
        assert vm["id"] == "vm-1"
        devices = {device["id"]: device for device in vm["devices"]}
        kinds = {**{name: device.partition(",")[0] for name, device in DEVICES.items()}, "keyboard0": HOTPLUGGED}
        assert {name: device["model"] for name, device in devices.items() if name != "cpu"} == {
            name: f"qemu.org/{kind}" for name, kind in kinds.items()
        }
        assert {device.get("profile") for name, device in devices.items() if name != "cpu"} == {f"qemu.org/{machine}"}
        stated = [
            (name, variable, value)
            for name, device in devices.items()
            for variable, value in device["values"].items()
            if name != "cpu"
        ]
        assert len(stated) > 150
        paths = [(f"/machine/peripheral/{name}", variable) for name, variable, _ in stated]
        really = told(two, *(("qom-get", {"path": path, "property": variable}) for path, variable in paths))
        for (name, variable, value), raw in zip(stated, really, strict=True):
            assert value in as_written(raw), (name, variable)
        assert devices["net0"]["values"]["mac"] == "52:54:00:00:00:01"
        assert devices["disk0"]["values"]["serial"] == "S 1"
        # The back ends of this host are not asked about.
        assert "drive" not in devices["disk0"]["values"]
        assert "netdev" not in devices["net0"]["values"]
        question = ("check", "--qmp", str(one), "--source", RELEASE["7.2"], "--destination", RELEASE["7.2"])
        answer = run(*question)
        assert "incompatible" not in answer.stdout
        # The registry has no CPU models, and what is not compared is never compatible.
        assert answer.exit_code == 2, answer.output
        assert run(*question, "--without", "cpu").exit_code == 0


@real
@pytest.mark.parametrize(
    ("arguments", "devices", "reason"),
    [
        (
            ("-device", "qemu-xhci", "-audiodev", "none,id=a", "-device", "usb-audio,audiodev=a"),
            ("qemu-xhci-1", "usb-audio-1"),
            "usb-audio",
        ),
        (
            (
                *("-object", "memory-backend-ram,id=m,size=1M,share=on"),
                *("-device", "ivshmem-plain,memdev=m,master=off"),
            ),
            ("ivshmem-plain-1",),
            "ivshmem",
        ),
    ],
)
def test_what_blocks_the_migration_is_told_in_qemus_words(
    api: Registry, run: Run, tmp_path: Path, arguments: tuple[str, ...], devices: tuple[str, ...], reason: str
) -> None:
    fill(api, "virtio-rng-pci")
    with qemu(tmp_path, "pc-q35-7.2", "-device", "virtio-rng-pci,id=rng0", *arguments) as (one, two):
        (migration,) = told(two, ("query-migrate", {}))
        assert any(reason in blocker for blocker in migration["blocked-reasons"])
        # It counts even where everything that is asked about is compatible.
        left_out = [part for name in ("cpu", *devices) for part in ("--without", name)]
        question = ("check", "--qmp", str(one), "--source", RELEASE["7.2"], "--destination", RELEASE["7.2"], *left_out)
        refused = run(*question)
        assert refused.exit_code == 1
        assert "incompatible" in refused.stdout
        for blocker in migration["blocked-reasons"]:
            assert f"vm-1: QEMU does not migrate it now: {blocker}" in refused.stderr
        as_json = json.loads(run(*question, "--json").stdout)
        assert as_json["blocked"] == {"vm-1": migration["blocked-reasons"]}
        assert [result["compatible"] for result in as_json["results"]] == [False]
        assert [device["compatible"] for device in as_json["results"][0]["devices"]] == [True]
        summary = json.loads(run(*question, "--detail", "summary", "--json").stdout)
        assert [(result["possible"], result["impossible"]) for result in summary["results"]] == [([], 1)]
        # Also where nothing is left to ask.
        nothing = run(*question, "--without", "rng0")
        assert nothing.exit_code == 1
        assert "QEMU does not migrate it now" in nothing.stderr


@real
def test_what_a_question_cannot_say_is_named(api: Registry, run: Run, tmp_path: Path) -> None:
    fill(api, "virtio-rng-pci")
    firmware = tmp_path / "firmware"
    firmware.write_bytes(bytes(64 * 1024))
    settings = ("-cpu", "qemu64,pmu=on", "-bios", str(firmware))
    with qemu(tmp_path, "pc-q35-7.2", "-device", "virtio-rng-pci,id=rng0", *settings) as (one, _):
        question = ("check", "--qmp", str(one), "--source", RELEASE["7.2"], "--destination", RELEASE["7.2"])
        answer = run(*question, "--without", "cpu")
        assert answer.exit_code == 2
        assert "not checked: firmware: the image of the firmware is a file of the host" in answer.stderr
        assert "not checked: cpu/pmu" in answer.stderr
        left_out = [part for name in ("cpu", "cpu/pmu", "firmware") for part in ("--without", name)]
        assert run(*question, *left_out).exit_code == 0


class Told:
    """A QEMU that answers what it was told to, and refuses the rest."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    host = None
    is_local = True

    def vdpa_nodes(self) -> Sequence[tuple[str, str]]:
        """Return none."""
        return ()

    def ask(self, calls: Sequence[Call]) -> list[Any]:
        """Return the answers, by the property or the command."""
        keys = [str(call.arguments.get("property", call.command)) for call in calls]
        return [self._answers.get(key, Refused("unknown")) for key in keys]


@pytest.mark.parametrize(
    ("answers", "names"),
    [
        ({}, []),
        ({"firmware": "bios-256k.bin", "pflash0": "", "kernel": "", "confidential-guest-support": ""}, []),
        ({"pflash0": "libvirt-pflash0"}, ["firmware"]),
        ({"kernel": "/boot/vmlinuz"}, ["kernel"]),
        ({"confidential-guest-support": "/objects/sev0"}, ["launchSecurity"]),
        (
            {
                "human-monitor-command": "net0: index=0,type=nic,model=virtio-net-pci\r\n"
                " \\ hostnet0: index=0,type=vhost-user,id\r\n \\ hostnet1: index=0,type=user,net=10.0.2.0\r\n"
            },
            ["hostnet0-backend"],
        ),
        ({"query-tpm": [{"id": "tpm0", "model": "tpm-crb", "options": {"type": "emulator"}}]}, ["tpm0-backend"]),
        ({"query-named-block-nodes": [{"node-name": "n1", "drv": "virtio-blk-vhost-vdpa"}]}, ["n1-backend"]),
        ({"qom-list": [{"name": "hv-relaxed"}, {"name": "sse"}], "hv-relaxed": True}, ["cpu/hyperv"]),
        ({"qom-list": [{"name": "hv-spinlocks"}], "hv-spinlocks": 8191}, ["cpu/hyperv"]),
        ({"qom-list": [{"name": "hv-spinlocks"}], "hv-spinlocks": 0xFFFFFFFF}, []),
        ({"qom-list": [{"name": "host-phys-bits"}], "host-phys-bits": True}, ["cpu/host-phys-bits"]),
        ({"type": "host-x86_64-cpu"}, ["cpu/model"]),
        ({"type": "max-x86_64-cpu"}, ["cpu/model"]),
        ({"type": "qemu64-x86_64-cpu", "phys-bits": 46}, ["cpu/phys-bits"]),
        (
            {
                "type": "qemu64-x86_64-cpu",
                "vendor": "GenuineIntel",
                "family": 15,
                "query-cpu-model-expansion": {"model": {"props": {"vendor": "AuthenticAMD", "family": 15}}},
            },
            ["cpu/vendor"],
        ),
        ({"human-monitor-command": " \\ n0: index=0,type=stream,unix:/run/passt\r\n"}, ["n0-backend"]),
    ],
)
def test_what_is_behind_the_devices_is_named(answers: Mapping[str, Any], names: list[str]) -> None:
    assert list(unread(Told(answers), "/machine/cpu")) == names


@real
def test_a_device_can_be_left_out_and_must_be_there(api: Registry, run: Run, tmp_path: Path) -> None:
    fill(api, "virtio-rng-pci")
    with qemu(tmp_path, "pc-q35-7.2", "-device", "virtio-rng-pci") as (one, _):
        asked = run("check", "--qmp", str(one), "--without", "cpu", "--show-question")
        (vm,) = json.loads(asked.stdout)["vms"]
        assert [device["id"] for device in vm["devices"]] == ["virtio-rng-pci-1"]
        refused = run("check", "--qmp", str(one), "--without", "net7")
        assert refused.exit_code == 2
        assert "no VM has net7; there are virtio-rng-pci-1, cpu" in refused.stderr
        of_vm = run("check", "--qmp", str(one), "--without", "vm-1:cpu", "--show-question")
        assert [device["id"] for device in json.loads(of_vm.stdout)["vms"][0]["devices"]] == ["virtio-rng-pci-1"]


@real
def test_what_was_ordered_in_short_is_asked_about(api: Registry, run: Run, tmp_path: Path) -> None:
    fill(api, "virtio-rng-pci", "virtio-net-pci", "VGA", "usb-tablet")
    ordered = ("-nic", "user,model=virtio-net-pci", "-vga", "std", "-usb", "-usbdevice", "tablet")
    with qemu(tmp_path, "pc-i440fx-7.2", *ordered) as (one, _):
        question = ("check", "--qmp", str(one), "--source", RELEASE["7.2"], "--destination", RELEASE["7.2"])
        asked = json.loads(run(*question, "--show-question").stdout)
        ids = {device["id"] for device in asked["vms"][0]["devices"]}
        assert ids == {"virtio-net-pci-1", "VGA-1", "usb-tablet-1", "cpu"}
        # The registry has no such controller.
        answer = run(*question, "--without", "cpu")
        assert answer.exit_code == 2
        assert "not checked: piix3-usb-uhci-1: qemu.org/qemu-system-x86_64@7.2.22 does not publish" in answer.stderr


@real
def test_several_vms_are_asked_about_at_once(api: Registry, run: Run, tmp_path: Path) -> None:
    fill(api, "virtio-rng-pci")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    rng = ("-device", "virtio-rng-pci,id=rng0")
    with (
        qemu(tmp_path / "a", "pc-q35-7.2", *rng) as (one, _),
        qemu(tmp_path / "b", "pc-q35-7.2", "-name", "guest=vm-2") as (two, _),
    ):
        sockets = ("--qmp", str(one), "--qmp", str(two), "--source", RELEASE["7.2"], "--destination", RELEASE["7.2"])
        answer = run("check", *sockets, "--without", "cpu")
        # One that has nothing left is not forgotten.
        assert answer.exit_code == 2
        assert "not checked: vm-2: the VM has no device that can be checked" in answer.stderr
        assert run("check", *sockets, "--without", "rng0").exit_code == 2
        assert run("check", "--qmp", str(one), "--qmp", str(one), "--without", "cpu").exit_code == 2


def test_what_cannot_be_asked_is_named(run: Run, tmp_path: Path) -> None:
    refused = run("check", "--qmp", str(tmp_path / "none"))
    assert refused.exit_code == 2
    assert "cannot be asked over QMP" in refused.stderr
    for arguments in (
        ("--live", "a", "--value", "x/y=1"),
        ("--live", "a", "--domain", "b.xml"),
        ("--live", "a'b"),
        ("--live", "7"),
    ):
        assert run("check", *arguments).exit_code == 2


Answering = Callable[[str], None]


@pytest.fixture
def virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answering:
    """Return what puts a virsh into the path that runs a program; it reads the commands of standard input."""

    def install(program: str) -> None:
        path = tmp_path / "virsh"
        path.write_text(f"#!{sys.executable}\nimport json, sys\n{program}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return install


# As virsh does, it prints what it reads, after its prompt.
ECHO = """
for line in sys.stdin:
    print("virsh # " + line, end="")
    name, document = line.split("'")[1::2]
    call = json.loads(document)
    if call["execute"] == "nothing":
        print(json.dumps({"id": "libvirt-9", "error": {"class": "CommandNotFound", "desc": "no such command"}}))
    else:
        print(json.dumps({"return": [name, call.get("arguments")], "id": "libvirt-8"}))
"""


def test_libvirt_passes_commands_on(virsh: Answering) -> None:
    virsh(ECHO)
    with VirshMonitor("vm 1") as monitor:
        answers = monitor.ask([Call("one", {"path": "it's"}), Call("nothing"), Call("two")])
    assert answers == [["vm 1", {"path": "it's"}], Refused("no such command"), ["vm 1", None]]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("sys.stderr.write('error: failed to get domain\\n')", "a cannot be asked through virsh: failed to get domain"),
        ("print('{\"return\": 1}')", "a cannot be asked through virsh: it did not answer all commands"),
        ("print('{garbage')\nprint('{}')", "a cannot be asked through virsh: it does not answer with JSON"),
    ],
)
def test_a_virsh_that_fails_is_named(virsh: Answering, program: str, message: str) -> None:
    virsh(program)
    with VirshMonitor("a") as monitor, pytest.raises(MonitorError, match=message):
        monitor.ask([Call("one"), Call("two")])


def test_without_virsh_there_is_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with VirshMonitor("a") as monitor, pytest.raises(MonitorError, match="--qmp SOCKET asks a QEMU without libvirt"):
        monitor.ask([Call("one")])


def test_a_socket_that_nobody_serves_is_named(tmp_path: Path) -> None:
    with pytest.raises(MonitorError, match="cannot be asked over QMP"), SocketMonitor(tmp_path / "none"):
        pass
