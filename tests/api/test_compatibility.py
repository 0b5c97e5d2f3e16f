"""An orchestrator asks whether a device can move, where, and with which settings."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from app.api import compatibility
from app.service import compatibility as service
from app.storage import database
from app.wire.compatibility import Answer
from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES, problem, publish, vendor
from tests.conftest import shared_registry

_MOST_STATEMENTS = 25
OLD, NEW = f"{FIRMWARE}@1", f"{FIRMWARE}@2"
P = "vendor-a.com/nic-1"


def fill(registry: TestClient) -> None:
    """Publish two releases; the newer one has `feature`."""
    vendor(registry)
    profiles = [{"name": P, "values": {NIC: {"num-queues": 8}}}]
    publish(registry, OLD, {"num-queues": QUEUES}, profiles=profiles)
    publish(registry, NEW, {"num-queues": QUEUES, "feature": FEATURE}, profiles=[P])


unchanged = shared_registry(fill)


@pytest.fixture
def asked(registry: TestClient) -> TestClient:
    """Return a registry with two releases; the newer one has `feature`."""
    fill(registry)
    return registry


def ask(registry: TestClient, **question: Any) -> list[Any]:
    """Return the results of a question; check that they have exactly the documented shape."""
    response = registry.post("/compatibility", json=question)
    assert response.status_code == 200, response.text
    shaped = Answer.model_validate_json(response.content, extra="forbid")
    assert json.loads(shaped.model_dump_json(by_alias=True, exclude_unset=True)) == response.json()
    results: list[Any] = response.json()["results"]
    return results


def nic(**more: Any) -> dict[str, Any]:
    return {"model": NIC, **more}


def host(name: str, *releases: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "releases": list(releases), **more}


def test_the_answer_is_complete(unchanged: TestClient) -> None:
    device = nic(id="net0", release=OLD, profile=P)
    assert ask(unchanged, devices=[device], destinations=[host("host-17", NEW)], policy="strict", detail="full") == [
        {
            "destination": "host-17",
            "compatible": True,
            "devices": [
                {
                    "id": "net0",
                    "compatible": True,
                    "release": NEW,
                    "problems": [],
                    "warnings": [],
                    "configuration": {"num-queues": 8, "feature": False},
                    "carry_over": [],
                    "unchecked": [],
                    "remedies": [],
                }
            ],
        }
    ]


def test_a_refusal_names_the_variable_its_value_and_why(unchanged: TestClient) -> None:
    (result,) = ask(
        unchanged,
        devices=[nic(release=NEW, profile=P, values={"feature": "on"})],
        destinations=[host("old", OLD)],
        detail="full",
    )
    device = result["devices"][0]
    assert (result["compatible"], device["compatible"], device["configuration"]) == (False, False, None)
    (refusal,) = device["problems"]
    assert (refusal["code"], refusal["variable"], refusal["value"]) == ("variable-not-supported", "feature", True)
    assert refusal["message"] == (
        f"feature=on at the source, but {OLD} does not know feature. Only devices with feature=off can move there."
    )
    (narrow,) = ask(
        unchanged,
        devices=[nic(release=OLD)],
        destinations=[host("h", OLD, restrict={NIC: {"num-queues": ["1-2", {"min": 6, "max": 8, "step": 2}]}})],
    )
    assert narrow["devices"][0]["problems"][0]["allowed"] == [1, 2, 6, 8]


def test_the_detail_decides_what_an_answer_has(unchanged: TestClient) -> None:
    question = {"devices": [nic(release=OLD)], "destinations": [host("a", OLD), host("b", "vendor-a.com/none@1")]}
    assert ask(unchanged, **question, detail="verdict") == [
        {"destination": "a", "compatible": True},
        {"destination": "b", "compatible": False},
    ]
    problems = ask(unchanged, **question)
    assert [result["devices"][0]["compatible"] for result in problems] == [True, False]
    assert "configuration" not in problems[0]["devices"][0]


def test_without_destinations_every_release_with_the_model_is_a_destination(asked: TestClient) -> None:
    publish(asked, "vendor-a.com/gpu-fw@1", {}, model="vendor-a.com/gpu")
    assert [result["destination"] for result in ask(asked, devices=[nic(profile=P)])] == [OLD, NEW]


def test_results_come_in_the_order_asked(unchanged: TestClient) -> None:
    hosts = [host(str(number), *([NEW, OLD] if number % 2 else [OLD])) for number in range(20, 0, -1)]
    devices = [nic(id=name, release=OLD) for name in "zya"]
    results = ask(unchanged, devices=devices, destinations=hosts)
    assert [result["destination"] for result in results] == [destination["id"] for destination in hosts]
    assert all([device["id"] for device in result["devices"]] == ["z", "y", "a"] for result in results)
    assert [result["devices"][0]["release"] for result in results] == [
        destination["releases"][0] for destination in hosts
    ]


def test_several_vms_and_their_defaults(unchanged: TestClient) -> None:
    vms = [
        {"id": "db", "release": NEW, "profile": P, "devices": [nic(), nic(release=OLD, values={"num-queues": 2})]},
        {"devices": [nic(release=NEW, values={"feature": True})]},
    ]
    results = ask(unchanged, vms=vms, destinations=[host("a", OLD), host("b", NEW)], detail="full")
    assert [(result["vm"], result["destination"], result["compatible"]) for result in results] == [
        ("db", "a", True),
        ("db", "b", True),
        ("1", "a", False),
        ("1", "b", True),
    ]
    assert [device["configuration"]["num-queues"] for device in results[0]["devices"]] == [8, 2]


def test_strict_requires_the_profile_on_the_list(asked: TestClient) -> None:
    asked.post("/profiles", json={"name": "vendor-a.com/other", "values": {NIC: {}}})
    device = nic(release=OLD, profile="vendor-a.com/other")
    (strict,) = ask(asked, devices=[device], destinations=[host("a", NEW)])
    assert [problem["code"] for problem in strict["devices"][0]["problems"]] == ["profile-not-listed"]
    (permissive,) = ask(asked, devices=[device], destinations=[host("a", NEW)], policy="permissive")
    assert permissive["compatible"]


def test_the_short_question(unchanged: TestClient) -> None:
    parameters = {"model": NIC, "profile": P, "source": OLD, "destination": [NEW, OLD], "value": ["num-queues=0x2"]}
    short = unchanged.get("/compatibility", params={**parameters, "detail": "full"}).json()
    long = ask(
        unchanged,
        devices=[nic(profile=P, release=OLD, values={"num-queues": "0x2"})],
        destinations=[host(NEW, NEW), host(OLD, OLD)],
        detail="full",
    )
    assert short["results"] == long
    assert problem(unchanged.get("/compatibility"), 422, "invalid") == [("model", "missing-field")]
    odd = {"model": NIC, "value": ["a", "b=1", "b=2"]}
    assert problem(unchanged.get("/compatibility", params=odd), 422, "invalid") == [("value.0", "invalid-value")]


def test_what_was_published_is_known_at_once(asked: TestClient) -> None:
    later = f"{FIRMWARE}@3"
    question = {"devices": [nic(profile=P)], "destinations": [host("a", later)]}
    assert not ask(asked, **question)[0]["compatible"]
    publish(asked, later, {"num-queues": QUEUES, "newer": FEATURE}, profiles=[P])
    assert ask(asked, **question)[0]["compatible"]


@pytest.mark.parametrize(
    ("question", "faults"),
    [
        ({}, [("", "missing-field")]),
        ({"devices": []}, [("/devices", "limit-exceeded")]),
        ({"devices": [nic()], "vms": [{"devices": [nic()]}]}, [("", "missing-field")]),
        ({"devices": [nic()] * 1001}, [("/devices", "limit-exceeded")]),
        ({"devices": [nic()], "destinations": []}, [("/destinations", "limit-exceeded")]),
        ({"devices": [nic()], "destinations": [{"releases": []}]}, [("/destinations/0/releases", "limit-exceeded")]),
        (
            {"devices": [nic()], "destinations": [host(str(n), OLD) for n in range(10_001)]},
            [("/destinations", "limit-exceeded")],
        ),
        (
            {"devices": [nic()] * 1000, "destinations": [host(str(n), OLD) for n in range(1001)]},
            [("", "limit-exceeded")],
        ),
        (
            {"devices": [nic()] * 51, "destinations": [host(str(n), OLD) for n in range(1000)], "detail": "full"},
            [("", "limit-exceeded")],
        ),
        ({"devices": [nic(id="a"), nic(id="a")]}, [("/devices/1/id", "duplicate")]),
        (
            {"devices": [nic(values={"a": 1.5, "b": 2**64, "c": [1]})], "x": 1},
            [
                ("/devices/0/values/a", "wrong-type"),
                ("/devices/0/values/b", "invalid-value"),
                ("/devices/0/values/c", "wrong-type"),
                ("/x", "unknown-field"),
            ],
        ),
        (
            {"devices": [nic(complete="yes")], "policy": "lax"},
            [("/devices/0/complete", "wrong-type"), ("/policy", "invalid-value")],
        ),
    ],
)
def test_bad_questions(unchanged: TestClient, question: dict[str, Any], faults: list[tuple[str, str]]) -> None:
    assert problem(unchanged.post("/compatibility", json=question), 422, "invalid") == faults


def test_names_that_no_registry_can_have_are_unknown(unchanged: TestClient) -> None:
    devices = [{"model": name, "release": name, "profile": name} for name in ("x\0", "", "a@b", "ä" * 300) if name]
    for result in ask(unchanged, devices=devices, destinations=[host("a", "x\0", "y")]):
        for device in result["devices"]:
            codes = {problem["code"] for problem in device["problems"]}
            assert codes == {"unknown-model", "unknown-release", "unknown-profile"}
    assert ask(unchanged, devices=devices) == []


def test_the_largest_question_is_answered(unchanged: TestClient) -> None:
    question = {
        "devices": [nic(release=OLD, values={"num-queues": number % 9}) for number in range(100)],
        "destinations": [host(str(n), NEW) for n in range(10_000)],
        "detail": "verdict",
    }
    assert len(json.dumps(question)) > 100_000
    assert [result["compatible"] for result in ask(unchanged, **question)] == [False] * 10_000


def test_a_question_from_memory_runs_no_statement(asked: TestClient) -> None:
    devices = [nic(release=OLD, profile=P, values={"num-queues": 4})]
    hosts = [host("one", OLD), host("two", NEW, OLD)]
    ask(asked, devices=devices, destinations=hosts)
    ask(asked, devices=devices, destinations=hosts)
    with counted(asked) as statements:
        other = [nic(release=OLD, profile=P, values={"num-queues": 2})]
        assert [result["compatible"] for result in ask(asked, devices=other, destinations=hosts)] == [True, True]
    assert len(statements) == 0


def test_a_device_of_which_nothing_is_stated_is_not_compatible(registry: TestClient) -> None:
    vendor(registry)
    publish(registry, OLD, {})
    (device,) = ask(registry, devices=[nic(release=OLD)], destinations=[host("there", OLD)])[0]["devices"]
    assert [found["code"] for found in device["problems"]] == ["nothing-compared"]
    # A list that has its profile says that it is the same.
    publish(registry, OLD, {}, profiles=[{"name": P, "values": {NIC: {}}}])
    assert ask(registry, devices=[nic(release=OLD, profile=P)], destinations=[host("there", OLD)])[0]["compatible"]
    baseline = registry.post("/baseline", json={"models": [NIC], "releases": [OLD]}).json()["models"][NIC]
    assert ([found["code"] for found in baseline["problems"]], baseline["profiles"]) == (["nothing-compared"], [P])


@pytest.mark.parametrize("release", [f"{FIRMWARE}@{{}}", f"{FIRMWARE}-{{}}@1"], ids=["releases", "implementations"])
def test_the_statements_of_a_question_do_not_depend_on_its_size(registry: TestClient, release: str) -> None:
    vendor(registry)
    names = [release.format(number) for number in range(1, 41)]
    for number, name in enumerate(names):
        publish(registry, name, {f"v{number}": QUEUES}, profiles=[{"name": f"{P}-{number}", "values": {NIC: {}}}])

    def asked_for(count: int) -> int:
        registry.app.state.container.catalog._view = None  # type: ignore[attr-defined]
        memory = registry.app.state.container.catalog._sets._memory  # type: ignore[attr-defined]
        memory._entries.clear()
        devices = [nic(id=name, release=name, profile=f"{P}-{place}") for place, name in enumerate(names[:count])]
        with counted(registry) as statements:
            ask(registry, devices=devices, destinations=[host(name, name) for name in names[:count]])
        return len(statements)

    asked_for(40)
    assert asked_for(40) == asked_for(2) <= _MOST_STATEMENTS


def test_a_long_question_is_answered_in_a_worker_thread(asked: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    question = {"devices": [nic(release=OLD, profile=P)], "destinations": [host("one", OLD), host("two", NEW)]}
    # However slow the machine is, the second question finds the registry fresh.
    monkeypatch.setattr(database, "FRESH_SECONDS", 60)
    short = ask(asked, **question)
    threads = set()
    answer = compatibility.answer

    def recording(*args: Any) -> Any:
        content = answer(*args)
        threads.add(threading.current_thread().name)
        return content

    monkeypatch.setattr(compatibility, "answer", recording)
    assert ask(asked, **question) == short
    (loop,) = threads
    monkeypatch.setattr(service, "_MAX_VALUES_AT_ONCE", 1)
    assert ask(asked, **question) == short
    assert threads - {loop}


@contextmanager
def counted(registry: TestClient) -> Iterator[list[str]]:
    """Yield the statements that the service runs inside the block."""
    statements: list[str] = []
    engine = registry.app.state.container.databases.primary  # type: ignore[attr-defined]

    def count(*args: Any) -> None:
        # The version of the schema is checked once in a second, and PostgreSQL is given time limits, whatever is asked.
        is_setting_up = "alembic_version" in args[2] or "set_config" in args[2]
        if args[2].startswith(("SELECT", "WITH")) and not is_setting_up:
            statements.append(args[2])

    sa.event.listen(engine, "before_cursor_execute", count)
    yield statements
    sa.event.remove(engine, "before_cursor_execute", count)


def test_the_names_that_the_source_release_gives_count_also_without_destinations(asked: TestClient) -> None:
    aliases = {"vendor-a.com/latest": P, "vendor-a.com/card": NIC}
    publish(asked, f"{FIRMWARE}@3", {"num-queues": QUEUES, "feature": FEATURE}, profiles=[P], aliases=aliases)
    device = {"model": "vendor-a.com/card", "release": f"{FIRMWARE}@3", "profile": "vendor-a.com/latest"}
    answers = {result["destination"]: result["compatible"] for result in ask(asked, devices=[device])}
    assert answers == {OLD: True, NEW: True, f"{FIRMWARE}@3": True}
    # The host that the device runs on says the release, and the release what the names mean.
    asked.put("/hosts/here", json={"releases": [f"{FIRMWARE}@3"]})
    on_host = {"model": "vendor-a.com/card", "profile": "vendor-a.com/latest", "host": "here"}
    assert {result["destination"] for result in ask(asked, devices=[on_host])} == set(answers)
    (unknown,) = ask(asked, devices=[{**device, "release": OLD}], destinations=[{"releases": [NEW]}])
    codes = {problem["code"] for problem in unknown["devices"][0]["problems"]}
    assert codes >= {"unknown-model", "unknown-profile"}


def test_a_device_has_no_more_than_its_host_has(asked: TestClient) -> None:
    profile = {"name": "vendor-a.com/full", "values": {NIC: {"feature": True}}}
    assert asked.post("/profiles", json=profile).status_code == 201
    asked.put("/hosts/plain", json={"releases": [NEW], "restrict": {NIC: {"feature": [False]}}})
    device = {"model": NIC, "profile": "vendor-a.com/full", "host": "plain"}

    def answer(**more: Any) -> Any:
        question = {"devices": [{**device, **more}], "policy": "permissive"}
        return ask(asked, **question, destinations=[{"releases": [OLD]}])[0]["devices"][0]

    assert answer()["compatible"]
    stated = answer(values={"feature": True})["problems"]
    assert ("source-value-invalid", "feature") in {(found["code"], found["variable"]) for found in stated}
    elsewhere = {**device, "host": "nowhere"}
    (unknown,) = ask(asked, devices=[elsewhere], destinations=[{"releases": [NEW]}])
    assert unknown["devices"][0]["problems"][0]["code"] == "unknown-host"
    # All devices of a VM run on one host.
    (vm,) = ask(
        asked,
        vms=[{"id": "vm", "host": "plain", "devices": [{"model": NIC, "profile": "vendor-a.com/full"}]}],
        destinations=[{"releases": [OLD]}],
        policy="permissive",
    )
    assert vm["compatible"]


def test_a_summary_says_what_was_not_compared(asked: TestClient) -> None:
    unknown = {"models": {NIC: {"variables": {"num-queues": QUEUES}, "migratable": "unknown"}}, "profiles": [P]}
    assert asked.put(f"/releases/{FIRMWARE}@3", json=unknown).status_code == 201
    device = {"id": "nic", "model": NIC, "release": OLD, "profile": P}
    destinations = [{"releases": [release]} for release in (NEW, f"{FIRMWARE}@3")]
    (summary,) = ask(asked, devices=[device], destinations=destinations, detail="summary")
    (warning,) = summary["warnings"]
    assert (warning["count"], warning["code"], warning["devices"]) == (1, "migratability-unknown", ["nic"])
    answer = asked.post("/baseline", json={"models": [NIC], "releases": [OLD, f"{FIRMWARE}@3"]}).json()["models"][NIC]
    assert [warning["code"] for warning in answer["warnings"]] == ["migratability-unknown"]


def test_every_answer_says_on_what_it_is_based(asked: TestClient) -> None:
    answers = [
        asked.post("/compatibility", json={"devices": [{"model": NIC, "release": OLD}]}).json(),
        asked.get("/compatibility", params={"model": NIC, "source": OLD}).json(),
        asked.get("/diff", params={"from": OLD, "to": NEW}).json(),
        asked.post("/baseline", json={"models": [NIC], "releases": [OLD]}).json(),
    ]
    feed = asked.get("/changes").json()
    for answer in answers:
        assert {name: answer[name] for name in ("registry", "seq", "link")} == {
            "registry": feed["registry"],
            "seq": feed["head"],
            "link": feed["link"],
        }
