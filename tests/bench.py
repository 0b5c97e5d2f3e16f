"""What publishing and asking cost, as ratios to a floor measured in the same run: make bench.

Publishing: the QEMU 10.0 capture's release document, sent to the service, beside a bare script that parses the same
document, computes each set's canonical form and digest and inserts the rows with SQLAlchemy Core.
Asking: POST /compatibility (10 devices, 50 destinations on 5 releases), no two questions alike, beside a FastAPI route
that validates the same request and serialises a ready response model of the same size.
"""

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.wire.compatibility import Answer, Question
from app.cli.qemu.capture import Capture
from app.cli.qemu.publication import default_name, publish
from app.cli.qemu.release import Known, QemuRelease
from app.storage import database, schema
from tests.cli.conftest import DATA, talking_to
from tests.conftest import AUTHORIZATION, make_app, postgresql_server

ROUNDS = 7
QUESTIONS = 60


def main() -> None:
    """Print the ratios, then the figures."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, fresh in (("sqlite", _sqlite(Path(folder))), ("postgresql", _postgresql())):
            with fresh as make:
                results[f"publish QEMU 10.0, {kind}"] = _publishing(make)
                results[f"ask about 10 devices and 50 destinations, {kind}"] = _asking(make())
    for name, (ours, floor) in results.items():
        print(f"{name}: {ours / floor:.2f} times the floor ({ours * 1000:.1f} ms, floor {floor * 1000:.1f} ms)")


@contextmanager
def _sqlite(folder: Path) -> Iterator[Callable[[], str]]:
    template = folder / "template.db"
    engine = database.create_engine(f"sqlite:///{template}")
    database.migrate(engine)
    engine.dispose()

    def make() -> str:
        path = folder / f"{uuid4().hex}.db"
        shutil.copy(template, path)
        return f"sqlite:///{path}"

    yield make


@contextmanager
def _postgresql() -> Iterator[Callable[[], str]]:
    with postgresql_server() as uri:
        yield lambda: _fresh(sa.make_url(uri))


def _fresh(url: sa.URL) -> str:
    """Return the URL of a fresh, migrated database."""
    name = f"bench_{uuid4().hex}"
    engine = database.create_engine(url.render_as_string(hide_password=False))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    fresh = url.set(database=name).render_as_string(hide_password=False)
    engine = database.create_engine(fresh)
    database.migrate(engine)
    engine.dispose()
    return fresh


def _document(registry: TestClient) -> bytes:
    """Return the release document of the capture, as the importer sends it to a registry that has nothing of QEMU."""
    assert registry.put("/vendors/qemu.org", json={}).status_code == 201
    return orjson.dumps(QemuRelease(Capture.load(DATA / "qemu-10.0.json.gz"), Known()).document())


def _publishing(make: Callable[[], str]) -> tuple[float, float]:
    ours, floor = [], []
    for _ in range(ROUNDS):
        with TestClient(make_app(make()), headers=AUTHORIZATION) as registry:
            body = _document(registry)
            headers = {"Content-Type": "application/json"}
            start = time.perf_counter()
            response = registry.put("/releases/qemu.org/qemu-system-x86_64@10.0.13", content=body, headers=headers)
            ours.append(time.perf_counter() - start)
            assert response.status_code == 201, response.text
        engine = database.create_engine(make())
        start = time.perf_counter()
        _bare_publication(engine, body)
        floor.append(time.perf_counter() - start)
        engine.dispose()
    return statistics.median(ours), statistics.median(floor)


def _bare_publication(engine: sa.Engine, body: bytes) -> None:
    """Parse, digest and insert the same rows, and check nothing."""
    document = json.loads(body)
    with engine.begin() as connection:
        connection.execute(sa.insert(schema.vendor), {"id": 1, "name": "qemu.org"})
        connection.execute(sa.insert(schema.implementation), {"id": 1, "name": "qemu.org/q", "vendor_id": 1})
        connection.execute(sa.insert(schema.release), {"id": 1, "implementation_id": 1, "version": "1"})
        models, statements, off_values, sets, links = [], [], [], [], []
        ids = {}
        for number, (name, each) in enumerate(document["models"].items(), 1):
            ids[name] = number
            models.append({"id": number, "name": name, "vendor_id": 1})
            canonical, digest = _digested({"model": name, **each})
            sets.append({"digest": digest, "model_id": number, "document": canonical})
            links.append({"release_id": 1, "model_id": number, "digest": digest})
            for variable, stated in each["variables"].items():
                key = {"model_id": number, "vendor_id": 1, "variable": variable}
                statements.append({**key, "type": stated["type"]})
                if "off_value" in stated:
                    off_values.append({**key, "value": json.dumps(stated["off_value"])})
        values: dict[str, str] = {}
        profiles, entries, listed = [], [], []
        for number, profile in enumerate(document["profiles"], 1):
            profiles.append({"id": number, "name": profile["name"], "vendor_id": 1})
            listed.append({"release_id": 1, "profile_id": number})
            for model, own in profile["values"].items():
                canonical, digest = _digested(own)
                values[digest] = canonical
                entries.append(
                    {"profile_id": number, "model_id": ids[model], "own_digest": digest, "resolved_digest": digest}
                )
        for table, rows in (
            (schema.model, models),
            (schema.statement, statements),
            (schema.off_value, off_values),
            (schema.variable_set, sets),
            (schema.release_model, links),
            (schema.profile, profiles),
            (schema.profile_values, [{"digest": key, "document": each} for key, each in values.items()]),
            (schema.profile_entry, entries),
            (schema.profile_list, [{"release_id": 1}]),
            (schema.release_profile, listed),
        ):
            connection.execute(sa.insert(table), rows)


def _digested(document: Any) -> tuple[str, str]:
    canonical = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return canonical, f"sha256:{sha256(canonical.encode()).hexdigest()}"


_DEVICES = [
    "virtio-net-pci", "virtio-blk-pci", "virtio-scsi-pci", "virtio-balloon-pci", "virtio-rng-pci",
    "virtio-serial-pci", "virtio-vga", "qemu-xhci", "pcie-root-port", "ich9-ahci",
]  # fmt: skip


def _question(number: int, releases: list[str]) -> bytes:
    devices = [
        {
            "id": f"device{place}",
            "model": f"qemu.org/{name}",
            "release": releases[number % 2],
            "profile": "qemu.org/pc-q35-7.2",
            "values": {"addr": f"{number % 31:02x}.{place % 8}", "acpi-index": number * 100 + place},
        }
        for place, name in enumerate(_DEVICES)
    ]
    hosts = [{"id": f"host{number}-{place}", "releases": [releases[place % 5]]} for place in range(50)]
    return orjson.dumps({"devices": devices, "destinations": hosts})


def _asking(url: str) -> tuple[float, float]:
    with TestClient(make_app(url), headers=AUTHORIZATION) as service:
        registry = talking_to(service)
        captures = [Capture.load(DATA / f"qemu-{version}.json.gz") for version in ("7.2", "10.0")]
        releases = [default_name(capture) for capture in captures]
        releases += [f"{releases[1]}.{number}" for number in (1, 2, 3)]
        for release, capture in zip(releases, [*captures, *[captures[1]] * 3], strict=True):
            part = capture.selected([], sorted({*_DEVICES} & {*capture.device_types}))
            publish(registry, part, release, lambda *_: None, override="a benchmark")
        questions = [_question(number, releases) for number in range(QUESTIONS)]
        ready = Answer.model_validate_json(service.post("/compatibility", content=questions[0], headers=_JSON).content)
        assert all(result.compatible for result in ready.results)
        with TestClient(_floor(ready)) as floor_service:
            ours, floor = [], []
            for _ in range(ROUNDS):
                ours.append(_rate(service, questions))
                floor.append(_rate(floor_service, questions))
    return statistics.median(ours), statistics.median(floor)


_JSON = {"Content-Type": "application/json"}


def _rate(service: TestClient, questions: list[bytes]) -> float:
    start = time.perf_counter()
    for question in questions:
        assert service.post("/compatibility", content=question, headers=_JSON).status_code == 200
    return (time.perf_counter() - start) / len(questions)


def _floor(ready: Answer) -> FastAPI:
    app = FastAPI()

    @app.post("/compatibility")
    def ask(question: Question) -> Answer:
        assert question.devices
        return ready

    return app


if __name__ == "__main__":
    main()
