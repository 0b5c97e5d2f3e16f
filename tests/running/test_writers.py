"""Concurrent writers of one release: exactly one wins, and every answer is true."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import httpx
import pytest

from tests.conftest import AUTHORIZATION
from tests.counts import full
from tests.running.conftest import TLS, Server, changes, client, every

WRITERS = 16
PUBLICATIONS = full(2_000, short=200)
RELEASES = full(250, short=25)
ROUNDS_OF_READERS = full(4, short=2)
NIC = "vendor-a.com/nic"


def document(content: int) -> dict[str, Any]:
    """Return a release document; different numbers give different content."""
    queues = {"type": "int", "init_value": content + 1, "allowed_values": ["1-8"]}
    return {"models": {NIC: {"variables": {"queues": queues}}}, "profiles": [], "description": f"content {content}"}


def follow(server: Server, is_done: threading.Event, seen: list[int]) -> None:
    """Follow the feed while others write."""
    with client(server) as registry:
        while True:
            was_done = is_done.is_set()
            page = registry.get("/changes", params={"after": seen[-1] if seen else 0, "wait": 1}).json()["items"]
            seen += [change["seq"] for change in page]
            if was_done and not page:
                return


@pytest.mark.long
def test_writers_in_several_processes(servers: list[Server]) -> None:
    with client(servers[0]) as registry:
        registry.put("/vendors/vendor-a.com", json={})
    clients = [client(servers[number % len(servers)]) for number in range(WRITERS)]
    random = Random(4)  # noqa: S311 (not for secrets)
    publications = [(random.randrange(RELEASES), random.choice([0, 0, 0, 1])) for _ in range(PUBLICATIONS)]
    is_done, seen = threading.Event(), list[int]()
    follower = threading.Thread(target=follow, args=(servers[-1], is_done, seen))
    follower.start()

    def publish(number: int) -> httpx.Response:
        release, content = publications[number]
        path = f"/releases/vendor-a.com/product-{release}@1"
        return clients[number % WRITERS].put(path, json=document(content))

    with ThreadPoolExecutor(WRITERS) as writers:
        answers = list(writers.map(publish, range(PUBLICATIONS)))
    is_done.set()
    follower.join()

    with client(servers[0]) as registry:
        stored = {item["release"]: item["digest"] for item in every(registry, "/releases")}
        descriptions = {name: registry.get(f"/releases/{name}").json()["description"] for name in stored}
        feed, audit = changes(registry), changes(registry, "/audit")
    for registry in clients:
        registry.close()
    assert Counter(answer.status_code for answer in answers).keys() <= {200, 201, 409}
    for release in {release for release, _ in publications}:
        name = f"vendor-a.com/product-{release}@1"
        statuses = [
            (content, answers[number].status_code)
            for number, (chosen, content) in enumerate(publications)
            if chosen == release
        ]
        winners = [content for content, status in statuses if status == 201]
        assert len(winners) == 1, name
        assert descriptions[name] == f"content {winners[0]}"
        for content, status in statuses:
            assert status in ({200, 201} if content == winners[0] else {409}), name
    # The feed has every change once and in order; the audit and the follower have the same.
    assert [change["seq"] for change in feed] == list(range(1, len(feed) + 1))
    assert {change["name"]: change["digest"] for change in feed if change["kind"] == "release-published"} == stored
    assert len(feed) == len(stored) + 1
    assert [{name: value for name, value in change.items() if name != "id"} for change in audit] == feed
    assert seen == [change["seq"] for change in feed]


@pytest.mark.long
def test_readers_keep_nobody_waiting(servers: list[Server]) -> None:
    """Many more readers at once than there are threads and connections; writers go on, too."""
    readers = 150
    limits = httpx.Limits(max_connections=readers + 10)
    headers = AUTHORIZATION
    with httpx.Client(base_url=servers[0].url, headers=headers, timeout=60, limits=limits, verify=TLS) as registry:
        registry.put("/vendors/vendor-a.com", json={})
        document_ = document(1)

        def ask(number: int) -> int:
            if number % 10 == 0:
                return registry.put(f"/releases/vendor-a.com/read-{number}@1", json=document_).status_code
            paths = ["/releases", "/healthz", f"/compatibility?model={NIC}", "/vendors"]
            return registry.get(paths[number % len(paths)]).status_code

        with ThreadPoolExecutor(readers) as crowd:
            statuses = Counter(crowd.map(ask, range(readers * ROUNDS_OF_READERS)))
    assert statuses == {200: readers * ROUNDS_OF_READERS * 9 // 10, 201: readers * ROUNDS_OF_READERS // 10}
