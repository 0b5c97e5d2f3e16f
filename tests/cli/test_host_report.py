"""host report states what the tools of a host print, names what it could not ask, and loses nothing of before."""

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.cli import hosts
from app.cli.client import Registry
from app.cli.host import devlink, emulator, nvidia, tool, tun, vdpa, vhost_user
from app.cli.host.naming import Kernel
from app.cli.host.tool import Machine, NotAskedError
from tests.cli.conftest import Run

NET = "virtio-spec.org/net"
DEBIAN = (
    "Linux version 6.12.69+deb13-amd64 (debian-kernel@lists.debian.org) (x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) "
    "14.2.0, GNU ld (GNU Binutils for Debian) 2.44) #1 SMP PREEMPT_DYNAMIC Debian 6.12.69-1 (2026-02-08)"
)
VDPA = {
    "mgmtdev": {
        "pci/0000:3b:00.2": {
            "supported_classes ": ["net"],
            "max_supported_vqs": 9,
            "dev_features": ["CSUM", "MTU", "MAC", "STATUS", "CTRL_VQ", "MQ", "VERSION_1", 40],
        },
        "vdpasim_blk": {"supported_classes": ["block"], "max_supported_vqs": 1, "dev_features": [1, 6, 9, "VERSION_1"]},
    }
}
MDEV = [
    {
        "0000:00:03.0": [
            {"nvidia-36": {"available_instances": 16, "device_api": "vfio-pci", "name": "GRID M10-0Q"}},
            {"nvidia-155": {"available_instances": 4, "device_api": "vfio-pci", "name": "GRID M10-2B"}},
        ],
        "mtty": [{"mtty-1": {"available_instances": 24, "device_api": "vfio-pci", "name": "Single port serial"}}],
    }
]
DEVLINK = {
    "info": {
        "pci/0000:3b:00.0": {
            "driver": "mlx5_core",
            "versions": {
                "fixed": {"fw.psid": "MT_0000000834"},
                "running": {"fw.version": "28.41.1000", "fw": "28.41.1000"},
                "stored": {"fw.version": "28.42.1000", "fw": "28.42.1000"},
            },
        },
        "pci/0000:af:00.0": {
            "driver": "bnxt_en",
            "versions": {"fixed": {"board.id": "7339763 Rev 0"}, "running": {"fw": "216.1.2", "fw.psid": "0.0.0"}},
        },
        "auxiliary/mlx5_core.eth.0": {"driver": "mlx5_core.eth"},
    }
}
TYPES = "GPU 00000000:01:00.0\n    GRID P4-1B\n    GRID P4-1Q\n"
LOG = "vmiop_log: Driver Version: 535.104.06\nnotice: vmiop_log: (0x0): vGPU supported range: (0x70001, 0x140001)\n"


class Host:
    """A host with tools that print what a test says, and with files below a root of its own."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.root = folder / "root"
        self._bin = folder / "bin"
        self._bin.mkdir()
        self.run = run
        self.file("proc/version", DEBIAN)
        # A kernel without any of it.
        for name in ("bus/pci/drivers", "class", "module"):
            (self.root / "sys" / name).mkdir(parents=True)

    def file(self, path: str, text: str) -> Path:
        """Write a file below the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def tool(self, name: str, printed: object, *, status: int = 0, script: str = "") -> None:
        """Install a tool that prints something, as JSON if it is no text; script: what it does before."""
        content = self._bin / f".{name}"
        content.write_text(printed if isinstance(printed, str) else json.dumps(printed))
        program = self._bin / name
        program.write_text(f"#!/bin/sh\n{script}\n/bin/cat {content}\nexit {status}\n")
        program.chmod(0o755)

    def lose(self, name: str) -> None:
        """Remove a tool; what it asks is still there."""
        (self._bin / name).unlink()
        for path in ("sys/bus/vdpa/devices", "sys/module/nvidia"):
            (self.root / path).mkdir(parents=True, exist_ok=True)
        if name == "mdevctl":
            # Without it the kernel is read, if that can be.
            (self.root / "sys/class").rmdir()

    def report(self, *options: str) -> Any:
        """Report the host; return what the command prints as JSON."""
        arguments = ("host", "report", "--name", "host-1", "--root", str(self.root), "--json", *options)
        finished = self.run(*arguments)
        assert finished.exit_code == 0, finished.output
        return json.loads(finished.stdout)


@pytest.fixture
def host(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host that has no tools at first."""
    made = Host(tmp_path, run)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return made


def with_all_tools(host: Host) -> Host:
    """Install all tools."""
    host.tool("vdpa", VDPA)
    host.tool("mdevctl", MDEV)
    host.tool("devlink", DEVLINK)
    host.tool("nvidia-smi", "535.104.06\n", script=f'if [ "$1" = vgpu ]; then printf "{TYPES}"; exit 0; fi')
    host.tool("journalctl", LOG)
    for driver, devices in {"mlx5_vfio_pci": ["0000:3b:00.3", "0000:3b:00.4"], "vfio-pci": ["0000:41:00.0"]}.items():
        for device in (*devices, "module"):
            host.file(f"sys/bus/pci/drivers/{driver}/{device}", "")
    return host


def units(report: Mapping[str, Any]) -> dict[str, list[str]]:
    return {unit["id"]: unit["releases"] for unit in report["units"]}


def test_everything_is_reported_as_the_tools_print_it(host: Host) -> None:
    report = with_all_tools(host).report()
    assert report["releases"] == ["debian.org/linux@6.12.69-1", "kernel.org/mlx5_vfio_pci@6.12.69"]
    assert units(report) == {
        "pci/0000:3b:00.2": ["kernel.org/vdpa@6.12.69"],
        "vdpasim_blk": ["kernel.org/vdpa_sim_blk@6.12.69"],
        "0000:00:03.0/nvidia-36": ["nvidia.com/nvidia/GRID-M10-0Q@535.104.06"],
        "0000:00:03.0/nvidia-155": ["nvidia.com/nvidia/GRID-M10-2B@535.104.06"],
        "mtty/mtty-1": ["kernel.org/mtty/Single-port-serial@6.12.69"],
        "nvidia/0000:01:00.0": ["nvidia.com/vgpu-manager@535.104.06"],
        "firmware/0000:3b:00.0": ["nvidia.com/MT_0000000834@28.41.1000"],
        "firmware/0000:af:00.0": ["broadcom.com/7339763-Rev-0@216.1.2"],
    }
    stated = {unit["id"]: unit for unit in report["units"]}
    assert [stated[unit].get("available") for unit in ("0000:00:03.0/nvidia-36", "mtty/mtty-1")] == [16, 24]
    network = stated["pci/0000:3b:00.2"]["restrict"][NET]
    # Four pairs, and one queue for control.
    assert network["max_vqp"] == ["1-4"]
    assert {"f.guest_tso4", "f.guest_uso4"} <= network.keys()
    # A number stands for a feature that the tool has no name for.
    assert not {"f.csum", "f.mq", "f.version_1", "f.ring_reset"} & network.keys()
    disk = stated["vdpasim_blk"]["restrict"]["virtio-spec.org/block"]
    assert "f.mq" in disk
    assert not {"f.size_max", "f.blk_size", "f.flush"} & disk.keys()
    assert stated["nvidia/0000:01:00.0"]["restrict"]["nvidia.com/vgpu"] == {
        "vgpu-type": ["GRID P4-1B", "GRID P4-1Q"],
        "vgpu-version": [f"{0x70001}-{0x140001}"],
    }
    assert any("vfio-pci drives 0000:41:00.0" in note for note in report["notes"])
    assert report["not_asked"].keys() == {"QEMU", "tap offloads"}


def test_a_report_that_is_repeated_changes_nothing(host: Host, api: Registry) -> None:
    first = with_all_tools(host).report()
    changes = api.get("/changes")
    assert host.report() == first
    assert api.get("/changes") == changes


def test_what_is_published_decides_the_names(host: Host, api: Registry) -> None:
    for vendor in ("kernel.org", "nvidia.com", "virtio-spec.org"):
        api.put(f"/vendors/{vendor}", {})
    feature = {"type": "bool", "init_value": False, "off_value": False}
    psid = {"psid": {"type": "str", "init_value": "MT_0000000834", "settable": False}}
    for release, model, variables in (
        ("virtio-spec.org/virtio@1", NET, {"f.csum": feature, "f.rss": feature}),
        ("kernel.org/vdpa@6.12.69", NET, {"f.csum": feature, "f.rss": feature}),
        ("kernel.org/mtty/mtty-1@6.12.69", "kernel.org/mtty", {"ports": {"type": "int", "init_value": 1}}),
        ("nvidia.com/connectx-7/MT_0000000834@28.41.1000", "nvidia.com/connectx-7-vf", psid),
    ):
        api.put(f"/releases/{release}", {"models": {model: {"variables": variables}}})
    report = with_all_tools(host).report(
        "--unit-release", "vdpasim_blk=acme.com/disk@1", "--unit-release", "x=a.com/b@1"
    )
    reported = units(report)
    assert reported["mtty/mtty-1"] == ["kernel.org/mtty/mtty-1@6.12.69"]
    assert reported["firmware/0000:3b:00.0"] == ["nvidia.com/connectx-7/MT_0000000834@28.41.1000"]
    assert reported["vdpasim_blk"] == ["acme.com/disk@1"]
    # Only variables that the release has are restricted.
    assert report["units"][0]["restrict"] == {NET: {"f.rss": [False]}}
    assert report["unknown_variables"] == {}
    assert any("no effect" in note and note.endswith(": x") for note in report["notes"])


_FAULTS: Mapping[str, Callable[[Host, str], None]] = {
    "fails": lambda host, name: host.tool(name, "", status=1, script="echo broken >&2"),
    "prints garbage": lambda host, name: host.tool(name, '{"mgmtdev": [1', status=0),
    "prints another form": lambda host, name: host.tool(name, {"mgmtdev": {"a": 1}, "info": {"a": []}}),
    "prints an empty object": lambda host, name: host.tool(name, {}),
    "prints half a character": lambda host, name: host.tool(name, '{"a": "\\ud800"}'),
    "prints a list of numbers": lambda host, name: host.tool(name, [1, 2]),
    "is killed": lambda host, name: host.tool(name, "", script="kill -KILL $$"),
    "is slow": lambda host, name: host.tool(name, "", script="exec /bin/sleep 60"),
    "leaves a child": lambda host, name: host.tool(name, "", script="/bin/sleep 60 & exec /bin/sleep 60"),
    "prints too much": lambda host, name: host.tool(name, "", script="exec /usr/bin/head -c 20000000 /dev/zero"),
    "is missing, though its driver is there": lambda host, name: host.lose(name),
    "fills the disk": lambda host, name: host.tool(name, "", script="exec /usr/bin/yes"),
}


@pytest.mark.parametrize("fault", _FAULTS)
@pytest.mark.parametrize(
    ("name", "source"),
    [("vdpa", "vDPA"), ("mdevctl", "mediated devices"), ("devlink", "firmware"), ("nvidia-smi", "NVIDIA vGPU")],
)
def test_a_tool_that_fails_loses_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch, fault: str, name: str, source: str
) -> None:
    monkeypatch.setattr(tool, "SECONDS", 0.5)
    before = with_all_tools(host).report()
    _FAULTS[fault](host, name)
    after = host.report()
    assert source in after["not_asked"], after["not_asked"]
    assert units(after) == units(before)
    assert after["releases"] == before["releases"]


def test_what_is_gone_is_removed_and_what_an_operator_registered_stays(host: Host, api: Registry) -> None:
    ids = ("card0", "pci/0000:3b:00.9", "gpu/slot1")
    mine = [{"id": unit, "releases": ["acme.com/card@1"]} for unit in ids]
    releases = ["acme.com/agent@1", "acme.com/my_vfio_pci@1"]
    api.put("/hosts/host-1", {"releases": releases, "units": mine, "labels": {"rack": "r1"}})
    first = with_all_tools(host).report()
    assert {unit: units(first)[unit] for unit in ids} == {key: ["acme.com/card@1"] for key in ids}
    assert set(releases) < set(first["releases"])
    host.tool("vdpa", {"mgmtdev": {}})
    host.tool("mdevctl", [])
    second = host.report()
    left = [*ids, "nvidia/0000:01:00.0", "firmware/0000:3b:00.0", "firmware/0000:af:00.0"]
    assert list(units(second)) == left
    assert second["labels"] == {"rack": "r1"}


def test_what_an_operator_adds_to_a_unit_stays(host: Host, api: Registry) -> None:
    reported = with_all_tools(host).report()
    unit = next(unit for unit in reported["units"] if unit["id"] == "pci/0000:3b:00.2")
    own = {"acme.com/card": {"x": [1]}, NET: {**unit["restrict"][NET], "mtu": [1500], "f.mq": [False]}}
    changed = {**unit, "restrict": own, "resolves": {NET: {"y": {"1": 2}}}}
    document = {name: reported[name] for name in ("releases", "restrict", "resolves", "labels")}
    api.put("/hosts/host-1", {**document, "units": [changed]})
    again = next(unit for unit in host.report()["units"] if unit["id"] == "pci/0000:3b:00.2")
    assert again["resolves"] == changed["resolves"]
    assert again["restrict"]["acme.com/card"] == {"x": [1]}
    assert again["restrict"][NET]["mtu"] == [1500]
    # Of what the tool states, the tool is right.
    assert "f.mq" not in again["restrict"][NET]


def test_a_label_that_is_set_meanwhile_is_not_lost(host: Host, api: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    api.put("/hosts/host-1", {"releases": ["acme.com/agent@1"]})

    def slow(*_: object) -> Any:
        api.put("/hosts/host-1", {"releases": ["acme.com/agent@1"], "labels": {"draining": "yes"}})
        raise NotAskedError

    monkeypatch.setattr(devlink, "printed", slow)
    assert host.report()["labels"] == {"draining": "yes"}


def test_without_the_kernel_nothing_of_it_is_lost(host: Host) -> None:
    before = with_all_tools(host).report()
    (host.root / "proc/version").unlink()
    after = host.report()
    assert (units(after), after["releases"]) == (units(before), before["releases"])
    assert {"kernel", "vDPA", "mediated devices", "VFIO drivers"} <= after["not_asked"].keys()


def test_a_qemu_that_fails_stays_registered(host: Host) -> None:
    binary = host.root / "usr/bin/qemu-system-x86_64"
    binary.parent.mkdir(parents=True)
    binary.write_text("#!/bin/sh\necho QEMU emulator version 9.1.0\n")
    binary.chmod(0o755)
    assert "qemu.org/qemu-system-x86_64@9.1.0" in host.report()["releases"]
    binary.write_text("#!/bin/sh\nexit 1\n")
    broken = host.report()
    assert "qemu.org/qemu-system-x86_64@9.1.0" in broken["releases"]
    assert "failed: exit status 1" in broken["not_asked"]["QEMU"]
    binary.write_text("#!/bin/sh\necho QEMU emulator version 9.2.0\n")
    updated = host.report()
    assert [release for release in updated["releases"] if "qemu" in release] == ["qemu.org/qemu-system-x86_64@9.2.0"]


def test_a_qemu_that_fails_beside_one_that_works_stays_registered(host: Host) -> None:
    folders = [host.root / folder for folder in ("usr/bin", "usr/local/bin")]
    for folder, version in zip(folders, ("7.2.22", "10.0.13"), strict=True):
        folder.mkdir(parents=True)
        binary = folder / "qemu-system-x86_64"
        binary.write_text(f"#!/bin/sh\necho QEMU emulator version {version}\n")
        binary.chmod(0o755)
    both = {f"qemu.org/qemu-system-x86_64@{version}" for version in ("7.2.22", "10.0.13")}
    assert both <= set(host.report()["releases"])
    (folders[1] / "qemu-system-x86_64").write_text("#!/bin/sh\nexit 1\n")
    assert both <= set(host.report()["releases"])


def test_a_unit_with_a_release_of_its_own_goes_with_its_card(host: Host) -> None:
    option = ("--unit-release", "pci/0000:3b:00.2=vendor-a.com/dpu@2.0")
    host.tool("vdpa", VDPA)
    assert units(host.report(*option))["pci/0000:3b:00.2"] == ["vendor-a.com/dpu@2.0"]
    host.tool("vdpa", {"mgmtdev": {}})
    gone = host.report(*option)
    assert gone["units"] == []
    assert any("no effect" in note for note in gone["notes"])


def test_a_tool_that_states_no_features_restricts_nothing(host: Host) -> None:
    host.tool("vdpa", {"mgmtdev": {"pci/0000:3b:00.2": {"supported_classes": ["net"]}}})
    report = host.report()
    assert report["units"] == [{"id": "pci/0000:3b:00.2", "releases": ["kernel.org/vdpa@6.12.69"]}]
    assert any("does not state its features" in note for note in report["notes"])
    assert vdpa.ManagementDevice("x", "net", frozenset({"ctrl_vq"}), frozenset(), 33).pairs == 1


_CARDS = ("pci/0000:3b:00.0", "pci/0000:af:00.0")


def _cards(board: object, firmware: object) -> Any:
    versions = {"fixed": {"fw.psid": board}, "running": {"fw": firmware}}
    return {"info": {card: {"driver": "ice", "versions": versions} for card in _CARDS}}


_ODD: list[tuple[str, Any]] = [
    ("devlink", {"info": {_CARDS[0]: {"driver": "mlx5_core"}, _CARDS[1]: {"versions": None}}}),
    ("devlink", _cards([1], {})),
    ("devlink", _cards("x" * 5000, "1")),
    ("vdpa", {"mgmtdev": {"pci/0000:3b:00.2": {}, "vdpasim_blk": {"supported_classes": ["< unknown class >"]}}}),
    (
        "mdevctl",
        [
            {
                "mtty": [{"mtty-1": {"device_api": "x", "available_instances": 10**30, "name": 7}}],
                "0000:00:03.0": [{"nvidia-36": {"device_api": None}}, {"nvidia-155": {"device_api": 1}}],
            }
        ],
    ),
]


@pytest.mark.parametrize(("name", "printed"), _ODD)
def test_an_odd_field_loses_no_unit(host: Host, name: str, printed: Any) -> None:
    before = with_all_tools(host).report()
    host.tool(name, printed)
    assert units(host.report()).keys() == units(before).keys()


@pytest.mark.parametrize("name", ["vdpa", "mdevctl", "devlink"])
def test_control_characters_are_no_unit(host: Host, name: str) -> None:
    odd = "pci/0000:3b:\x00\x1b[31m00.0"
    versions = {"fixed": {"fw.psid": "a"}, "running": {"fw": "1"}}
    printed: dict[str, Any] = {
        "vdpa": {"mgmtdev": {odd: {"supported_classes": ["net"], "dev_features": [], "max_supported_vqs": 3}}},
        "mdevctl": [{odd: [{"mtty-1": {"device_api": "x"}}]}],
        "devlink": {"info": {odd: {"driver": "ice", "versions": versions}}},
    }
    host.tool(name, printed[name])
    assert host.report()["units"] == []


def test_what_a_container_sees_of_its_host_is_reported(host: Host) -> None:
    host.file("etc/hostname", "node-7\n")
    binary = host.file("usr/bin/qemu-system-x86_64", "#!/bin/sh\necho QEMU emulator version 9.9.9\n")
    binary.chmod(0o755)
    finished = host.run("host", "report", "--root", str(host.root), "--json")
    report = json.loads(finished.stdout)
    assert (report["host"], report["releases"][0]) == ("node-7", "qemu.org/qemu-system-x86_64@9.9.9")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--root", "/none"), "--root /none is no folder"),
        (("--every", "60"), "--every has no effect without --watch"),
        (("--name", ""), "--name ''"),
        (("--name", "../x"), "--name '../x'"),
        (("--label", "x"), "--label must be name=value"),
        (("--unit-release", "x"), "--unit-release must be <id>=<release>"),
        (("--binary", "/none"), "nothing is registered: /none is not installed"),
    ],
)
def test_wrong_options_register_nothing(host: Host, api: Registry, options: tuple[str, ...], message: str) -> None:
    refused = host.run("host", "report", *options)
    assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr
    assert list(api.items("/hosts")) == []


def test_a_driver_counts_before_a_device_is_bound_to_it(host: Host) -> None:
    (host.root / "sys/bus/pci/drivers/mlx5_vfio_pci").mkdir()
    (host.root / "sys/bus/pci/drivers/vfio-pci").mkdir()
    assert host.report()["releases"] == ["debian.org/linux@6.12.69-1", "kernel.org/mlx5_vfio_pci@6.12.69"]


def test_a_host_without_such_hardware_reports_its_kernel_alone(host: Host) -> None:
    report = host.report()
    assert (report["units"], report["releases"]) == ([], ["debian.org/linux@6.12.69-1"])
    # Neither tool nor driver: there is none of it, and nothing to ask. Firmware there can be.
    assert report["not_asked"].keys() == {"QEMU", "firmware", "tap offloads"}


def test_without_mdevctl_the_kernels_tree_is_read(host: Host) -> None:
    folder = "sys/class/mdev_bus/0000:00:02.0/mdev_supported_types/i915-GVTg_V5_4"
    for name, text in (("available_instances", "2\n"), ("device_api", "vfio-pci\n"), ("description", "fence: 4\n")):
        host.file(f"{folder}/{name}", text)
    report = host.report()
    assert report["units"] == [
        {"id": "0000:00:02.0/i915-GVTg_V5_4", "releases": ["kernel.org/i915/i915-GVTg_V5_4@6.12.69"], "available": 2}
    ]


def test_a_tool_that_fails_is_asked_once_for_all_types(host: Host, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    host.tool("mdevctl", MDEV)
    host.tool("nvidia-smi", "", script=f'echo "$1" >> {calls}', status=1)
    notes = host.report()["notes"]
    assert len([note for note in notes if "the version of nvidia is not known" in note]) == 2
    assert calls.read_text().split().count("--query-gpu=driver_version") == 1


def test_more_units_than_a_host_can_have_are_named(host: Host) -> None:
    kinds = [{f"mtty-{number}": {"available_instances": 1, "device_api": "vfio-pci"}} for number in range(70)]
    host.tool("mdevctl", [{"mtty": kinds}])
    report = host.report()
    assert len(report["units"]) == 64
    assert any("6 are left out: mtty/mtty-64" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("version", "releases"),
    [
        (DEBIAN, ["debian.org/linux@6.12.69-1", "kernel.org/linux@6.12.69"]),
        (
            (
                "Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0) "
                "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-"
            ),
            ["debian.org/linux@6.1.192-2", "kernel.org/linux@6.1.192"],
        ),
        (
            "Linux version 5.15.0-75-generic (buildd@lcy02) (gcc 11) #82~20.04.1-Ubuntu SMP Wed Jun 7",
            ["ubuntu.com/linux@5.15.0-75.82~20.04.1", "kernel.org/linux@5.15.0"],
        ),
        (
            "Linux version 5.14.0-162.6.1.el9_1.x86_64 (mockbuild@x86-vm-07.build.eng.bos.redhat.com) (gcc) #1 SMP",
            ["redhat.com/linux@5.14.0-162.6.1.el9_1.x86_64", "kernel.org/linux@5.14.0"],
        ),
        (
            (
                "Linux version 6.8.12-4-pve (build@proxmox) (gcc (Debian 12.2.0-14) 12.2.0) #1 SMP PREEMPT_DYNAMIC PMX "
                "6.8.12-4 (2024-11-06T15:04Z)"
            ),
            ["proxmox.com/linux@6.8.12-4", "kernel.org/linux@6.8.12"],
        ),
        (
            "Linux version 6.13.8-arch1-1 (linux@archlinux) (gcc) #1 SMP",
            ["archlinux.org/linux@6.13.8-arch1-1", "kernel.org/linux@6.13.8"],
        ),
        (
            "Linux version 6.18.44 (me@here) (gcc (Debian 12.2.0-14) 12.2.0) #1 SMP PREEMPT_DYNAMIC Mon Jan 5",
            ["kernel.org/linux@6.18.44"],
        ),
    ],
)
def test_the_kernel_is_called_as_its_distribution_calls_it(tmp_path: Path, version: str, releases: list[str]) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/version").write_text(f"{version}\n")
    assert Kernel.of(Machine(tmp_path)).releases("linux") == releases


def test_the_tap_offloads_of_this_kernel_are_asked(api: Registry, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "_FOLDERS", ())
    try:
        expected = tun.SOURCE.read(Machine(), Kernel("6.1"))
    except NotAskedError as error:
        pytest.skip(f"this machine has no tap devices: {error}")
    flag = {"type": "bool", "init_value": True, "resolved_by_host": [True]}
    api.put("/vendors/qemu.org", {})
    model, release = tun.MODELS[0], "qemu.org/qemu-system-x86_64@9.9"
    asked = ("guest_uso4", "host_uso", "guest_ufo")
    api.put(f"/releases/{release}", {"models": {model: {"variables": dict.fromkeys((*asked, "mq"), flag)}}})
    made = expected.resolves[model]
    registered = {model: {"mq": {"on": False}, "host_uso": {"on": not made["host_uso"]["on"]}}}
    api.put("/hosts/host-1", {"releases": [release], "resolves": registered})
    report = json.loads(run("host", "report", "--name", "host-1", "--json").stdout)
    assert "tap offloads" not in report["not_asked"]
    # What the operator states of another variable stays; what no release of the host has is not reported.
    assert report["resolves"] == {model: {"mq": {"on": False}, **{name: made[name] for name in asked}}}


def test_vhost_user_programs_are_named_by_what_they_print(host: Host) -> None:
    daemon = host.root / "virtiofsd"
    daemon.parent.mkdir(exist_ok=True, parents=True)
    daemon.write_text("#!/bin/sh\necho virtiofsd 1.13.2\n")
    daemon.chmod(0o755)
    other = host.root / "other"
    other.write_text("#!/bin/sh\necho Something else 2\n")
    other.chmod(0o755)
    described = {"description": "x", "type": "fs", "binary": "/virtiofsd", "features": ["migrate-precopy"]}
    host.file("usr/share/qemu/vhost-user/50-virtiofsd.json", json.dumps(described))
    host.file("usr/share/qemu/vhost-user/60-hidden.json", json.dumps({**described, "binary": "/none"}))
    host.file("etc/qemu/vhost-user/60-hidden.json", "")
    host.file("etc/qemu/vhost-user/70-other.json", json.dumps({**described, "binary": "/other"}))
    host.file("etc/qemu/vhost-user/80-broken.json", "[]")
    report = host.report()
    assert report["releases"] == ["debian.org/linux@6.12.69-1", "gitlab.com/virtio-fs/virtiofsd@1.13.2"]
    assert [note.partition(":")[2].partition(":")[0].strip() for note in report["notes"]] == [
        "70-other.json",
        "80-broken.json",
    ]
    # The C program came with QEMU, and Debian packaged it.
    printed = "virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright"
    assert vhost_user._releases("virtiofsd", printed) == (
        "debian.org/virtiofsd@1:7.2+dfsg-7+deb12u18",
        "qemu.org/virtiofsd@7.2.22",
    )


def test_what_the_vgpu_manager_does_not_say_is_named(host: Host) -> None:
    def restricted(report: Any) -> Any:
        (unit,) = [unit for unit in report["units"] if unit["id"].startswith("nvidia/")]
        return unit["restrict"]["nvidia.com/vgpu"]

    host.tool("journalctl", "nothing of it")
    with_all_tools(host)
    host.tool("journalctl", "nothing of it")
    types = {"vgpu-type": ["GRID P4-1B", "GRID P4-1Q"]}
    assert restricted(host.report()) == types
    host.tool("journalctl", LOG)
    versions = {"vgpu-version": [f"{0x70001}-{0x140001}"]}
    assert restricted(host.report()) == {**types, **versions}
    # Its log was rotated: what it said counts.
    host.tool("journalctl", "", status=1)
    report = host.report()
    assert restricted(report) == {**types, **versions}
    assert any("which versions of vGPUs the manager takes is not known" in note for note in report["notes"])
    assert nvidia.types_by_gpu("No supported devices in vGPU mode\n") == {}


def test_a_watch_goes_on_while_the_registry_is_away(
    host: Host, run: Run, monkeypatch: pytest.MonkeyPatch, service: Any
) -> None:
    host.tool("vdpa", VDPA)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        match len(waited):
            case 1:
                monkeypatch.setenv("REGISTRY_TOKEN", "a-wrong-token")
            case 2:
                monkeypatch.setenv("REGISTRY_TOKEN", "a-token-for-tests")
            case 3:
                host.tool("vdpa", {"mgmtdev": {}})
            case _:
                raise KeyboardInterrupt

    monkeypatch.setattr(hosts, "sleep", sleep)
    arguments = ("host", "report", "--name", "host-1", "--root", str(host.root), "--watch", "--every", "60")
    watched = run(*arguments)
    assert watched.output.count("host-1: registered") == 2
    assert watched.output.count("not reported: The token is not valid") == 1
    assert "removed because it was not found on this host: unit pci/0000:3b:00.2, unit vdpasim_blk" in watched.output
    assert all(50 < seconds < 70 for seconds in waited)
    assert service.get("/hosts/host-1").json()["units"] == []


def test_a_slow_tool_is_ended_with_what_it_has_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(NotAskedError, match=r"did not answer within 0\.3 seconds"):
        tool.output("/bin/sh", "-c", f"sleep 30 & echo $! > {tmp_path}/child; sleep 30")
    assert time.monotonic() - began < 10
    child = int((tmp_path / "child").read_text())
    with suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to trust what it runs")
def test_root_runs_only_what_root_can_change(tmp_path: Path) -> None:
    binary = tmp_path / "qemu-system-x86_64"
    binary.write_text("")
    tool.check_trusted(binary)
    binary.chmod(0o777)
    for path in (binary, Path("bin/true"), tmp_path / "none"):
        with pytest.raises(NotAskedError):
            tool.check_trusted(path)


def test_odd_descriptors_stop_no_report(host: Host) -> None:
    folder = host.root / "etc/qemu/vhost-user"
    (folder / "10-folder.json").mkdir(parents=True)
    (folder / "20-dangling.json").symlink_to("nowhere")
    (folder / "30-circle.json").symlink_to("30-circle.json")
    os.mkfifo(folder / "40-pipe.json")
    (folder / "50-bytes.json").write_bytes(b"\xff\xfe")
    assert len([note for note in host.report()["notes"] if note.startswith("vhost-user")]) == 5


def test_features_of_the_vdpa_tool_are_those_of_virtio() -> None:
    (network, disk) = vdpa.devices(VDPA)
    assert network.features is not None
    assert network.features >= {"csum", "ring_reset"}
    assert (network.pairs, network.unnamed) == (4, frozenset())
    assert disk.features == frozenset({"size_max", "blk_size", "flush", "version_1"})


def test_an_inventory_is_loaded_from_a_file_and_from_a_list(api: Registry, run: Run, tmp_path: Path) -> None:
    hosts = {f"h{number}": {"releases": ["vendor-a.com/fw@1"], "labels": {"rack": f"r{number}"}} for number in range(3)}
    file = tmp_path / "hosts.json"
    file.write_text(json.dumps(hosts))
    shown = run("host", "load", str(file), "--dry-run")
    assert shown.exit_code == 0
    assert "would be registered" in shown.stdout
    assert api.find("/hosts/h0") is None
    added = json.loads(run("host", "load", str(file), "--json").stdout)
    assert (added["added"], added["unknown_releases"]) == (3, ["vendor-a.com/fw@1"])
    file.write_text(run("host", "list", "--json").stdout)
    again = json.loads(run("host", "load", str(file), "--forget-others", "--json").stdout)
    assert (again["unchanged"], again["changed"], again["forgotten"]) == (3, 0, 0)
    file.write_text(json.dumps({"h1": hosts["h1"]}))
    assert json.loads(run("host", "load", str(file), "--forget-others", "--json").stdout)["forgotten"] == 2
    for content in ("{", "7", '{"h": {"releases": []}}'):
        file.write_text(content)
        assert run("host", "load", str(file)).exit_code in {1, 2}
