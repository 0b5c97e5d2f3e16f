"""A running VM is asked about with what lies behind its devices, as far as its host has reported it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.cli.client import Registry
from app.cli.host.behind import Behind, Known
from app.cli.host.naming import Names
from app.cli.host.tool import Machine
from app.cli.qemu.monitor import Call, Refused, _vdpa_nodes
from app.cli.qemu.negotiated import negotiated
from app.hypervisor.facts import computed
from tests.cli.conftest import Run
from tests.cli.test_host_report import Host

NIC = "qemu.org/virtio-net-pci"
DRIVER, FIRMWARE = "acme.com/vf-stream", "acme.com/vf"
CARD, VGPU = "acme.com/dpu-net", "acme.com/vgpu"


@pytest.fixture
def host(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host with a card behind vfio, one behind vDPA, and a mediated device."""
    made = Host(tmp_path, run)
    root = made.root
    for path in (
        "sys/bus/pci/devices/0000:3b:00.0",
        "sys/bus/pci/devices/0000:3b:00.3",
        "sys/bus/pci/drivers/acme_vfio_pci",
        "sys/devices/gpu0/mdev_supported_types/acme-4g",
        "sys/devices/gpu0/83b8f4f2",
        "sys/bus/mdev/devices",
        "sys/bus/vdpa/devices/vdpa0/vhost-vdpa-0",
    ):
        (root / path).mkdir(parents=True)
    function = root / "sys/bus/pci/devices/0000:3b:00.3"
    (function / "physfn").symlink_to("../0000:3b:00.0")
    (function / "driver").symlink_to("../../drivers/acme_vfio_pci")
    (root / "sys/devices/gpu0/83b8f4f2/mdev_type").symlink_to("../mdev_supported_types/acme-4g")
    (root / "sys/bus/mdev/devices/83b8f4f2").symlink_to("../../../devices/gpu0/83b8f4f2")
    script = 'case "$3" in show) ;; *) exec /bin/cat "$0.config";; esac'
    made.tool("vdpa", {"dev": {"vdpa0": {"type": "network", "mgmtdev": "pci/0000:41:00.0"}}}, script=script)
    config = {"config": {"vdpa0": {"mac": "00:11:22:33:44:55", "link ": "up", "max_vq_pairs": 4, "mtu": 9000}}}
    (tmp_path / "bin/vdpa.config").write_text(json.dumps(config))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return made


@pytest.fixture
def behind(api: Registry, host: Host) -> Behind:
    """Return the parts of a VM on a host that has reported its units."""
    api.put("/vendors/acme.com", {})
    state = {"saved_state": {"writes": 1, "reads": [1]}}
    queues = {"max_vqp": {"type": "int", "init_value": 1, "off_value": 1}}
    for release, model, content in (
        ("acme.com/acme_vfio_pci@6.1", DRIVER, {"variables": {}, **state, "needs": ["firmware"]}),
        ("acme.com/card/board@1", FIRMWARE, {"variables": {}, **state}),
        ("acme.com/dpu@1", CARD, {"variables": queues, **state}),
        ("acme.com/gfx/4g@1", VGPU, {"variables": {}, **state}),
    ):
        api.put(f"/releases/{release}", {"models": {model: content}})
    units = {
        "firmware/0000:3b:00.0": "acme.com/card/board@1",
        "pci/0000:41:00.0": "acme.com/dpu@1",
        "gpu0/acme-4g": "acme.com/gfx/4g@1",
    }
    document = {
        "releases": ["qemu.org/qemu-system-x86_64@9", "acme.com/acme_vfio_pci@6.1"],
        "units": [{"id": unit, "releases": [release]} for unit, release in units.items()],
    }
    api.put("/hosts/here", document)
    known = Known.of(api, ["", "elsewhere.example", "here"], Machine(host.root))
    assert known is not None
    return Behind(Names(api), known)


def stated(parts: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    keys = ("id", "model", "part_of", "role", "unit")
    return [tuple(part[key] for key in keys if key in part) for part in parts]


def test_a_virtual_function_comes_with_its_driver_and_its_firmware(behind: Behind) -> None:
    behind.add_passed_through("vf0", "0000:3b:00.3")
    assert stated(behind.parts) == [
        ("vf0-device", DRIVER, "vf0", "host-device"),
        ("vf0-firmware", FIRMWARE, "vf0-device", "firmware", "firmware/0000:3b:00.0"),
    ]
    # The registry takes it as it is.
    devices = [{"id": "vf0", "model": "qemu.org/vfio-pci"}, *behind.parts]
    asked = behind.names.registry.post("/compatibility", {"devices": devices, "destinations": [{"host": "here"}]})
    _, driver, firmware = asked["results"][0]["devices"]
    assert (driver["compatible"], firmware["compatible"]) == (True, True), (driver, firmware)


def test_a_mediated_device_and_a_vdpa_card_are_made_by_their_units(behind: Behind) -> None:
    behind.add_passed_through("gpu", "/sys/bus/mdev/devices/83b8f4f2")
    behind.add_vdpa("net0", "/dev/vhost-vdpa-0")
    assert stated(behind.parts) == [
        ("gpu-device", VGPU, "gpu", "host-device", "gpu0/acme-4g"),
        ("net0-backend", CARD, "net0", "backend", "pci/0000:41:00.0"),
    ]
    # The release has no variable for the MTU.
    assert behind.parts[1]["values"] == {"max_vqp": 4}
    assert behind.replaced == {"net0-backend", "hostnet0-backend"}


@pytest.mark.parametrize("fault", ["no unit", "no tool", "no release", "elsewhere"])
def test_what_the_report_does_not_know_is_no_part(behind: Behind, api: Registry, host: Host, fault: str) -> None:
    document: dict[str, Any] = {"releases": ["qemu.org/qemu-system-x86_64@9"], "units": []}
    if fault == "no release":
        units = [{"id": "pci/0000:41:00.0", "releases": ["acme.com/none@1"]}]
        document = {**document, "units": units}
    if fault == "no tool":
        host.tool("vdpa", "garbage")
        document = api.get("/hosts/here")
    behind.host = Known("here", document, None if fault == "elsewhere" else Machine(host.root))
    behind.add_vdpa("net0", "/dev/vhost-vdpa-0")
    behind.add_vdpa("net0", "/dev/vhost-vdpa-7")
    assert (behind.parts, behind.replaced) == ([], set())
    if fault != "no tool":
        behind.add_passed_through("vf0", "0000:3b:00.3")
        behind.add_passed_through("vf0", "")
        assert behind.parts == []
        # The firmware without its driver would be half an answer.
        assert list(behind.unasked) == ([] if fault == "elsewhere" else ["vf0-device"])


def test_libvirt_says_which_device_a_card_was_given() -> None:
    import defusedxml.ElementTree  # noqa: PLC0415 (only here)

    domain = defusedxml.ElementTree.fromstring(
        "<domain><devices><interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/><alias name='net0'/></interface>"
        "<interface type='user'><alias name='net1'/></interface></devices></domain>"
    )
    assert list(_vdpa_nodes(domain)) == [("net0", "/dev/vhost-vdpa-0")]


class Virtio:
    """A QEMU whose guest has negotiated some features."""

    host = None
    is_local = True

    def __init__(self, listed: Any, status: Any) -> None:
        self._answers = {"x-query-virtio": listed, "x-query-virtio-status": status}

    def vdpa_nodes(self) -> Sequence[tuple[str, str]]:
        """Return none."""
        return ()

    def ask(self, calls: Sequence[Call]) -> list[Any]:
        """Return the answers by command."""
        return [self._answers[call.command] for call in calls]


def test_what_a_guest_has_negotiated_is_told_as_qemus_properties() -> None:
    path = "/machine/peripheral/net0"
    status = {
        "guest-features": {
            "unknown-dev-features": 1 << 40,
            "dev-features": ["VIRTIO_NET_F_MQ: Multiqueue", "VIRTIO_NET_F_MTU: MTU", "VIRTIO_NET_F_GUEST_USO4: x"],
            "transports": ["VIRTIO_RING_F_EVENT_IDX: x", "VIRTIO_F_RING_PACKED: x"],
        }
    }
    listed = [{"name": "virtio-net", "path": f"{path}/virtio-backend"}]
    paths = {"net0": path, "usb0": "/machine/peripheral/usb0"}
    assert negotiated(Virtio(listed, status), paths) == {
        "net0": ["event_idx", "guest_uso4", "host_mtu", "mq", "packed"]
    }
    # Before a driver has started, and where QEMU does not tell.
    assert negotiated(Virtio(listed, {"guest-features": {}}), paths) == {}
    assert negotiated(Virtio(listed, Refused("not realized")), paths) == {}
    assert negotiated(Virtio(Refused("unknown"), {}), paths) == {}


@pytest.mark.parametrize(
    ("device", "names"),
    [
        ("virtio-blk-pci", {"num-queues", "vectors", "disable-legacy"}),
        ("virtio-blk-pci-non-transitional", {"num-queues", "vectors"}),
        ("virtio-scsi-pci", {"num_queues", "vectors", "disable-legacy"}),
        ("virtio-gpu-pci", set()),
        ("e1000e", set()),
    ],
)
def test_what_qemu_computes_is_known_by_device(device: str, names: set[str]) -> None:
    assert computed(device) == names


def test_a_domain_says_nothing_of_what_qemu_computes(run: Run, api: Registry, tmp_path: Path) -> None:
    api.put("/vendors/qemu.org", {})
    variables = {
        name: {"type": "int", "init_value": value} for name, value in (("num_queues", 1), ("vectors", 4), ("x", 7))
    }
    legacy = {"disable-legacy": {"type": "str", "init_value": "off"}}
    values = {"num_queues": 1, "vectors": 4, "x": 7, "disable-legacy": "off"}
    document = {
        "models": {"qemu.org/virtio-scsi-pci": {"variables": {**variables, **legacy}}},
        "profiles": [{"name": "qemu.org/pc", "values": {"qemu.org/virtio-scsi-pci": values}}],
    }
    api.put("/releases/qemu.org/qemu-system-x86_64@9", document)
    xml = tmp_path / "vm.xml"
    xml.write_text(
        "<domain><name>vm</name><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>"
        "<controller type='scsi' model='virtio-scsi'>{}</controller></devices></domain>"
    )
    question = ("check", "--domain", str(xml), "--destination", "qemu.org/qemu-system-x86_64@9")
    answer = json.loads(run(*question, "--json").stdout)
    (device,) = answer["results"][0]["devices"]
    assert device["compatible"]
    assert device["configuration"] == {"x": 7}
    assert set(device["not_known"]) == {"num_queues", "vectors", "disable-legacy"} <= set(device["unchecked"])
    shown = run(*question)
    assert "not known, because QEMU computes it when it starts the VM (check --live): disable-legacy" in shown.stdout
    # What is given is known.
    given = json.loads(run(*question, "--value", "controller0/num_queues=1", "--json").stdout)
    (device,) = given["results"][0]["devices"]
    assert "num_queues" in device["configuration"]
    assert "num_queues" not in device["not_known"]
