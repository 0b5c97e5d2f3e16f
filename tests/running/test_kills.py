"""A server that is killed at any moment: what it answered is there whole, and nothing else half."""

import os
import threading
from random import Random
from typing import Any

import httpx

from tests.running.conftest import changes, client, every, running

# More take longer: KILLS=50.
KILLS = int(os.environ.get("KILLS", "15"))
NIC, GPU = "vendor-a.com/nic", "vendor-a.com/gpu"


def document(number: int) -> dict[str, Any]:
    """Return a release of two models and a profile."""
    variables = {f"v{place}": {"type": "int", "init_value": number, "off_value": 0} for place in range(30)}
    profile = {"name": f"vendor-a.com/profile-{number}", "values": {NIC: {"v0": number + 1}, GPU: {}}}
    return {"models": {NIC: {"variables": variables}, GPU: {"variables": {}}}, "profiles": [profile]}


def test_a_server_that_is_killed_while_it_publishes(database_url: str) -> None:
    random = Random(5)  # noqa: S311 (not for secrets)
    published: list[int] = []
    with running(database_url) as server:
        number = 0
        with client(server) as registry:
            registry.put("/vendors/vendor-a.com", json={})
            registry.put("/implementations/vendor-a.com/fw", json={"evolution": "none"})
        for _ in range(KILLS):
            killer = threading.Timer(random.uniform(0.02, 0.25), server.kill)
            killer.start()
            with client(server) as registry:
                try:
                    while True:
                        number += 1
                        answer = registry.put(f"/releases/vendor-a.com/fw@{number}", json=document(number))
                        assert answer.status_code == 201, answer.text
                        published.append(number)
                except httpx.TransportError:
                    pass
            killer.join()
            server.start()
        with client(server) as registry:
            stored = {each["release"]: each for each in every(registry, "/releases")}
            profiles = {each["name"]: each for each in every(registry, "/profiles")}
            feed = changes(registry)
    assert published
    assert {f"vendor-a.com/fw@{each}" for each in published} <= stored.keys()
    # What was not answered is there whole, or not at all.
    for release, each in stored.items():
        version = release.rpartition("@")[2]
        assert (each["model_count"], each["profile_count"]) == (2, 1), release
        assert profiles[f"vendor-a.com/profile-{version}"]["model_count"] == 2
    assert len(profiles) == len(stored)
    assert [each["seq"] for each in feed] == list(range(1, len(feed) + 1))
    told = [each["name"] for each in feed if each["kind"] in {"release-published", "profile-published"}]
    assert sorted(told) == sorted([*stored, *profiles])
