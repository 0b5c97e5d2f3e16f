"""Drafts and hosts can be closed to clients without a token, apart from the rest."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.api.stories import FEATURE, NIC, QUEUES, problem, publish, vendor
from tests.conftest import AUTHORIZATION, make_app

ONE, DRAFT = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
PROFILE, DRAFT_PROFILE = "vendor-a.com/p", "vendor-a.com/draft"
SECRET = "secret-host-7"  # noqa: S105 (a host)
DEVICES = [{"id": "nic", "model": NIC}]
SOURCE = {"devices": [{"id": "nic", "model": NIC, "release": ONE}]}


def fill(registry: TestClient) -> None:
    """Publish a release and a profile, keep drafts of both, and register a host."""
    vendor(registry)
    profile = {"name": PROFILE, "values": {NIC: {"num-queues": 8}}}
    variables = {"num-queues": QUEUES, "secret-feature": FEATURE}
    assert publish(registry, ONE, variables, profiles=[profile]).status_code == 201
    assert publish(registry, DRAFT, variables, state="draft").status_code == 201
    values = {NIC: {"secret-feature": True}}
    answer = registry.put(f"/profiles/{DRAFT_PROFILE}", json={"values": values, "state": "draft"})
    assert answer.status_code == 201, answer.text
    host = {"releases": [ONE], "labels": {"rack": "secret-rack"}}
    assert registry.put(f"/hosts/{SECRET}", json=host).status_code == 201


@pytest.fixture
def closed(database_url: str) -> Iterator[TestClient]:
    """Yield a client without a token of a registry whose drafts and hosts are closed."""
    with TestClient(make_app(database_url, read_drafts="token", read_hosts="token")) as client:
        client.headers.update(AUTHORIZATION)
        fill(client)
        del client.headers["Authorization"]
        yield client


HOST_READS = [
    "/hosts",
    f"/hosts/{SECRET}",
    "/hosts/unknown",
    "/changes",
    f"/changes?model={NIC}",
    f"/impact?name={ONE}",
    f"/ui/ask?model={NIC}&source={ONE}&host={SECRET}",
    f"/ui/ask?model={NIC}&source={ONE}&label=rack%3Dsecret-rack",
    f"/compatibility?model={NIC}&source={ONE}&host={SECRET}",
    f"/compatibility?model={NIC}&source={ONE}&label=rack",
    f"/support-matrix?host={SECRET}",
    "/support-matrix?label=rack",
]
DRAFT_READS = [
    "/releases?include_drafts=true",
    "/releases?state=draft",
    f"/releases/{DRAFT}?include_drafts=true",
    "/profiles?include_drafts=1",
    "/profiles?state=draft",
    f"/profiles/{DRAFT_PROFILE}?include_drafts=true",
]


@pytest.mark.parametrize("path", [*HOST_READS, *DRAFT_READS])
def test_what_is_closed_needs_a_token(closed: TestClient, path: str) -> None:
    refused = closed.get(path)
    assert refused.status_code == 401, refused.text
    assert "WWW-Authenticate" in refused.headers
    assert SECRET not in refused.text.replace(path, "") or path.startswith("/ui")
    allowed = closed.get(path, headers=AUTHORIZATION)
    assert allowed.status_code in {200, 404}, allowed.text
    assert "public" not in allowed.headers["Cache-Control"]


QUESTIONS = [
    {**SOURCE, "destinations": [{"host": SECRET}]},
    {**SOURCE, "destinations": [{"all_hosts": True}]},
    {**SOURCE, "destinations": [{"label": "!absent"}]},
    {"vms": [{"id": "vm", "host": SECRET, "devices": DEVICES}], "destinations": [{"releases": [ONE]}]},
    {"devices": [{"id": "nic", "model": NIC, "host": SECRET}], "destinations": [{"releases": [ONE]}]},
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_questions_about_registered_hosts_need_a_token(closed: TestClient, question: dict[str, object]) -> None:
    allowed = closed.post("/compatibility", json=question, headers=AUTHORIZATION)
    assert allowed.status_code == 200, allowed.text
    problem(closed.post("/compatibility", json=question), 401, "unauthorized")


@pytest.mark.parametrize("question", [{"hosts": [SECRET], "models": [NIC]}, {"labels": ["rack"], "models": [NIC]}])
def test_baselines_of_registered_hosts_need_a_token(closed: TestClient, question: dict[str, object]) -> None:
    allowed = closed.post("/baseline", json=question, headers=AUTHORIZATION)
    assert allowed.status_code == 200, allowed.text
    problem(closed.post("/baseline", json=question), 401, "unauthorized")


OPEN = [
    "/releases",
    f"/releases/{ONE}",
    "/profiles",
    f"/profiles/{PROFILE}",
    "/models",
    f"/models/{NIC}",
    "/vendors",
    "/changes?vendor=vendor-a.com",
    "/changes/1",
    "/mirrors",
    "/",
    "/ui/releases",
    "/ui/profiles",
    f"/ui/ask?model={NIC}&source={ONE}",
    f"/ui/models/{NIC}",
    f"/compatibility?model={NIC}&source={ONE}&destination={ONE}",
    f"/support-matrix?profile={PROFILE}&model={NIC}",
]


@pytest.mark.parametrize("path", OPEN)
def test_the_rest_stays_open_and_names_nothing_that_is_closed(closed: TestClient, path: str) -> None:
    response = closed.get(path)
    assert response.status_code == 200, response.text
    for secret in (SECRET, "secret-rack", DRAFT, DRAFT_PROFILE):
        assert secret not in response.text


def test_a_change_of_a_host_is_closed_by_its_number_too(closed: TestClient) -> None:
    changes = closed.get("/changes", headers=AUTHORIZATION).json()["items"]
    (number,) = [change["seq"] for change in changes if change["kind"] == "host-registered"]
    problem(closed.get(f"/changes/{number}"), 401, "unauthorized")
    assert closed.get(f"/changes/{number}", headers=AUTHORIZATION).json()["name"] == SECRET


def test_a_reader_token_opens_both(closed: TestClient) -> None:
    created = closed.post("/tokens", json={"name": "r", "role": "reader"}, headers=AUTHORIZATION)
    reader = {"Authorization": f"Bearer {created.json()['token']}"}
    for path in (*HOST_READS, *DRAFT_READS):
        assert closed.get(path, headers=reader).status_code in {200, 404}


def test_both_are_open_by_default(registry: TestClient) -> None:
    fill(registry)
    del registry.headers["Authorization"]
    for path in (*HOST_READS, *DRAFT_READS):
        assert registry.get(path).status_code in {200, 404}
