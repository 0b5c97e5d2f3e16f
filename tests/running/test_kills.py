"""A server is killed at random moments; every publication is stored whole or not at all."""

import threading
from collections.abc import Collection
from random import Random
from typing import Any

import httpx
import pytest

from tests.counts import full
from tests.running.conftest import Server, changes, client, every, running

KILLS = full(15, short=2)
NIC, GPU = "vendor-a.com/nic", "vendor-a.com/gpu"


def document(number: int, size: int = 30) -> dict[str, Any]:
    """Return a release of two models and a profile; size: the number of variables."""
    variables = {f"v{place}": {"type": "int", "init_value": number, "off_value": 0} for place in range(size)}
    profile = {"name": f"vendor-a.com/profile-{number}", "values": {NIC: {"v0": number + 1}, GPU: {}}}
    return {"models": {NIC: {"variables": variables}, GPU: {"variables": {}}}, "profiles": [profile]}


@pytest.mark.long
def test_a_server_that_is_killed_while_it_publishes(database_url: str) -> None:
    random = Random(5)  # noqa: S311 (not for secrets)
    published: list[int] = []
    with running(database_url) as server:
        number = kills = 0
        with client(server) as registry:
            registry.put("/vendors/vendor-a.com", json={})
            registry.put("/implementations/vendor-a.com/fw", json={"evolution": "none"})
        # On a busy machine a server can be killed before it answers at all.
        while kills < KILLS or (not published and kills < 10 * KILLS):
            kills += 1
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
        assert published
        check_stored(server, published)


def check_stored(server: Server, published: Collection[int]) -> None:
    """Check that everything published is stored, that nothing is stored in part, and that the feed has no gap."""
    with client(server) as registry:
        stored = {item["release"]: item for item in every(registry, "/releases")}
        profiles = {item["name"]: item for item in every(registry, "/profiles")}
        feed = changes(registry)
    assert {f"vendor-a.com/fw@{number}" for number in published} <= stored.keys()
    # A publication without an answer is stored whole or not at all.
    for release, item in stored.items():
        version = release.rpartition("@")[2]
        assert (item["model_count"], item["profile_count"]) == (2, 1), release
        assert profiles[f"vendor-a.com/profile-{version}"]["model_count"] == 2
    assert len(profiles) == len(stored)
    assert [change["seq"] for change in feed] == list(range(1, len(feed) + 1))
    names = [change["name"] for change in feed if change["kind"] in {"release-published", "profile-published"}]
    assert sorted(names) == sorted([*stored, *profiles])
