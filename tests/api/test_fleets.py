"""An operator plans a fleet: baselines, differences, the support matrix, arguments and remedies."""

import csv
import io
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.wire.baseline import BaselineAnswer
from app.wire.compatibility import Answer
from app.wire.diff import Diff
from app.wire.support_matrix import SupportMatrix
from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES, problem, publish, vendor
from tests.conftest import shared_registry

ONE, TWO, THREE = (f"{FIRMWARE}@{version}" for version in (1, 2, 3))
P, Q = "vendor-a.com/p", "vendor-a.com/q"
GFX = "vendor-a.com/gfx"
LIVE = {**FEATURE, "init_value": True, "runtime": True}


def fill(registry: TestClient) -> None:
    """Publish three releases, the newest with fewer queues, and three products of one GPU."""
    vendor(registry)
    listed = [
        {"name": P, "values": {NIC: {"num-queues": 2}}},
        {"name": Q, "extends": P, "values": {NIC: {"feature": True}}},
    ]
    publish(registry, TWO, {"num-queues": QUEUES, "feature": LIVE}, profiles=listed)
    publish(registry, ONE, {"num-queues": QUEUES}, profiles=[P])
    fewer = {**QUEUES, "allowed_values": ["1-4"]}
    assert publish(registry, THREE, {"num-queues": fewer, "feature": LIVE}).status_code == 201
    memory: dict[str, Any] = {"4GB": {"init_value": 4, "settable": False}, "8GB": {"init_value": 8, "settable": False}}
    memory["varGB"] = {"init_value": 2, "allowed_values": [1, 2, 4, 8]}
    for size, stated in memory.items():
        release = f"{GFX}/gfx-{size}@1"
        publish(registry, release, {"memory-gb": {"type": "int", **stated}}, model=GFX)


unchanged = shared_registry(fill)


@pytest.fixture
def fleet(registry: TestClient) -> TestClient:
    """Return a registry with three releases, the newest with fewer queues, and three products of one GPU."""
    fill(registry)
    return registry


def baseline(registry: TestClient, **question: Any) -> Any:
    response = registry.post("/baseline", json=question)
    assert response.status_code == 200, response.text
    BaselineAnswer.model_validate_json(response.content, extra="forbid")
    return response.json()["models"]


def test_a_baseline_over_releases_with_the_worked_case(unchanged: TestClient) -> None:
    releases = [f"{GFX}/gfx-{size}@1" for size in ("varGB", "4GB", "8GB")]
    assert baseline(unchanged, models=[GFX], releases=releases[:2])[GFX] == {
        "values": {"memory-gb": 4},
        "domains": {"memory-gb": [4]},
        "profiles": [],
        "problems": [],
    }
    models = baseline(unchanged, models=[GFX, NIC], releases=releases)
    (collision,) = models[GFX]["problems"]
    assert (collision["code"], collision["variable"]) == ("no-common-value", "memory-gb")
    assert collision["releases"] == releases[1:]
    assert models[NIC]["problems"][0]["code"] == "model-not-supported"


def test_a_baseline_over_hosts_and_its_profiles(fleet: TestClient) -> None:
    fleet.put("/hosts/a", json={"releases": [TWO], "restrict": {NIC: {"num-queues": ["1-3"]}}, "labels": {"rack": "1"}})
    fleet.put("/hosts/b", json={"releases": [THREE], "labels": {"rack": "1"}})
    (rack,) = baseline(fleet, models=[NIC], label="rack=1").values()
    assert (rack["values"], rack["profiles"]) == ({"feature": True, "num-queues": 1}, [Q, P])
    (with_old,) = baseline(fleet, models=[NIC], releases=[ONE], hosts=["b"]).values()
    assert (with_old["values"], with_old["profiles"]) == ({"feature": False, "num-queues": 4}, [P])
    (unknown,) = baseline(fleet, models=[NIC], releases=[ONE], hosts=["z"]).values()
    assert [(problem["code"], problem["releases"], problem["hosts"]) for problem in unknown["problems"]] == [
        ("unknown-host", [], ["z"])
    ]
    (unmatched,) = baseline(fleet, models=[NIC], label="rack=9").values()
    assert [(problem["code"], problem["hosts"]) for problem in unmatched["problems"]] == [
        ("unknown-host", ["label rack=9"])
    ]
    assert problem(fleet.post("/baseline", json={"models": [NIC]}), 422, "invalid") == [("", "missing-field")]


@pytest.mark.parametrize("detail", ["verdict", "problems", "full", "summary"])
def test_a_label_that_no_host_has_is_an_incompatible_destination(unchanged: TestClient, detail: str) -> None:
    device = {"model": NIC, "release": ONE}
    for others in ([], [{"releases": [ONE]}]):
        question = {"devices": [device], "destinations": [*others, {"label": "rack=9"}], "detail": detail}
        *_, unmatched = unchanged.post("/compatibility", json=question).raise_for_status().json()["results"]
        if detail == "summary":
            assert unmatched["impossible"] == 1
            assert [reason["code"] for reason in unmatched["reasons"]] == ["unknown-host"]
            continue
        assert (unmatched["destination"], unmatched["compatible"]) == ("label rack=9", False)
        if detail != "verdict":
            (device_result,) = unmatched["devices"]
            assert "No registered host meets the label conditions rack=9." in [
                problem["message"] for problem in device_result["problems"]
            ]


def test_every_member_accepts_the_baseline(unchanged: TestClient) -> None:
    (model_baseline,) = baseline(unchanged, models=[NIC], releases=[TWO, ONE, THREE]).values()
    device = {"model": NIC, "values": model_baseline["values"], "complete": True}
    question = {"devices": [device], "destinations": [{"releases": [release]} for release in (ONE, TWO, THREE)]}
    results = unchanged.post("/compatibility", json={**question, "policy": "permissive"}).json()["results"]
    assert all(result["compatible"] for result in results)


def diff(registry: TestClient, before: str, after: str, **more: Any) -> Any:
    response = registry.get("/diff", params={"from": before, "to": after, **more})
    assert response.status_code == 200, response.text
    Diff.model_validate_json(response.content, extra="forbid")
    return response.json()


def test_the_difference_of_releases_and_difference(unchanged: TestClient) -> None:
    answer = diff(unchanged, ONE, THREE)
    assert (answer["from"], answer["to"]) == (ONE, THREE)
    feature, queues = answer["models"][NIC]
    assert (feature["variable"], feature["change"], feature["closes"]) == ("feature", "added", {"backward": "in-part"})
    assert feature["to"]["init_value"] is True
    assert "from" not in feature
    assert queues == {
        "variable": "num-queues",
        "change": "changed",
        "from": {"allowed_values": ["1-8"]},
        "to": {"allowed_values": ["1-4"]},
        "message": "num-queues allows 1-4, not 1-8.",
        "closes": {"forward": "in-part"},
    }
    assert diff(unchanged, ONE, ONE)["models"] == {}
    assert diff(unchanged, ONE, THREE, model=GFX)["models"] == {}
    problem(
        unchanged.get("/diff", params={"from": ONE, "to": THREE, "model": "vendor-a.com/none"}), 404, "unknown-model"
    )
    ((difference,),) = diff(unchanged, P, Q)["models"].values()
    assert (difference["variable"], difference["from"], difference["to"]) == ("feature", False, True)
    gone = diff(unchanged, ONE, f"{GFX}/gfx-4GB@1")["models"]
    assert [(difference["variable"], difference["change"]) for difference in gone[NIC]] == [(None, "removed")]


@pytest.mark.parametrize(
    ("before", "after", "status", "code"),
    [
        (ONE, P, 422, "invalid"),
        (ONE, f"{FIRMWARE}@9", 404, "unknown-release"),
        ("vendor-a.com/none", P, 404, "unknown-profile"),
        ("nonsense", P, 404, "unknown-profile"),
    ],
)
def test_what_cannot_be_compared(unchanged: TestClient, before: str, after: str, status: int, code: str) -> None:
    problem(unchanged.get("/diff", params={"from": before, "to": after}), status, code)


def test_the_support_matrix_in_json_and_csv(unchanged: TestClient) -> None:
    response = unchanged.get("/support-matrix", params={"implementation": FIRMWARE})
    SupportMatrix.model_validate_json(response.content, extra="forbid")
    matrix = response.json()
    assert matrix["releases"] == [TWO, ONE, THREE]
    cells = {(row["profile"], cell["release"]): cell for row in matrix["rows"] for cell in row["cells"]}
    assert {pair: cell["compatible"] for pair, cell in cells.items()} == {
        (Q, TWO): True,
        (Q, ONE): False,
        (Q, THREE): True,
        (P, TWO): True,
        (P, ONE): True,
        (P, THREE): True,
    }
    assert [problem["code"] for problem in cells[Q, ONE]["problems"]] == [
        "profile-not-listed",
        "variable-not-supported",
    ]
    only = unchanged.get("/support-matrix", params={"profile": P, "model": [NIC]}).json()
    assert [row["profile"] for row in only["rows"]] == [P]
    text = unchanged.get("/support-matrix", params={"implementation": FIRMWARE}, headers={"Accept": "text/csv"})
    assert text.headers["content-type"].startswith("text/csv")
    header, first, second = csv.reader(io.StringIO(text.text))
    assert header == ["profile", TWO, ONE, THREE]
    assert second == [P, "yes", "yes", "yes"]
    assert first[2].startswith(f"no 0/1: {ONE} does not list {Q} among the profiles that it supports. (and 1 more)")
    for accept, kind in (
        ("Text/CSV", "text/csv"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("application/json;q=0.5, text/csv", "text/csv"),
        ("text/csv;q=nan, */*", "application/json"),
        ("image/png", "application/json"),
        ("", "application/json"),
    ):
        answer = unchanged.get("/support-matrix", headers={"Accept": accept})
        assert answer.headers["content-type"].startswith(kind), accept


RACK: dict[str, Any] = {
    "a-1": {"releases": [TWO], "labels": {"rack": "r1"}},
    "a-2": {"releases": [TWO], "labels": {"rack": "r1", "draining": "yes"}},
    "b-1": {"releases": [ONE, THREE], "labels": {"rack": "r1"}},
    "c-1": {"releases": [THREE], "restrict": {NIC: {"feature": [False]}}, "labels": {"rack": "r2"}},
    "d-1": {"releases": [f"{GFX}/gfx-4GB@1"], "units": [{"id": "card0", "releases": [ONE]}]},
}


@pytest.fixture
def rack(fleet: TestClient) -> TestClient:
    """Return a registry with hosts of four kinds."""
    for name, document in RACK.items():
        assert fleet.put(f"/hosts/{name}", json=document).is_success
    return fleet


def matrix_of_hosts(registry: TestClient, **parameters: Any) -> Any:
    response = registry.get("/support-matrix", params=parameters)
    assert response.status_code == 200, response.text
    SupportMatrix.model_validate_json(response.content, extra="forbid")
    return response.json()


def test_the_columns_of_a_matrix_can_be_kinds_of_hosts(rack: TestClient) -> None:
    matrix = matrix_of_hosts(rack, label=["rack=r1", "!draining"], host=["c-1", "d-1", "a-2", "c-1"])
    assert matrix["releases"] == []
    # First the hosts that are named; each counts once.
    assert [(kind["examples"], kind["count"], kind["releases"]) for kind in matrix["kinds"]] == [
        (["c-1"], 1, [THREE]),
        (["d-1"], 1, [f"{GFX}/gfx-4GB@1", ONE]),
        (["a-2", "a-1"], 2, [TWO]),
        (["b-1"], 1, [ONE, THREE]),
    ]
    digests = [rack.get(f"/hosts/{host}").json()["kind"] for host in ("c-1", "d-1", "a-1", "b-1")]
    assert [kind["kind"] for kind in matrix["kinds"]] == digests
    rows = {row["profile"]: row["cells"] for row in matrix["rows"]}
    assert [cell["kind"] for cell in rows[Q]] == digests
    assert {name: [cell["compatible"] for cell in cells] for name, cells in rows.items()} == {
        P: [True, True, True, True],
        # c-1 does not allow the feature, and the card of d-1 does not have it.
        Q: [False, False, True, True],
    }
    assert [problem["code"] for problem in rows[Q][0]["problems"]] == ["value-not-allowed"]
    assert all("release" not in cell for cells in rows.values() for cell in cells)


@pytest.mark.parametrize("host", RACK)
def test_a_cell_of_a_kind_is_the_answer_to_the_question(rack: TestClient, host: str) -> None:
    for profile in (P, Q):
        ((cell,),) = [row["cells"] for row in matrix_of_hosts(rack, host=host, profile=profile, model=NIC)["rows"]]
        device = {"model": NIC, "profile": profile}
        (result,) = rack.post("/compatibility", json={"devices": [device], "destinations": [{"host": host}]}).json()[
            "results"
        ]
        assert cell["compatible"] == result["compatible"]
        codes = [sorted(one["code"] for one in answer["problems"]) for answer in (cell, result["devices"][0])]
        assert codes[0] == codes[1]


def test_unknown_hosts_and_selections_that_no_host_meets_are_refused_in_every_row(rack: TestClient) -> None:
    matrix = matrix_of_hosts(rack, host=["z", "a-1"], label=["rack=r9", "!draining"], profile=P)
    assert [(kind["kind"] is None, kind["count"], kind["examples"]) for kind in matrix["kinds"]] == [
        (True, 1, ["z"]),
        (False, 1, ["a-1"]),
        (True, 1, ["label rack=r9 and !draining"]),
    ]
    (row,) = matrix["rows"]
    assert [(cell["compatible"], [problem["code"] for problem in cell["problems"]]) for cell in row["cells"]] == [
        (False, ["unknown-host"]),
        (True, []),
        (False, ["unknown-host"]),
    ]
    assert row["cells"][0]["kind"] is None
    header, cells = csv.reader(
        io.StringIO(
            rack.get(
                "/support-matrix",
                params={"host": ["z", "a-1", "a-2"], "profile": P},
                headers={"Accept": "text/csv"},
            ).text
        )
    )
    digest = rack.get("/hosts/a-1").json()["kind"]
    assert header == ["profile", "No host z is registered.", f"{digest} (2 hosts: a-1, …)"]
    assert cells == [P, "no 0/1: No host z is registered.", "yes"]


def test_what_a_matrix_of_hosts_refuses(rack: TestClient) -> None:
    both = rack.get("/support-matrix", params={"host": "a-1", "implementation": FIRMWARE})
    assert problem(both, 422, "invalid") == [("implementation", "invalid-value")]
    assert problem(rack.get("/support-matrix", params={"label": "=r1"}), 422, "invalid")
    problem(rack.get("/support-matrix", params={"host": "a-1", "model": "vendor-a.com/none"}), 404, "unknown-model")
    # Each host that is not registered is a column of its own.
    for number in range(40):
        profile = {"name": f"vendor-a.com/p{number}", "values": {NIC: {}}}
        assert rack.post("/profiles", json=profile).is_success
    many = [f"{number:x}" for number in range(3_000)]
    refused = problem(rack.get("/support-matrix", params={"host": many}), 422, "invalid")
    assert refused == [("", "limit-exceeded")]


def test_a_matrix_of_hosts_changes_with_the_hosts_and_has_an_etag(rack: TestClient) -> None:
    parameters = {"label": "rack=r2", "profile": Q}
    first = rack.get("/support-matrix", params=parameters)
    etag = {"If-None-Match": first.headers["ETag"]}
    assert rack.get("/support-matrix", params=parameters, headers=etag).status_code == 304
    assert not first.json()["rows"][0]["cells"][0]["compatible"]
    assert rack.put("/hosts/c-1", json={**RACK["c-1"], "restrict": {}}).is_success
    second = rack.get("/support-matrix", params=parameters, headers=etag)
    assert second.status_code == 200
    assert second.json()["rows"][0]["cells"][0]["compatible"]
    # What a release or a profile becomes counts at once, too.
    assert rack.patch(f"/profiles/{Q}", json={"state": "retired"}).is_success
    (cell,) = rack.get("/support-matrix", params=parameters).json()["rows"][0]["cells"]
    assert [problem["code"] for problem in cell["problems"]] == ["profile-retired"]


def ask(registry: TestClient, **more: Any) -> Any:
    parameters = {"model": NIC, **more}
    response = registry.get("/compatibility", params=parameters)
    assert response.status_code == 200, response.text
    Answer.model_validate_json(response.content, extra="forbid")
    ((device,),) = [result["devices"] for result in response.json()["results"]]
    return device


def test_a_remedy_is_offered_and_works(unchanged: TestClient) -> None:
    stuck = ask(unchanged, source=TWO, destination=ONE, policy="permissive")
    assert stuck["remedies"] == [{"variable": "feature", "from": True, "to": False}]
    assert ask(unchanged, source=TWO, destination=ONE, policy="permissive", value="feature=off")["compatible"]
    assert ask(unchanged, source=TWO, destination=THREE, value="num-queues=8")["remedies"] == []


def test_what_the_orchestrator_applies(unchanged: TestClient) -> None:
    card = ask(unchanged, source=TWO, profile=P, destination=TWO, value="num-queues=3", render="qemu")
    assert card["configuration"] == {"num-queues": 3, "feature": False}
    assert card["arguments"] == ["-device", "my-nic,num-queues=3"]
    # The destination does not list the machine type, so every value has to be given.
    there = ask(unchanged, source=TWO, profile=P, destination=THREE, value="num-queues=3", render="qemu")
    assert there["arguments"] == ["-device", "my-nic,feature=off,num-queues=3"]
    rfc = ask(unchanged, source=TWO, profile=P, destination=TWO, render="vfio-user")
    assert rfc["arguments"] == ["--m-feature=off", "--m-num-queues=2"]
    refused = ask(unchanged, source=TWO, destination=ONE, render="qemu")
    assert refused["arguments"] is None
    assert "arguments" not in ask(unchanged, source=TWO, destination=TWO)
    problem(unchanged.get("/compatibility", params={"model": NIC, "render": "libvirt"}), 422, "invalid")


def test_a_value_that_arguments_cannot_express_is_a_warning(fleet: TestClient) -> None:
    hostile = {"driver": {"type": "str", "init_value": "", "off_value": ""}}
    publish(fleet, "vendor-a.com/evil@1", hostile, model="vendor-a.com/evil-device")
    parameters = {"model": "vendor-a.com/evil-device", "source": "vendor-a.com/evil@1", "value": "driver=e1000"}
    response = fleet.get("/compatibility", params={**parameters, "render": "qemu"})
    Answer.model_validate_json(response.content, extra="forbid")
    (device,) = response.json()["results"][0]["devices"]
    assert (device["compatible"], device["arguments"]) == (True, None)
    assert "not-renderable" in {warning["code"] for warning in device["warnings"]}


def test_a_matrix_refuses_unknown_names(unchanged: TestClient) -> None:
    for field in ("profile", "model", "implementation"):
        problem(unchanged.get("/support-matrix", params={field: "vendor-a.com/none"}), 404, f"unknown-{field}")


def test_a_backend_variable_closes_no_direction_between_profiles(registry: TestClient) -> None:
    vendor(registry)
    backend = {"type": "str", "init_value": "", "scope": "backend"}
    profiles = [{"name": name, "values": {NIC: {"netdev": value}}} for name, value in ((P, "tap0"), (Q, "tap1"))]
    assert publish(registry, ONE, {"netdev": backend}, profiles=profiles).status_code == 201
    ((difference,),) = diff(registry, P, Q)["models"].values()
    assert difference["closes"] == {}


def test_a_release_states_the_values_in_which_it_differs_from_a_listed_profile(fleet: TestClient) -> None:
    variables = {"num-queues": QUEUES, "feature": LIVE}
    own = {P: {NIC: {"feature": "on"}}}
    four = f"{FIRMWARE}@4"
    assert publish(fleet, four, variables, profiles=[P], own_values=own).json()["added"]["own_values"] == 1
    assert publish(fleet, four, variables, profiles=[P], own_values=own).status_code == 200
    assert publish(fleet, four, variables).status_code == 200
    assert fleet.get(f"/releases/{four}", params={"own_values": True}).json()["own_values"] == {
        P: {NIC: {"feature": True}}
    }
    assert "own_values" not in fleet.get(f"/releases/{four}").json()
    # The profile has it off, so it stays off after the migration; the arguments have to say so.
    card = ask(fleet, source=TWO, profile=P, destination=four, render="qemu")
    assert card["configuration"] == {"num-queues": 2, "feature": False}
    assert card["arguments"] == ["-device", "my-nic,feature=off"]
    changed = publish(fleet, four, variables, own_values={P: {NIC: {"feature": False}}})
    assert problem(changed, 409, "entry-changed") == [
        ("/own_values/vendor-a.com~1p/vendor-a.com~1my-nic", "entry-changed")
    ]
    before = fleet.get(f"/releases/{four}").json()["digest"]
    more = publish(fleet, four, variables, profiles=[Q], own_values={Q: {NIC: {"num-queues": 4}}})
    assert (more.status_code, more.json()["added"]["own_values"]) == (201, 1)
    assert fleet.get(f"/releases/{four}").json()["digest"] != before


def test_own_values_are_checked_all_at_once(fleet: TestClient) -> None:
    mac = {"type": "str", "init_value": "", "scope": "instance"}
    own = {
        P: {NIC: {"feature": 7, "none": 1, "mac": "x", "num-queues": None}, GFX: {}},
        Q: {NIC: {"feature": True}},
    }
    refused = publish(
        fleet, f"{FIRMWARE}@4", {"feature": LIVE, "num-queues": QUEUES, "mac": mac}, profiles=[P], own_values=own
    )
    nic = "/own_values/vendor-a.com~1p/vendor-a.com~1my-nic"
    assert sorted(problem(refused, 422, "invalid")) == [
        ("/own_values/vendor-a.com~1p/vendor-a.com~1gfx", "unknown-model"),
        (f"{nic}/feature", "invalid-value"),
        (f"{nic}/mac", "wrong-scope"),
        (f"{nic}/none", "unknown-variable"),
        (f"{nic}/num-queues", "wrong-type"),
        ("/own_values/vendor-a.com~1q", "unknown-profile"),
    ]


def test_a_large_answer_is_streamed_and_has_the_same_content(
    unchanged: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = {"model": NIC, "release": TWO, "values": {"feature": True}}
    destinations = [{"id": f'"{place}', "releases": [ONE if place % 3 else TWO]} for place in range(50)]
    question = {"vms": [{"devices": [card]}, {"devices": [card, card]}], "destinations": destinations}
    whole = unchanged.post("/compatibility", json=question)
    assert "content-length" in whole.headers
    for size in (1, 5_000, 40_000):
        monkeypatch.setattr("app.api.compatibility._PIECE_BYTES", size)
        piecewise = unchanged.post("/compatibility", json=question)
        assert "content-length" not in piecewise.headers
        assert piecewise.json() == whole.json()
