"""An operator registers hosts, asks by host, by label or about all hosts, and drains some of them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.domain.things.snapshot import Snapshot
from app.domain.verdict.destination import Destination
from app.domain.verdict.host import judge_vm
from app.domain.verdict.policy import Policy
from app.domain.verdict.source import Device, Source
from app.storage import schema
from app.storage.database import written_time
from app.storage.reader import Reader
from app.wire.compatibility import Answer
from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES, problem, publish, vendor
from tests.conftest import AUTHORIZATION, make_app, shared_registry
from tests.counts import full

OLD, NEW = f"{FIRMWARE}@1", f"{FIRMWARE}@2"
# Hosts differ in 15 ways, VMs in 24.
_REPORTING = full(1_000, short=50)
_DRAINED_VMS, _DRAINED_HOSTS = full(40, short=24), full(1000, short=60)


def fill(registry: TestClient) -> None:
    """Publish two releases and register four hosts; the newer release has `feature`."""
    vendor(registry)
    publish(registry, OLD, {"num-queues": QUEUES})
    publish(registry, NEW, {"num-queues": QUEUES, "feature": FEATURE})
    hosts: dict[str, Any] = {
        "host-1": {"releases": [NEW], "labels": {"rack": "r1", "gen": "new"}},
        "host-2": {"releases": [OLD], "labels": {"rack": "r1"}},
        "host-3": {"releases": [NEW], "restrict": {NIC: {"feature": [False]}}, "labels": {"rack": "r2"}},
        "host-4": {"releases": [OLD, NEW]},
    }
    for name, document in hosts.items():
        response = registry.put(f"/hosts/{name}", json=document)
        assert response.status_code == 201, response.text
        assert not any(response.json()[field] for field in ("unknown_releases", "unknown_models", "unknown_variables"))


unchanged = shared_registry(fill)


@pytest.fixture
def operated(registry: TestClient) -> TestClient:
    """Return a registry with two releases and four hosts; the newer release has `feature`."""
    fill(registry)
    return registry


def ask(registry: TestClient, *destinations: dict[str, Any], **more: Any) -> list[Any]:
    """Return the results for a card whose feature is on."""
    device = {"id": "net0", "model": NIC, "release": NEW, "values": {"feature": True}}
    question = {"devices": [device], "destinations": list(destinations), **more}
    response = registry.post("/compatibility", json=question)
    assert response.status_code == 200, response.text
    Answer.model_validate_json(response.content, extra="forbid")
    results: list[Any] = response.json()["results"]
    return results


def compatible(results: list[Any]) -> dict[str, bool]:
    return {result["destination"]: result["compatible"] for result in results}


def test_a_host_is_registered_replaced_and_forgotten(operated: TestClient) -> None:
    document = {"releases": [NEW, OLD], "restrict": {NIC: {"num-queues": [1, "2-4"]}}, "labels": {"rack": "r9"}}
    assert operated.put("/hosts/host-1", json=document, params={"dry_run": True}).status_code == 200
    assert operated.get("/hosts/host-1").json()["labels"] == {"rack": "r1", "gen": "new"}
    assert operated.put("/hosts/host-1", json=document).status_code == 200
    registered = operated.get("/hosts/host-1").json()
    assert registered.pop("reported_at") is not None
    assert registered.pop("kind").startswith("sha256:")
    assert registered == {"host": "host-1", "resolves": {}, "units": [], **document, "stale": False}
    assert operated.delete("/hosts/host-1").status_code == 204
    problem(operated.get("/hosts/host-1"), 404, "unknown-host")
    problem(operated.delete("/hosts/host-1"), 404, "unknown-host")


def test_hosts_are_listed_by_name_and_label(unchanged: TestClient) -> None:
    def names(**parameters: Any) -> list[str]:
        return [host["host"] for host in unchanged.get("/hosts", params=parameters).json()["items"]]

    assert names() == ["host-1", "host-2", "host-3", "host-4"]
    assert names(label="rack=r1") == ["host-1", "host-2"]
    assert names(label="rack") == ["host-1", "host-2", "host-3"]
    assert names(label="rack=") == []
    page = unchanged.get("/hosts", params={"limit": 3}).json()
    assert names(cursor=page["next"]) == ["host-4"]


@pytest.mark.parametrize(
    ("labels", "hosts"),
    [
        (["rack=r1", "gen=new"], ["host-1"]),
        (["rack", "gen!=new"], ["host-2", "host-3"]),
        (["!rack"], ["host-4"]),
        (["rack!=r1"], ["host-3", "host-4"]),
        (["rack=r1", "rack=r2"], []),
    ],
)
def test_hosts_have_all_labels_that_are_asked_for(unchanged: TestClient, labels: list[str], hosts: list[str]) -> None:
    listed = unchanged.get("/hosts", params={"label": labels}).json()["items"]
    assert [host["host"] for host in listed] == hosts
    asked = unchanged.get("/compatibility", params={"model": NIC, "source": NEW, "label": labels}).json()["results"]
    question = ask(unchanged, {"labels": labels})
    if hosts:
        assert list(compatible(asked)) == list(compatible(question)) == hosts
    else:
        # That no host is meant is an answer of its own, never an empty yes.
        assert [result["compatible"] for result in (*asked, *question)] == [False, False]


@pytest.mark.parametrize("label", ["!", "!=r1", "!rack=r1", "=r1", "!!rack", ""])
def test_a_label_that_cannot_be_read_selects_nothing(unchanged: TestClient, label: str) -> None:
    expected = [("label.0", "invalid-value")]
    assert problem(unchanged.get("/hosts", params={"label": label}), 422, "invalid") == expected
    short = unchanged.get("/compatibility", params={"model": NIC, "source": NEW, "label": label})
    assert problem(short, 422, "invalid") == expected
    assert "must be name=value, name!=value, name or !name" in short.json()["faults"][0]["message"]
    question = {"devices": [{"model": NIC, "release": NEW}], "destinations": [{"labels": [label]}]}
    assert problem(unchanged.post("/compatibility", json=question), 422, "invalid") == [
        ("/destinations/0/labels/0", "invalid-value")
    ]


def test_destinations_are_named_by_host_by_label_or_all_at_once(unchanged: TestClient) -> None:
    assert compatible(ask(unchanged, {"host": "host-3"}, {"host": "host-1"})) == {"host-3": False, "host-1": True}
    assert compatible(ask(unchanged, {"label": "rack=r1"})) == {"host-1": True, "host-2": False}
    every = compatible(ask(unchanged, {"all_hosts": True}))
    assert every == {"host-1": True, "host-2": False, "host-3": False, "host-4": True}
    mixed = ask(unchanged, {"id": "mine", "releases": [NEW]}, {"label": "rack"}, {"host": "host-9"})
    assert list(compatible(mixed)) == ["mine", "host-1", "host-2", "host-3", "host-9"]
    assert mixed[-1]["devices"][0]["problems"] == [{"code": "unknown-host", "message": "No host host-9 is registered."}]
    short = unchanged.get("/compatibility", params={"model": NIC, "source": NEW, "host": "host-2", "label": "rack=r2"})
    assert compatible(short.json()["results"]) == {"host-2": True, "host-3": True}


def test_a_host_that_is_left_out_is_not_selected(unchanged: TestClient) -> None:
    every = compatible(ask(unchanged, {"all_hosts": True}, leave_out=["host-1", "nowhere"]))
    assert every == {"host-2": False, "host-3": False, "host-4": True}
    assert compatible(ask(unchanged, {"label": "rack=r1"}, {"label": "gen=new"}, leave_out=["host-1"])) == {
        "host-2": False,
        "label gen=new": False,
    }
    # Whoever names a host wants to know.
    named = ask(unchanged, {"host": "host-1"}, {"label": "rack=r1"}, leave_out=["host-1"])
    assert compatible(named) == {"host-1": True, "host-2": False}
    (summary,) = ask(unchanged, {"all_hosts": True}, leave_out=["host-1"], detail="summary")
    assert (summary["possible"], summary["possible_count"], summary["impossible_count"]) == (["host-4"], 1, 2)
    assert "host-1" not in [name for kind in summary["kinds"] for name in kind["examples"]]
    (nothing,) = ask(unchanged, {"label": "gen=new"}, leave_out=["host-1"], detail="summary")
    assert nothing["reasons"][0]["message"] == (
        "All registered hosts that meet the label conditions gen=new are left out."
    )
    (nobody,) = ask(unchanged, {"label": "gen=newest"}, leave_out=["host-1"], detail="summary")
    assert nobody["reasons"][0]["message"] == "No registered host meets the label conditions gen=newest."
    # What if the host that is left out ran something else?
    other = ask(unchanged, {"id": "host-2", "releases": [NEW]}, {"label": "rack=r1"}, leave_out=["host-2"])
    assert compatible(other) == {"host-2": True, "host-1": True}


def test_a_problem_names_the_restriction_of_the_host(unchanged: TestClient) -> None:
    ((refusal,),) = [result["devices"][0]["problems"] for result in ask(unchanged, {"host": "host-3"})]
    assert refusal["message"] == f"feature=on at the source, but {NEW} on this host allows off."


@pytest.mark.parametrize(
    ("destination", "place"),
    [
        ({}, ""),
        ({"host": "host-1", "releases": [NEW]}, ""),
        ({"host": "host-1", "restrict": {NIC: {"feature": [True]}}}, "/restrict"),
        ({"label": "rack", "id": "x"}, "/id"),
        ({"all_hosts": True, "label": "rack"}, ""),
        ({"label": "rack\0"}, "/label"),
    ],
)
def test_a_destination_has_exactly_one_kind(unchanged: TestClient, destination: dict[str, Any], place: str) -> None:
    question = {"devices": [{"model": NIC, "release": NEW}], "destinations": [destination]}
    ((where, _),) = problem(unchanged.post("/compatibility", json=question), 422, "invalid")
    assert where == f"/destinations/0{place}"


@pytest.mark.parametrize("is_reversed", [False, True])
def test_an_id_names_one_destination(unchanged: TestClient, is_reversed: bool) -> None:
    mine = [{"id": "host-1", "releases": [OLD]}, {"label": "rack=r1"}]
    destinations = list(reversed(mine)) if is_reversed else mine
    question = {"devices": [{"model": NIC, "release": NEW}], "destinations": destinations}
    assert problem(unchanged.post("/compatibility", json=question), 422, "invalid") == [
        ("/destinations/1", "duplicate")
    ]
    same: list[dict[str, Any]] = [
        {"host": "host-1"},
        {"label": "rack=r1"},
        {"id": "2", "releases": [OLD]},
        {"releases": [NEW]},
    ]
    assert len(ask(unchanged, *same)) == 4


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"releases": []}, "/releases"),
        ({"releases": ["nonsense"]}, "/releases/0"),
        ({"releases": [NEW], "restrict": {NIC: {"feature": True}}}, f"/restrict/{NIC.replace('/', '~1')}/feature"),
        ({"releases": [NEW], "labels": {"": "x"}}, "/labels/"),
        ({"releases": [NEW], "more": 1}, "/more"),
    ],
)
def test_a_host_that_cannot_be_registered(unchanged: TestClient, document: dict[str, Any], place: str) -> None:
    assert [where for where, _ in problem(unchanged.put("/hosts/host-9", json=document), 422, "invalid")] == [place]
    problem(unchanged.get("/hosts/host-9"), 404, "unknown-host")


def test_only_operators_register_hosts(operated: TestClient) -> None:
    document = {"releases": [NEW]}
    problem(operated.put("/hosts/h", json=document, headers={"Authorization": "Bearer no"}), 401, "unauthorized")
    assert operated.put("/hosts/a b", json=document).status_code == 422
    unknown = operated.put("/hosts/early", json={"releases": [NEW, "vendor-z.com/later@1"]})
    assert unknown.json()["unknown_releases"] == ["vendor-z.com/later@1"]


@pytest.mark.long
def test_a_drain_is_one_question(operated: TestClient) -> None:
    """Many VMs and hosts: where each may go, and why not elsewhere, as a single question for each pair says."""
    documents = [
        {"releases": releases, "restrict": restrict}
        for releases, restrict in product(
            ([OLD], [NEW], [NEW, OLD], [OLD, "vendor-z.com/x@1"], ["vendor-z.com/x@1"]),
            ({}, {NIC: {"num-queues": ["1-2"]}}, {NIC: {"feature": [False]}}),
        )
    ]
    for place in range(_DRAINED_HOSTS):
        document = documents[place % len(documents)]
        assert operated.put(f"/hosts/h{place:04}", json={**document, "labels": {"drain": "no"}}).status_code == 201
    vms = [
        {
            "id": f"vm-{place}",
            "release": NEW if place % 2 else OLD,
            "devices": [
                {"id": f"net{card}", "model": NIC, "values": {"num-queues": 1 + (place + card) % 8} | feature}
                for card in range(1 + place % 3)
                for feature in [{"feature": True} if place % 4 == 1 else {}]
            ],
        }
        for place in range(_DRAINED_VMS)
    ]
    question = {"vms": vms, "destinations": [{"label": "drain=no"}]}
    answered = operated.post("/compatibility", json={**question, "detail": "summary"})
    assert answered.status_code == 200
    Answer.model_validate_json(answered.content, extra="forbid")
    summaries = {result["vm"]: result for result in answered.json()["results"]}
    flat = operated.post("/compatibility", json={**question, "detail": "verdict"}).json()["results"]
    assert len(flat) == _DRAINED_VMS * _DRAINED_HOSTS
    singly = _asked_singly(operated.app, vms)  # type: ignore[arg-type]
    assert {(result["vm"], result["destination"]): result["compatible"] for result in flat} == {
        pair: not reasons for pair, reasons in singly.items()
    }
    for vm, summary in summaries.items():
        host_reasons = {host: reasons for (vm_id, host), reasons in singly.items() if vm_id == vm}
        assert summary["possible"] == [host for host, reasons in host_reasons.items() if not reasons]
        assert summary["impossible"] == sum(bool(reasons) for reasons in host_reasons.values())
        counted: dict[str, int] = {}
        for reasons in host_reasons.values():
            for reason in set(reasons):
                counted[reason] = counted.get(reason, 0) + 1
        assert {reason["message"]: reason["count"] for reason in summary["reasons"]} == counted


def _asked_singly(app: FastAPI, vms: list[dict[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Return the problems of each VM at each host; judge every pair by itself."""

    def load(reader: Reader) -> tuple[Snapshot, Sequence[Destination]]:
        names = [member.name for member in reader.members([]) if member.name.startswith("h0")]
        hosts = list(reader.hosts(names).values())
        releases = {vm["release"] for vm in vms} | {release for host in hosts for release in host.releases}
        models = {device["model"] for vm in vms for device in vm["devices"]}
        restricted = {model for host in hosts for model in host.restrict}
        return reader.snapshot(models=models | restricted, releases=releases, of_models=models), hosts

    snapshot, hosts = app.state.container.catalog.ask(load)
    problems = {}
    for vm in vms:
        sources = [
            Source.of(
                Device(id=device["id"], model=device["model"], release=vm["release"], values=device["values"]), snapshot
            )
            for device in vm["devices"]
        ]
        for host in hosts:
            verdicts = [served.verdict for served in judge_vm(sources, host, snapshot, Policy.STRICT)]
            problems[vm["id"], host.id] = [problem.message for verdict in verdicts for problem in verdict.problems]
    return problems


def test_a_restriction_is_checked_and_unknown_names_are_reported(operated: TestClient) -> None:
    def put(restrict: Any, **more: Any) -> Any:
        return operated.put("/hosts/host-5", json={"releases": [NEW], "restrict": restrict, **more})

    refused = put({NIC: {"num-queues": ["8-2"], "feature": [True, "maybe"], "a=b": [1]}, "no name": {}})
    nic = f"/restrict/{NIC.replace('/', '~1')}"
    assert sorted(problem(refused, 422, "invalid")) == [
        ("/restrict/no name", "invalid-name"),
        (f"{nic}/a=b", "invalid-name"),
        (f"{nic}/feature/1", "invalid-value"),
        (f"{nic}/num-queues/0", "invalid-value"),
    ]
    registration = put(
        {NIC: {"feature": ["off"], "featrue": [False]}, "vendor-a.com/my-nik": {"feature": [False]}}
    ).json()
    assert registration["unknown_models"] == ["vendor-a.com/my-nik"]
    assert registration["unknown_variables"] == {NIC: ["featrue"]}
    device = {"id": "net0", "model": NIC, "release": OLD}
    question = {"devices": [device], "destinations": [{"host": "host-5"}]}
    (result,) = operated.post("/compatibility", json=question).json()["results"]
    warnings = [warning["message"] for warning in result["devices"][0]["warnings"] if "restriction" in warning["code"]]
    assert warnings == [
        f"The destination restricts featrue of {NIC}, but its release has no such variable.",
        "The destination restricts vendor-a.com/my-nik, but the registry has no device model vendor-a.com/my-nik.",
    ]


def test_a_dry_run_of_a_state_change_does_not_block_writers(
    operated: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write while the impact is computed."""
    written = []

    def impact(*_: Any) -> dict[str, Any]:
        written.append(operated.put("/vendors/vendor-b.com", json={}).status_code)
        return {"profiles": [], "releases": [], "hosts": [], "listed": []}

    monkeypatch.setattr("app.service.impact.of", impact)
    answer = operated.patch(f"/releases/{NEW}", json={"state": "retired"}, params={"dry_run": True})
    assert (answer.status_code, written) == (200, [201])
    assert operated.get(f"/releases/{NEW}").json()["state"] == "published"


def test_a_stored_restriction_stays_valid_whatever_is_published_later(operated: TestClient) -> None:
    later = "vendor-a.com/later"
    document = {"releases": [NEW], "restrict": {later: {"mode": ["fast"]}}}
    assert operated.put("/hosts/host-6", json=document).json()["unknown_models"] == [later]
    publish(operated, f"{FIRMWARE}@3", {"mode": {"type": "int", "init_value": 1}}, model=later, profiles=[])
    assert operated.put("/hosts/host-6", json=document).status_code == 200
    problem(operated.put("/hosts/host-7", json=document), 422, "invalid")


def test_an_empty_restriction_restricts_nothing(operated: TestClient) -> None:
    device = {"model": NIC, "release": NEW, "values": {"feature": True}}
    hosts = [{"id": "plain", "releases": [OLD]}, {"id": "empty", "releases": [OLD], "restrict": {NIC: {}}}]
    for order in (hosts, hosts[::-1]):
        results = operated.post("/compatibility", json={"devices": [device], "destinations": order}).json()["results"]
        assert {result["devices"][0]["problems"][0]["message"] for result in results} == {
            f"feature=on at the source, but {OLD} does not know feature. Only devices with feature=off can move there."
        }


def _writes(registry: TestClient) -> Iterator[list[str]]:
    """Yield the statements that write, as they are sent to the database."""
    written: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "SET", "PRAGMA", "WITH", "BEGIN")):
            written.append(statement)

    engine = registry.app.state.container.primary  # type: ignore[attr-defined]
    sa.event.listen(engine, "before_cursor_execute", note)
    yield written
    sa.event.remove(engine, "before_cursor_execute", note)


def _age(registry: TestClient, host: str, hours: int) -> None:
    """Let a host have reported so long ago."""
    reported_at = written_time(datetime.now(UTC) - timedelta(hours=hours))
    with registry.app.state.container.primary.begin() as connection:  # type: ignore[attr-defined]
        connection.execute(sa.update(schema.host).where(schema.host.c.name == host).values(reported_at=reported_at))
    registry.app.state.container.catalog._stale_until = float("-inf")  # type: ignore[attr-defined]
    registry.app.state.container.catalog.outdate()  # type: ignore[attr-defined]


def test_reports_that_change_nothing_write_nothing(operated: TestClient) -> None:
    names = [f"node-{number}" for number in range(_REPORTING)]
    document = {"releases": [NEW], "units": [{"id": "card", "releases": [OLD]}], "labels": {"rack": "r1"}}
    for name in names:
        assert operated.put(f"/hosts/{name}", json=document).status_code == 201
    changes = operated.get("/changes").json()
    first = operated.get("/hosts/node-0").json()
    with contextmanager(_writes)(operated) as written, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda name: operated.put(f"/hosts/{name}", json=document), names))
    assert {answer.status_code for answer in answers} == {200}
    assert not written
    assert operated.get("/changes").json() == changes
    assert operated.get("/hosts/node-0").json() == first


def test_a_report_after_some_time_is_noted_but_no_change(operated: TestClient) -> None:
    document = {"releases": [NEW]}
    operated.put("/hosts/node", json=document)
    _age(operated, "node", 30)
    before = operated.get("/hosts/node").json()
    assert before["stale"]
    assert [host["host"] for host in operated.get("/hosts").json()["items"] if host["stale"]] == ["node"]
    changes = operated.get("/changes").json()
    assert operated.put("/hosts/node", json=document, params={"dry_run": True}).status_code == 200
    assert operated.get("/hosts/node").json() == before
    assert operated.put("/hosts/node", json=document).status_code == 200
    after = operated.get("/hosts/node").json()
    assert not after["stale"]
    assert after["reported_at"] > before["reported_at"]
    assert operated.get("/changes").json() == changes


def test_answers_about_stale_hosts_warn(operated: TestClient) -> None:
    _age(operated, "host-1", 30)

    def warned(*destinations: dict[str, Any]) -> list[list[str]]:
        results = ask(operated, *destinations)
        return [[warning["code"] for warning in result["devices"][0]["warnings"]] for result in results]

    fresh, stale = (
        [code for code in codes if code == "host-stale"] for codes in warned({"host": "host-4"}, {"host": "host-1"})
    )
    assert (fresh, stale) == ([], ["host-stale"])
    (renamed,) = warned({"id": "mine", "host": "host-1"})
    assert "host-stale" in renamed
    (summary,) = ask(operated, {"all_hosts": True}, detail="summary")
    (warning,) = [warning for warning in summary["warnings"] if warning["code"] == "host-stale"]
    assert (warning["count"], warning["examples"]) == (1, ["host-1"])
    device = {"id": "net0", "model": NIC, "host": "host-1", "values": {"feature": True}}
    question = {"devices": [device], "destinations": [{"host": "host-4"}]}
    (result,) = operated.post("/compatibility", json=question).json()["results"]
    (warning,) = [warning for warning in result["devices"][0]["warnings"] if warning["code"] == "host-stale"]
    assert "runs on" in warning["message"]
    (summary,) = operated.post("/compatibility", json={**question, "detail": "summary"}).json()["results"]
    assert [warning["code"] for warning in summary["warnings"]].count("host-stale") == 1


def test_staleness_can_be_switched_off(database_url: str) -> None:
    with TestClient(make_app(database_url, host_stale_hours=0), headers=AUTHORIZATION) as registry:
        fill(registry)
        _age(registry, "host-1", 10_000)
        assert not registry.get("/hosts/host-1").json()["stale"]
        (result,) = ask(registry, {"host": "host-1"})
        assert "host-stale" not in [warning["code"] for warning in result["devices"][0]["warnings"]]
