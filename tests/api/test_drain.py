"""A drain of forty VMs whose devices have parts, onto a thousand hosts with four cards each, in one question."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.stories import vendor
from tests.conftest import AUTHORIZATION, fresh_database, make_app
from tests.counts import full

_VMS, _HOSTS, _KINDS, _CARDS = 40, full(1_000, short=150), 30, 4
_ROUNDS = 5
# Parts may cost this many times what the same VMs cost without them.
_AT_MOST = 4
_EMULATOR, _DRIVER, _FIRMWARE = "vendor-a.com/emu", "vendor-a.com/drv", "vendor-a.com/fw"
_PASS, _STREAM, _CARD = "vendor-a.com/pass", "vendor-a.com/stream", "vendor-a.com/card"


def _fill(registry: TestClient) -> None:
    """Publish an emulator with many variables, drivers and firmware, and register the hosts."""
    vendor(registry)
    switches = {f"s{number}": {"type": "bool", "init_value": True, "off_value": False} for number in range(60)}
    together = {"role": "host-device", "over": 1, "require": {"p2p": [True]}}
    passed = {"variables": switches, "needs": ["host-device"], "together": [together]}
    plain = {"variables": switches}
    p2p = {"type": "bool", "init_value": True, "settable": False, "scope": "backend"}
    queues = {"type": "int", "init_value": 1, "off_value": 1, "allowed_values": ["1-64"]}
    documents = {
        f"{_EMULATOR}@1": {_PASS: passed, "vendor-a.com/nic": plain, "vendor-a.com/disk": plain},
        f"{_DRIVER}@1": {
            _STREAM: {"variables": {"p2p": p2p}, "saved_state": {"writes": 1, "reads": [1]}, "needs": ["fw"]}
        },
        **{
            f"{_FIRMWARE}@{number}": {
                _CARD: {"variables": {"queues": queues}, "saved_state": {"writes": number, "reads": [f"1-{number}"]}}
            }
            for number in range(1, 9)
        },
    }
    for release, models in documents.items():
        assert registry.put(f"/releases/{release}", json={"models": models}).status_code == 201
    for number in range(_HOSTS):
        # Thirty ways to have four of eight cards.
        kind = number % _KINDS
        firmware = [1 + (kind + card * (1 + kind // 8)) % 8 for card in range(_CARDS)]
        units = [
            {
                "id": f"0000:{number % 256:02x}:{card:02x}.0",
                "releases": [f"{_FIRMWARE}@{firmware[card]}"],
                "restrict": {_CARD: {"queues": [f"1-{8 + 4 * firmware[card]}"]}},
                "available": number % 8,
            }
            for card in range(_CARDS)
        ]
        document = {"releases": [f"{_EMULATOR}@1", f"{_DRIVER}@1"], "units": units}
        assert registry.put(f"/hosts/h{number:04}", json=document).status_code == 201


def _vms(*, with_parts: bool) -> list[dict[str, Any]]:
    vms = []
    for number in range(_VMS):
        devices: list[dict[str, Any]] = [
            {"id": "net0", "model": "vendor-a.com/nic", "release": f"{_EMULATOR}@1", "values": {f"s{number}": False}},
            {"id": "disk0", "model": "vendor-a.com/disk", "release": f"{_EMULATOR}@1", "values": {f"s{number}": False}},
        ]
        for card in range(2 if with_parts else 0):
            whole, driver = f"dev{card}", f"drv{card}"
            devices += [
                {"id": whole, "model": _PASS, "release": f"{_EMULATOR}@1"},
                {
                    "id": driver,
                    "model": _STREAM,
                    "release": f"{_DRIVER}@1",
                    "part_of": whole,
                    "role": "host-device",
                },
                {
                    "id": f"fw{card}",
                    "model": _CARD,
                    "release": f"{_FIRMWARE}@{1 + number % 8}",
                    "values": {"queues": 1 + number},
                    "part_of": driver,
                    "role": "fw",
                },
            ]
        if not with_parts:
            # As many devices, all of them the emulator's own.
            devices += [{**devices[index % 2], "id": f"more{index}"} for index in range(6)]
        vms.append({"id": f"vm{number}", "devices": devices})
    return vms


@pytest.fixture(scope="module")
def drained(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """Yield a registry with a thousand hosts of thirty kinds."""
    with fresh_database("sqlite", request) as url, TestClient(make_app(url)) as service:
        service.headers.update(AUTHORIZATION)
        _fill(service)
        yield service


def _timed(ask: Callable[[], Any]) -> float:
    return min(_once(ask) for _ in range(_ROUNDS))


def _once(ask: Callable[[], Any]) -> float:
    start = time.perf_counter()
    ask()
    return time.perf_counter() - start


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.parametrize("detail", ["summary", "problems"])
def test_parts_cost_at_most_four_times_as_much(drained: TestClient, detail: str) -> None:
    def ask(*, with_parts: bool) -> Any:
        question = {"vms": _vms(with_parts=with_parts), "destinations": [{"all_hosts": True}], "detail": detail}
        response = drained.post("/compatibility", json=question)
        assert response.status_code == 200, response.text
        return response.json()["results"]

    results = ask(with_parts=True)
    possible = {vm["vm"]: len(vm["possible"]) for vm in results} if detail == "summary" else {}
    assert not possible or 0 < sum(possible.values()) < _VMS * _HOSTS
    with_parts, without = _timed(lambda: ask(with_parts=True)), _timed(lambda: ask(with_parts=False))
    assert with_parts <= _AT_MOST * without, (with_parts, without)
