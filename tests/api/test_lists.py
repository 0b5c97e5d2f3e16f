"""Lists are paged and have the same order on both databases."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.storage import listing
from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES, problem, publish, vendor
from tests.conftest import shared_registry

NAMES = ["vendor-a.com/Zebra", "vendor-a.com/a-b", "vendor-a.com/a/b", "vendor-a.com/aB", "vendor-a.com/ä"]


def walk(registry: TestClient, path: str, **parameters: Any) -> list[Any]:
    """Return all items of a list, read two at a time."""
    items: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = registry.get(path, params={**parameters, "limit": 2, **cursor}).json()
        items += page["items"]
        assert len(page["items"]) <= 2
        if page["next"] is None:
            return items
        assert page["next"].isascii()
        cursor = {"cursor": page["next"]}


def fill(registry: TestClient) -> None:
    """Publish entries for every list."""
    vendor(registry)
    vendor(registry, "b.org")
    for number, name in enumerate(NAMES):
        publish(registry, f"{FIRMWARE}@{10 - number}", {"num-queues": QUEUES}, model=name)
    publish(registry, f"{FIRMWARE}@7", {"feature": FEATURE}, model=NIC)
    publish(registry, "b.org/clone@1", {"feature": FEATURE}, model=NIC)
    for name in NAMES:
        registry.post("/profiles", json={"name": name, "values": {NAMES[0]: {}}})
    registry.post("/profiles", json={"name": "b.org/child", "extends": NAMES[1], "values": {}})


filled = shared_registry(fill)


def test_pages(filled: TestClient) -> None:
    assert [item["vendor"] for item in walk(filled, "/vendors")] == ["b.org", "vendor-a.com"]
    assert [item["model"] for item in walk(filled, "/models")] == sorted([*NAMES, NIC])
    assert [item["name"] for item in walk(filled, "/profiles")] == ["b.org/child", *NAMES]
    assert [item["release"] for item in walk(filled, "/releases")] == [
        "b.org/clone@1",
        *[f"{FIRMWARE}@{version}" for version in (10, 9, 8, 7, 6)],
    ]
    digests = [item["digest"] for item in walk(filled, "/variable-sets")]
    assert digests == sorted(digests)
    assert len(digests) == 6


def test_a_page_of_large_documents_is_shorter(filled: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = filled.get("/variable-sets").json()["items"]
    monkeypatch.setattr(listing, "_MAX_PAGE_CHARACTERS", 200)
    pages: list[list[Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = filled.get("/variable-sets", params=cursor).json()
        pages.append(page["items"])
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert [item for page in pages for item in page] == whole
    assert all(1 <= len(page) <= 3 for page in pages)
    assert len(pages) > 2


def test_filters(filled: TestClient) -> None:
    assert [item["model"] for item in walk(filled, "/models", q="A/b")] == ["vendor-a.com/a/b"]
    assert walk(filled, "/models", q="%") == []
    assert walk(filled, "/models", vendor="b.org") == []
    assert [item["release"] for item in walk(filled, "/releases", model=NIC)] == ["b.org/clone@1", f"{FIRMWARE}@7"]
    assert len(walk(filled, "/releases", implementation=FIRMWARE, state="published")) == 5
    assert [item["name"] for item in walk(filled, "/profiles", model=NAMES[0])] == ["b.org/child", *NAMES]
    assert [item["name"] for item in walk(filled, "/profiles", vendor="b.org")] == ["b.org/child"]
    (shared,) = walk(filled, "/variable-sets", variable="feature")
    assert shared["releases"] == [f"{FIRMWARE}@7", "b.org/clone@1"]
    assert len(walk(filled, "/variable-sets", variable="num-queues")) == 5
    assert len(walk(filled, "/variable-sets", implementation=FIRMWARE, version="7")) == 2
    assert [item["model"] for item in walk(filled, "/variable-sets", model=NIC)] == [NIC]


def test_a_listed_set_equals_the_set_itself(filled: TestClient) -> None:
    for item in walk(filled, "/variable-sets"):
        releases = item.pop("releases")
        assert releases
        assert item == filled.get(f"/variable-sets/{item['digest']}").json()


def test_counts(filled: TestClient) -> None:
    release = next(item for item in walk(filled, "/releases") if item["release"] == f"{FIRMWARE}@7")
    assert (release["model_count"], release["profile_count"], release["state"]) == (2, None, "published")


@pytest.mark.parametrize("path", ["/vendors", "/models", "/profiles", "/variable-sets", "/releases"])
def test_cursors_of_other_lists(filled: TestClient, path: str) -> None:
    cursors = {"/releases": "WyJhIl0="}
    assert problem(filled.get(path, params={"cursor": cursors.get(path, "WyJhIiwgMV0=")}), 422, "invalid")
    assert problem(filled.get(path, params={"cursor": "WyJcdWQ4MDAiXQ=="}), 422, "invalid")


@pytest.mark.parametrize("cursor", ["x", "W10=", "WyJhIiwgImIiLCAiYyJd", "WzFd", "WyJcdTAwMDAiXQ==", "ä"])
def test_invalid_cursors(filled: TestClient, cursor: str) -> None:
    for path in ("/vendors", "/releases"):
        assert problem(filled.get(path, params={"cursor": cursor}), 422, "invalid") == [("cursor", "invalid-value")]


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_limits(filled: TestClient, limit: str) -> None:
    assert problem(filled.get("/models", params={"limit": limit}), 422, "invalid")
