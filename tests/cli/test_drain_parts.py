"""drain, for VMs with a device that a host serves itself, whose parts are made from units of the host."""

from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.cli.demonstration import publish_sample
from app.cli.drain import rooms
from tests.cli.conftest import Run, Save, client_of, moves, planned
from tests.conftest import shared_registry

QEMU, CARD, GPU = "qemu.org/qemu-system-x86_64@10.0.13", "acme.example/dpu@2.0", "pixel.example/gfx/gfx-4g@535.1"
ROOT = {"id": "root", "model": "qemu.org/virtio-net-pci", "release": QEMU}


def _host(rack: str, *units: tuple[str, int]) -> Mapping[str, Any]:
    made = [{"id": f"u{at}", "releases": [release], "available": free} for at, (release, free) in enumerate(units)]
    return {"releases": [QEMU], "labels": {"rack": rack}, "units": made}


HOSTS = {
    "full": _host("full", (GPU, 0), (CARD, 0)),
    "free": _host("free", (GPU, 1), (CARD, 1)),
    "one": _host("one", (GPU, 1)),
    "two": _host("two", (GPU, 1), (GPU, 1)),
}


def _fill(registry: TestClient) -> None:
    with client_of(registry) as client:
        publish_sample(client)
        for name, document in HOSTS.items():
            client.put(f"/hosts/{name}", document)


sample = shared_registry(_fill)


@pytest.fixture
def service(sample: TestClient) -> TestClient:
    """Return the service with the sample data and the hosts."""
    return sample


def part(name: str, release: str, above: str = "root") -> Mapping[str, Any]:
    model = "acme.example/dpu-net" if release == CARD else "pixel.example/vgpu"
    return {"id": name, "model": model, "release": release, "part_of": above, "role": name}


MIXED = {"id": "vm", "devices": [ROOT, part("gpu", GPU), part("nic", CARD)]}
NO_ROLE = {key: content for key, content in part("gpu1", GPU).items() if key != "role"}
TWO_GPUS = {"id": "vm", "devices": [ROOT, part("gpu0", GPU), NO_ROLE]}


def test_parts_of_a_device_that_the_host_serves_need_a_place_in_a_unit_each(run: Run, save: Save) -> None:
    file = save("vms.json", {"vms": [MIXED]})
    assert planned(run, file, "--label", "rack=full")["without_room"] == ["vm"]
    assert "no room left" in run("drain", file, "--label", "rack=full").stdout
    move = moves(planned(run, file, "--label", "rack=free"))["vm"]
    assert (move["host"], sorted(move["units"])) == ("free", ["u0", "u1"])


def test_two_parts_of_a_device_that_the_host_serves_need_two_places(run: Run, save: Save) -> None:
    file = save("vms.json", {"vms": [TWO_GPUS]})
    assert planned(run, file, "--label", "rack=one")["without_room"] == ["vm"]
    move = moves(planned(run, file, "--label", "rack=two"))["vm"]
    assert (move["host"], sorted(move["units"])) == ("two", ["u0", "u1"])


def test_parts_behind_a_device_that_a_unit_makes_share_its_place(run: Run, save: Save) -> None:
    vm = {"id": "vm", "devices": [ROOT, part("gpu0", GPU), part("gpu1", GPU, above="gpu0")]}
    move = moves(planned(run, save("vms.json", {"vms": [vm]}), "--label", "rack=one"))["vm"]
    assert (move["host"], move["units"]) == ("one", ["u0"])


def test_the_release_and_profile_of_the_vm_are_not_those_of_a_part(run: Run, save: Save) -> None:
    profile = "acme.example/dpu-net-2024"
    nic = {key: content for key, content in part("nic", CARD).items() if key != "release"} | {"profile": profile}
    vm = {"id": "vm", "release": QEMU, "devices": [{"id": "root", "model": ROOT["model"]}, part("gpu", GPU), nic]}
    move = moves(planned(run, save("vms.json", {"vms": [vm]}), "--label", "rack=free"))["vm"]
    assert (move["host"], sorted(move["units"])) == ("free", ["u0", "u1"])


def test_a_device_that_no_single_unit_takes_has_no_room(run: Run, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the units had changed since the verdict.
    monkeypatch.setattr(rooms, "_taking", lambda *_: frozenset())
    answer = planned(run, save("vms.json", {"vms": [MIXED]}), "--label", "rack=free")
    assert (answer["order"], answer["without_room"]) == ([], ["vm"])
