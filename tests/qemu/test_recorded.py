"""Holds verdicts and profiles against what other QEMUs really did: 5.2, 7.2, 10.0 and 11.1, of several architectures.

tests/data/qemu: parts of captures that the importer saved (`<arch>-<version>.json.gz`); migrations of real devices
between these binaries (`migrations.jsonl.gz`); the values of real devices, most of which do not start alone
(`live_values.jsonl.gz`).
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.cli.client import Registry
from app.cli.qemu.capture import Capture
from app.cli.qemu.properties import kind_of, scope_of
from app.cli.qemu.publication import default_name, publish
from app.domain.values.name import numeric
from app.hypervisor.naming import profile_of
from app.storage import database
from tests.cli.conftest import client_of
from tests.conftest import make_app

_DATA = Path(__file__).parents[1] / "data" / "qemu"
# QEMU loads them, but saves nothing of them: the guest would find the device reset (app/hypervisor/facts.py).
_LOSE_STATE = frozenset(
    {"adlib", "ati-vga", "cxl-downstream", "cxl-rp", "cxl-upstream", "edu", "i2c-echo", "isa-applesmc", "pxb-cxl"}
)
# The VM fails for its controller, virtio-scsi, which has the erratum; behind another one, the disk goes.
_BEHIND_QUEUES = frozenset({"scsi-cd", "scsi-hd"})
# In the binaries that were captured here; the record was made without the module, or the type is no device there.
_NOT_THERE = frozenset({"qxl", "qxl-vga", "emmc"})
# The captures of other architectures were taken where the ROMs of their PCI devices were not installed.
_WITH_ROM = ("cirrus-vga", "i8255", "virtio-net-pci")
_BUILDS = frozenset({"aarch64", "m68k", "mips", "ppc64", "riscv64", "s390x", "x86_64", "x86_64-microvm"})
_QUEUES = "exceeds allocated max"


def _records(name: str) -> list[dict[str, Any]]:
    with gzip.open(_DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def _captures() -> dict[tuple[str, str], Capture]:
    captures = {}
    for path in sorted(_DATA.glob("*-*.json.gz")):
        build, _, version = path.name.removesuffix(".json.gz").rpartition("-")
        captures[build, version] = Capture.load(path)
    # Older releases are imported first, whatever their target: a device model is the same for all.
    return dict(sorted(captures.items(), key=lambda entry: (numeric(entry[0][1]), entry[0][0])))


@pytest.fixture(scope="module")
def captures() -> dict[tuple[str, str], Capture]:
    """Return the captures by target, or special build, and version."""
    return _captures()


@pytest.fixture(scope="module")
def registry(captures: dict[tuple[str, str], Capture], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Yield a registry in which all captures are published."""
    url = f"sqlite:///{tmp_path_factory.mktemp('recorded')}/registry.db"
    engine = database.create_engine(url)
    database.migrate(engine)
    engine.dispose()
    with TestClient(make_app(url)) as service, client_of(service) as api:
        for capture in captures.values():
            publish(api, capture, default_name(capture), lambda *_: None, override="machine types that were dropped")
        yield api


def test_every_architecture_is_imported(registry: Registry, captures: dict[tuple[str, str], Capture]) -> None:
    assert {build for build, _ in captures} == _BUILDS
    for capture in captures.values():
        release = registry.get(f"/releases/{default_name(capture)}")
        assert release["models"]
        boards = [entry["model"] for entry in release["models"] if entry["model"].endswith("-board")]
        assert boards, capture.target
        # Only machine types with a version mean the same in every release.
        versioned = [profile_of(capture.target, machine.name) for machine in capture.versioned_machines]
        assert sorted(release["profiles"] or ()) == sorted(versioned)


def test_no_recorded_failure_is_called_compatible(registry: Registry, captures: dict[tuple[str, str], Capture]) -> None:
    counts: Counter[str] = Counter()
    wrong = []
    for record in _records("migrations.jsonl.gz"):
        ends = [captures.get((record["arch"], record[end])) for end in ("from", "to")]
        if ends[0] is None or ends[1] is None or record["device"] in _NOT_THERE:
            counts["left out"] += 1
            continue
        question = {
            "model": f"qemu.org/{record['device']}",
            "profile": profile_of(record["arch"], record["machine"]),
            "source": default_name(ends[0]),
            "destination": default_name(ends[1]),
        }
        (device,) = registry.get("/compatibility", **question)["results"][0]["devices"]
        completed = record["result"] == "completed"
        codes = {problem["code"] for problem in device["problems"]}
        counts[f"{'compatible' if device['compatible'] else 'incompatible'}, {record['result']}"] += 1
        is_known = (
            record["device"] in _LOSE_STATE
            # Whether a migration fails for a queue depends on the guest, so that all are refused.
            or (completed and codes == {"known-broken"})
            or (record["device"] in _BEHIND_QUEUES and _QUEUES in record["error"])
        )
        if device["compatible"] != completed and not is_known:
            wrong.append((record["arch"], record["device"], record["machine"], record["from"], record["to"], codes))
    assert not wrong, wrong
    assert sum(counts.values()) - counts["left out"] > 900, counts


def test_answers_have_the_values_of_real_devices(registry: Registry, captures: dict[tuple[str, str], Capture]) -> None:
    counts: Counter[str] = Counter()
    wrong: Counter[tuple[str, ...]] = Counter()
    for record in _records("live_values.jsonl.gz"):
        capture = captures[record["arch"], record["version"]]
        if record["device"] in capture.not_started or record["device"].startswith(_WITH_ROM):
            counts["not started when it was captured"] += 1
            continue
        release, model = default_name(capture), f"qemu.org/{record['device']}"
        question = {"model": model, "profile": profile_of(record["arch"], record["machine"]), "detail": "full"}
        answer = registry.get("/compatibility", **question, source=release, destination=release)
        (device,) = answer["results"][0]["devices"]
        if not device["compatible"]:
            # Only what can be migrated has a configuration.
            assert {"not-migratable", "profile-not-for-model", "known-broken", "part-unknown"} & {
                problem["code"] for problem in device["problems"]
            }, (record["arch"], record["version"], record["machine"], model, device["problems"])
            counts["not migrated"] += 1
            continue
        for name, value in record["values"].items():
            kind = kind_of(capture.properties[record["device"]][name])
            if kind is None or name not in device["configuration"] or scope_of(name, kind) != "interface":
                continue
            answered = device["configuration"][name]
            if name in device["unchecked"]:
                counts["decided by the host"] += 1
            # -1 is the later spelling of 1.
            elif kind.value(value) == answered or (name, value, answered) == ("rombar", -1, 1):
                counts["equal"] += 1
            else:
                wrong[record["arch"], record["version"], record["device"], name, repr(value), repr(answered)] += 1
    assert sum(wrong.values()) * 1_000 <= counts["equal"], wrong.most_common()
    assert counts["equal"] > 7_000, counts
