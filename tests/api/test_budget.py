"""Questions that would take too much: refused with what to ask instead, whatever they are."""

import gc
import json
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app.api import application, share
from app.domain.engine.question import Question
from app.domain.values import budget as budgets
from app.domain.values.budget import AbandonedError, OverBudgetError
from app.domain.values.document import MAX_FAULTS
from app.storage.catalog import Catalog
from app.wire import reading
from tests.api.serving import served
from tests.api.stories import problem, publish, vendor
from tests.conftest import AUTHORIZATION, make_app, shared_registry

STEPS = "vendor-a.com/steps"
WIDE = "vendor-a.com/wide"
DEVICE: dict[str, Any] = {"model": WIDE, "release": f"{WIDE}@1"}


def _fill(client: TestClient) -> None:
    """Publish sets that are dear to compare."""
    vendor(client)
    wide = {f"v{number}": {"type": "int", "init_value": 1, "runtime": True} for number in range(40)}
    narrow = {name: {**variable, "allowed_values": ["0-99"]} for name, variable in wide.items()}
    assert publish(client, f"{WIDE}@1", wide, model=WIDE).status_code == 201
    rules = [{"when": {f"v{one}": ["2-99"]}, "require": {f"v{one + 1}": ["0-1"]}} for one in range(39)]
    document = {"models": {WIDE: {"variables": narrow, "constraints": rules}}}
    assert client.put(f"/releases/{WIDE}@2", json=document).status_code == 201
    for version in range(4):
        steps = [{"min": 0, "max": 2**62, "step": 101 + 2 * (64 * version + number)} for number in range(64)]
        variable = {"type": "int", "init_value": 0, "allowed_values": steps}
        assert publish(client, f"{STEPS}@{version}", {"x": variable}, model=STEPS).status_code == 201


registry = shared_registry(_fill)


def ask(registry: TestClient, devices: int, hosts: int, **more: Any) -> Response:
    """Ask about devices, each with a value of its own, at hosts that each restrict another one."""
    question = {
        "devices": [{**DEVICE, "values": {"v0": number}} for number in range(devices)],
        "destinations": [
            {"releases": [f"{WIDE}@2"], "restrict": {WIDE: {"v1": [f"0-{number + 1}"]}}} for number in range(hosts)
        ],
    }
    return registry.post("/compatibility", json={**question, **more})


@pytest.mark.parametrize("detail", ["verdict", "problems", "summary"])
def test_a_question_beyond_the_budget_is_refused_with_what_to_ask_instead(registry: TestClient, detail: str) -> None:
    refused = ask(registry, 300, 300, detail=detail)
    problem(refused, 422, "over-budget")
    assert "REGISTRY_MAX_STEPS" in refused.json()["detail"]
    assert "fewer VMs, devices or destinations" in refused.json()["detail"]
    assert ask(registry, 20, 20, detail=detail).status_code == 200


def test_remedies_count(registry: TestClient) -> None:
    values = {f"v{number}": 100 + number for number in range(40)}
    question = {
        "devices": [{**DEVICE, "values": {**values, "v0": 200 + number}} for number in range(40)],
        "destinations": [
            {"releases": [f"{WIDE}@2"], "restrict": {WIDE: {"v1": [f"0-{number + 1}"]}}} for number in range(40)
        ],
    }
    problem(registry.post("/compatibility", json=question), 422, "over-budget")


def test_steps_that_multiply_are_counted_first(registry: TestClient) -> None:
    releases = [f"{STEPS}@{version}" for version in range(4)]
    refused = registry.post("/baseline", json={"models": [STEPS], "releases": releases})
    problem(refused, 422, "over-budget")
    assert "fewer models, releases or hosts" in refused.json()["detail"]
    assert registry.post("/baseline", json={"models": [STEPS], "releases": releases[:2]}).status_code == 200


def test_a_baseline_of_very_many_names_is_refused_at_once(registry: TestClient) -> None:
    models = [f"vendor-a.com/m{number}" for number in range(800)]
    releases = [f"vendor-a.com/r@{number}" for number in range(10_000)]
    problem(registry.post("/baseline", json={"models": models, "releases": releases}), 422, "over-budget")


FAULTS: dict[str, Any] = {
    "unknown fields of devices": {"devices": [{"x": 1}] * 900},
    "many unknown fields": {"devices": [{"model": WIDE, **{f"x{number}": 0 for number in range(5_000)}}]},
    "values": {"devices": [{"model": WIDE, "values": {f"x{number}": [] for number in range(900)}}] * 9},
    "destinations": {"devices": [DEVICE], "destinations": [1] * 9_000},
    "releases": {"devices": [DEVICE], "destinations": [{"releases": [1] * 99}] * 99},
    "units": {"devices": [DEVICE], "destinations": [{"releases": ["a/b@1"], "units": [{"x": 1}] * 60}] * 99},
    "vms": {"vms": [{"devices": [{"x": 1}] * 99}] * 99},
    "restrictions": {"devices": [DEVICE], "destinations": [{"restrict": {WIDE: {"v1": [[]] * 900}}}] * 9},
    "long names": {"devices": [{"model": WIDE, "values": {f"{number}" + "x" * 10_000: [] for number in range(99)}}]},
}


@pytest.mark.parametrize("document", FAULTS.values(), ids=FAULTS)
def test_faults_are_counted_and_cut(registry: TestClient, document: Any) -> None:
    body = json.dumps(document).encode()
    refused = registry.post("/compatibility", content=body)
    faults = problem(refused, 422, "invalid")
    assert 0 < len(faults) <= MAX_FAULTS
    assert len(refused.content) < max(200 * MAX_FAULTS, 100_000)


def test_an_entry_that_is_too_large_is_one_fault(registry: TestClient) -> None:
    many = {f"x{number}": number for number in range(1_001)}
    document = {"devices": [{"model": WIDE, "values": many}], "destinations": [{"releases": ["a/b@1"]}]}
    assert problem(registry.post("/compatibility", json=document), 422, "invalid") == [
        ("/devices/0/values", "limit-exceeded")
    ]
    stated = {WIDE: {f"v{one}": list(range(999)) for one in range(11)}}
    document = {"devices": [DEVICE], "destinations": [{"releases": ["a/b@1"], "restrict": stated}]}
    assert problem(registry.post("/compatibility", json=document), 422, "invalid") == [
        ("/destinations/0/restrict", "limit-exceeded")
    ]


def test_faults_of_other_bodies_are_cut_too(registry: TestClient) -> None:
    document = {"releases": ["a/b@1"], "units": [{f"x{number}": 1 for number in range(200)}] * 60}
    faults = problem(registry.put("/hosts/h", json=document), 422, "invalid")
    assert len(faults) == MAX_FAULTS
    variables = {f"v{number}": {"type": 1, "x": 1} for number in range(9_000)}
    assert len(problem(publish(registry, f"{WIDE}@9", variables, model=WIDE), 422, "invalid")) == MAX_FAULTS


def test_a_question_is_smaller_than_a_publication(registry: TestClient) -> None:
    body = json.dumps({"devices": [{"model": WIDE, "id": "x" * 1_500_000}]}).encode()
    problem(registry.post("/compatibility", content=body), 413, "too-large")
    problem(registry.put(f"/releases/{WIDE}@8", content=body), 422, "invalid")


def test_the_limit_of_faults_is_the_same_for_shapes_and_publications() -> None:
    assert reading.MAX_FAULTS == MAX_FAULTS


def test_work_ends_when_the_client_has_gone(database_url: str) -> None:
    with (
        served(make_app(database_url)) as url,
        httpx.Client(base_url=url, headers=AUTHORIZATION, timeout=60) as registry,
    ):
        registry.put("/vendors/vendor-a.com", json={})
        wide = {f"v{number}": {"type": "int", "init_value": 1, "off_value": 1} for number in range(40)}
        for version in (1, 2):
            document = {"models": {WIDE: {"variables": wide}}}
            assert registry.put(f"/releases/{WIDE}@{version}", json=document).status_code == 201
        question = {
            "devices": [{**DEVICE, "values": {"v0": number}} for number in range(90)],
            "destinations": [
                {"releases": [f"{WIDE}@2"], "restrict": {WIDE: {"v1": [f"0-{number + 1}"]}}} for number in range(90)
            ],
        }
        with pytest.raises(httpx.ReadTimeout):
            registry.post("/compatibility", json=question, timeout=0.1)
        # nginx made the status known; here it is for the metrics alone.
        gone = 'profile_registry_requests_total{operation="post_compatibility",status="499"}'
        deadline = time.monotonic() + 20
        while gone not in registry.get("/metrics").text:
            assert time.monotonic() < deadline, "the question was answered although nobody waited"
            time.sleep(0.1)


def test_who_leaves_while_waiting_for_a_turn_gives_the_place_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()

    def ask(_catalog: Catalog, _question: object, **_options: object) -> Any:
        budget = budgets._budget.get()
        if budget is not None and budget._max_loads is not None:
            raise OverBudgetError(0, budgets.STEPS, "")
        may_end.wait(20)
        raise AbandonedError

    monkeypatch.setattr(Catalog, "ask", ask)
    app = make_app(database_url)
    with served(app) as url, httpx.Client(base_url=url, timeout=60) as registry:
        one = threading.Thread(target=partial(registry.get, "/support-matrix"))
        one.start()

        def wait_for_one() -> None:
            deadline = time.monotonic() + 10
            while app.state.container.shares.questions != {"running": 1, "waiting": 0}:
                assert time.monotonic() < deadline, app.state.container.shares.questions
                time.sleep(0.05)

        try:
            wait_for_one()
            for _ in range(3):
                with pytest.raises(httpx.ReadTimeout):
                    registry.get("/support-matrix", timeout=0.3)
            wait_for_one()
        finally:
            may_end.set()
            one.join()


def _fill_a_matrix(client: TestClient, variables: int, releases: int, profiles: int) -> None:
    """Publish releases and profiles that are dear to compare, each with each."""
    vendor(client)
    integers = {f"v{number}": {"type": "int", "init_value": 1, "off_value": 1} for number in range(variables)}
    for version in range(releases):
        described = {name: {**variable, "description": str(version)} for name, variable in integers.items()}
        assert publish(client, f"{WIDE}@{version}", described, model=WIDE).status_code == 201
    for number in range(profiles):
        profile = {"name": f"vendor-a.com/p{number}", "values": {WIDE: {"v0": number}}}
        assert client.post("/profiles", json=profile).status_code == 201


@pytest.mark.parametrize("headers", [AUTHORIZATION, {}])
def test_a_page_of_several_long_questions_is_whole(database_url: str, headers: dict[str, str]) -> None:
    with TestClient(make_app(database_url)) as registry:
        registry.headers.update(AUTHORIZATION)
        _fill_a_matrix(registry, variables=200, releases=15, profiles=30)
        del registry.headers["Authorization"]
        page = registry.get("/ui/support-matrix", headers=headers).text
        assert "The page is incomplete" not in page
        assert [number for number in range(30) if f"vendor-a.com/p{number}<" not in page] == []


def test_the_questions_of_a_page_have_one_budget(database_url: str) -> None:
    with TestClient(make_app(database_url, max_steps=10_000), headers=AUTHORIZATION) as registry:
        _fill_a_matrix(registry, variables=40, releases=10, profiles=90)
        page = registry.get("/ui/support-matrix").text
        assert "The page is incomplete. This is too much at once. Choose a model or an implementation." in page
        # The newest come first, and ten of them are one question, which is answered.
        assert "vendor-a.com/p89" in page
        assert "vendor-a.com/p0" not in page
        # What was found at the first try, on the event loop, is remembered; the rest is still too much.
        problem(registry.get("/support-matrix"), 422, "over-budget")


def test_many_pages_at_once_do_not_wait_for_each_other_for_ever(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page waits for its answer in a thread; the answer must not need a thread of the same pool."""
    # All threads wait for pages.
    monkeypatch.setattr(application, "_THREADS", 20)
    monkeypatch.setattr(share, "_PAGES_PER_CLIENT", 100)
    with (
        served(make_app(database_url)) as url,
        httpx.Client(base_url=url, headers=AUTHORIZATION, timeout=60) as registry,
    ):
        registry.put("/vendors/vendor-a.com", json={})
        document = {"models": {WIDE: {"variables": {"v0": {"type": "int", "init_value": 1}}}}}
        assert registry.put(f"/releases/{WIDE}@1", json=document).status_code == 201
        page = f"{url}/ui/ask?model={WIDE}&source={WIDE}@1"
        context = httpx.create_ssl_context()
        with ThreadPoolExecutor(80) as threads:
            answers = list(threads.map(lambda _: httpx.get(page, timeout=60, verify=context).status_code, range(80)))
        assert set(answers) <= {200, 429, 503}
        assert 200 in answers
        assert registry.get("/vendors").status_code == 200


def test_what_a_refused_question_has_loaded_is_freed(registry: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[weakref.ref[Question]] = []
    at_all = Question.at_all

    def noting(question: Question, destinations: Any) -> Any:
        questions.append(weakref.ref(question))
        return at_all(question, destinations)

    monkeypatch.setattr(Question, "at_all", noting)
    gc.collect()
    gc.disable()
    try:
        problem(ask(registry, 300, 300), 422, "over-budget")
        # The first ones were short.
        assert len(questions) > 1
        assert [question() for question in questions] == [None] * len(questions)
    finally:
        gc.enable()
