"""The cost of publishing, against a script that parses, digests and inserts the same rows without checks."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import httpx
import orjson
import sqlalchemy as sa

from app.cli.qemu.capture import Capture
from app.cli.qemu.release import Known, QemuRelease
from app.storage import database, schema
from tests.bench.content import send_all, small_releases
from tests.bench.processes import service
from tests.cli.conftest import DATA
from tests.conftest import AUTHORIZATION

_WRITERS = 8
_SMALL = 1_000
# The distance between the model ids of one release and the next.
_ID_STEP = 10_000


def measured(make: Callable[[], str], kind: str, rounds: int) -> dict[str, Any]:
    """Return the cost of publishing QEMU 10.0, and of 1,000 small releases by eight writers.

    make: returns the URL of a new database.
    """
    ours, floor = _medians([_of_qemu(make) for _ in range(rounds)])
    of_small, floor_of_small = _medians([_of_small(make) for _ in range(rounds)])
    return {
        f"f {kind}": {"title": "publishing QEMU 10.0", "time": ours / floor, "ours s": ours, "floor s": floor},
        f"f small {kind}": {
            "title": f"{_SMALL:,} small releases, {_WRITERS} writers",
            "time": of_small / floor_of_small,
            "ours s": of_small,
            "floor s": floor_of_small,
        },
    }


def _medians(rounds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the medians of our seconds, and of the floor's."""
    ours, floor = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    return ours, floor


def _of_qemu(make: Callable[[], str]) -> tuple[float, float]:
    body = orjson.dumps(QemuRelease(Capture.load(DATA / "qemu-10.0.json.gz"), Known()).document())
    with service(make()) as served, httpx.Client(base_url=served.url, headers=AUTHORIZATION, timeout=60) as client:
        client.put("/vendors/qemu.org", json={}).raise_for_status()
        start = time.perf_counter()
        response = client.put("/releases/qemu.org/qemu-system-x86_64@10.0.13", content=body)
        ours = time.perf_counter() - start
        response.raise_for_status()
    return ours, _bare(make(), [body])


def _of_small(make: Callable[[], str]) -> tuple[float, float]:
    """Return the seconds for small releases; the floor inserts them in sequence, with one commit per release."""
    requests = small_releases(_SMALL)
    with service(make()) as served:
        with httpx.Client(base_url=served.url, headers=AUTHORIZATION) as client:
            client.put("/vendors/small.example", json={}).raise_for_status()
        start = time.perf_counter()
        send_all(served.url, requests, _WRITERS)
        ours = time.perf_counter() - start
    return ours, _bare(make(), [request.body.encode() for request in requests])


def _bare(url: str, bodies: list[bytes]) -> float:
    engine = database.create_engine(url)
    database.migrate(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(schema.vendor), {"id": 1, "name": "qemu.org"})
        connection.execute(sa.insert(schema.implementation), {"id": 1, "name": "qemu.org/q", "vendor_id": 1})
    start = time.perf_counter()
    for number, body in enumerate(bodies, 1):
        _bare_publication(engine, body, number)
    seconds = time.perf_counter() - start
    engine.dispose()
    return seconds


def _bare_publication(engine: sa.Engine, body: bytes, number: int) -> None:
    """Parse, digest and insert the same rows without checks; number: the number of the release."""
    document = json.loads(body)
    version = str(number)
    release = {"id": number, "implementation_id": 1, "version": version, "seq": number, "version_key": version}
    with engine.begin() as connection:
        connection.execute(sa.insert(schema.release), release)
        models, statements, off_values, sets, links = [], [], [], [], []
        ids = {}
        for model_id, (name, variable_set) in enumerate(document["models"].items(), number * _ID_STEP):
            ids[name] = model_id
            models.append({"id": model_id, "name": name, "vendor_id": 1})
            canonical, digest = _digested({"model": name, **variable_set})
            sets.append({"digest": digest, "model_id": model_id, "document": canonical})
            links.append({"release_id": number, "model_id": model_id, "digest": digest})
            for variable, stated in variable_set["variables"].items():
                key = {"model_id": model_id, "vendor_id": 1, "variable": variable}
                statements.append({**key, "type": stated["type"]})
                if "off_value" in stated:
                    off_values.append({**key, "value": json.dumps(stated["off_value"])})
        values: dict[str, str] = {}
        profiles, entries, listed = [], [], []
        for profile_id, profile in enumerate(document.get("profiles", []), 1):
            profiles.append({"id": profile_id, "name": profile["name"], "vendor_id": 1, "seq": number})
            listed.append({"release_id": number, "profile_id": profile_id})
            for model, own in profile["values"].items():
                canonical, digest = _digested(own)
                values[digest] = canonical
                entries.append(
                    {"profile_id": profile_id, "model_id": ids[model], "own_digest": digest, "resolved_digest": digest}
                )
        for table, rows in (
            (schema.model, models),
            (schema.statement, statements),
            (schema.off_value, off_values),
            (schema.variable_set, sets),
            (schema.release_model, links),
            (schema.profile, profiles),
            (schema.profile_values, [{"digest": key, "document": text} for key, text in values.items()]),
            (schema.profile_entry, entries),
            (schema.profile_list, [{"release_id": number}]),
            (schema.release_profile, listed),
        ):
            if rows:
                connection.execute(sa.insert(table), rows)


def _digested(document: Any) -> tuple[str, str]:
    canonical = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return canonical, f"sha256:{sha256(canonical.encode()).hexdigest()}"
