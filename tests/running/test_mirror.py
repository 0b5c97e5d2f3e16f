"""A mirror that is killed at random moments ends equal to its source."""

import subprocess
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.conftest import TOKEN, fresh_database
from tests.counts import full
from tests.running.conftest import Server, client, command, environment, every, running

KILLS = full(20, short=3)
NIC = "vendor-a.com/nic"


def write(source: Server, is_done: threading.Event) -> None:
    """Publish releases and profiles, add to them and change states until the event is set."""
    random = Random(6)  # noqa: S311 (not for secrets)
    with client(source) as registry:
        registry.put("/vendors/vendor-a.com", json={})
        number = 0
        while not is_done.is_set():
            number += 1
            name = f"vendor-a.com/fw-{number % 7}@{number}"
            queues = {"type": "int", "init_value": 1, "off_value": 1, "allowed_values": [f"1-{number + 1}"]}
            profile = {"name": f"vendor-a.com/p{number}", "values": {NIC: {"queues": number + 1}}}
            document: dict[str, Any] = {"models": {NIC: {"variables": {"queues": queues}}}, "profiles": [profile]}
            assert registry.put(f"/releases/{name}", json=document, params={"override": "a test"}).status_code == 201
            more: dict[str, Any] = {"models": {f"vendor-a.com/m{number}": {"variables": {}}}}
            assert registry.put(f"/releases/{name}", json=more, params={"override": "a test"}).status_code == 201
            chosen = random.randint(1, number)
            state = random.choice(["deprecated", "retired", "published"])
            registry.patch(f"/profiles/vendor-a.com/p{chosen}", json={"state": state})
            registry.patch(f"/releases/vendor-a.com/fw-{chosen % 7}@{chosen}", json={"state": state})
            time.sleep(0.05)


def content(server: Server) -> dict[str, Any]:
    """Return the content of a registry: all lists, and the document and overrides of each release."""
    with client(server) as registry:
        lists = {
            path: every(registry, path) for path in ("/vendors", "/releases", "/profiles", "/models", "/variable-sets")
        }
        details = {
            item["release"]: {
                **registry.get(f"/releases/{item['release']}").json(),
                "overrides": [
                    override["reason"] for override in registry.get(f"/releases/{item['release']}").json()["overrides"]
                ],
            }
            for item in lists["/releases"]
        }
    return {**lists, "details": details}


@pytest.mark.long
def test_a_mirror_killed_at_random_ends_equal_to_its_source(request: pytest.FixtureRequest) -> None:
    random = Random(7)  # noqa: S311 (not for secrets)
    is_done = threading.Event()
    with (
        fresh_database("sqlite", request) as here,
        fresh_database("postgresql", request) as there,
        running(there) as source,
        running(here) as target,
    ):
        writer = threading.Thread(target=write, args=(source, is_done))
        writer.start()
        to_target = environment(url=target.url, token=TOKEN)
        for number in range(KILLS):
            with subprocess.Popen(command("mirror", source.url), env=to_target, stdout=subprocess.DEVNULL) as mirror:
                time.sleep(random.uniform(0.8, 2.0))
                if number % 5 == 1:
                    # Kill the target as well; it restarts while the mirror retries.
                    target.kill()
                    target.start()
                    time.sleep(0.5)
                mirror.kill()
        # A copy ends at the change that was the last when it began, however much is published meanwhile.
        meanwhile = subprocess.run(command("mirror", source.url, "--once"), env=to_target, check=False, timeout=60)
        assert meanwhile.returncode == 0
        is_done.set()
        writer.join()
        ended = subprocess.run(
            command("mirror", source.url, "--once"), env=to_target, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        ours, theirs = content(target), content(source)
        assert len(theirs["/releases"]) > KILLS
        for part, entries in theirs.items():
            assert ours[part] == entries, part
        with client(target) as registry:
            seqs = [change["seq"] for change in registry.get("/changes", params={"limit": 1000}).json()["items"]]
            assert seqs == list(range(1, len(seqs) + 1))


def test_exports_of_a_registry_are_identical_and_an_import_makes_another_registry_equal(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    is_done = threading.Event()
    with (
        fresh_database("sqlite", request) as here,
        fresh_database("postgresql", request) as there,
        running(here) as source,
        running(there) as target,
    ):
        writer = threading.Thread(target=write, args=(source, is_done))
        writer.start()
        time.sleep(2)
        is_done.set()
        writer.join()
        with client(source) as registry:
            assert registry.put("/hosts/host-1", json={"releases": ["vendor-a.com/fw-1@1"]}).status_code == 201
        one, other = tmp_path / "one.jsonl.gz", tmp_path / "other.jsonl.gz"
        for file in (one, other):
            exported = subprocess.run(
                command("export", str(file)),
                env=environment(url=source.url),
                capture_output=True,
                text=True,
                check=False,
            )
            assert exported.returncode == 0, exported.stderr
        assert one.read_bytes() == other.read_bytes()
        assert sorted(file.name for file in tmp_path.iterdir()) == ["one.jsonl.gz", "other.jsonl.gz"]
        to_target = environment(url=target.url, token=TOKEN)
        for _ in range(2):
            done = subprocess.run(
                command("import", "archive", str(one), "--hosts"),
                env=to_target,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        assert "0 changes" in done.stdout
        assert content(target) == content(source)
        with client(target) as registry:
            assert [host["host"] for host in registry.get("/hosts").json()["items"]] == ["host-1"]
        # A truncated archive is an error; the changes before the cut are imported.
        (tmp_path / "cut.jsonl.gz").write_bytes(one.read_bytes()[:-100])
        cut = subprocess.run(
            command("import", "archive", str(tmp_path / "cut.jsonl.gz")),
            env=to_target,
            capture_output=True,
            text=True,
            check=False,
        )
        assert cut.returncode == 2
        assert "cannot be read" in cut.stderr
