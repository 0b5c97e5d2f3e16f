"""A vendor publishes releases, variable sets and profiles; they never change, but more can be added."""

import json
from hashlib import sha256
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES, problem, publish, vendor

RELEASE = f"{FIRMWARE}@1"
P = "vendor-a.com/nic-1"


def added(body: dict[str, Any]) -> dict[str, int]:
    return {kind: count for kind, count in body["added"].items() if count}


def test_a_vendor_is_registered_once(registry: TestClient) -> None:
    assert registry.put("/vendors/vendor-a.com", json={"name": "Vendor A"}).status_code == 201
    assert registry.put("/vendors/vendor-a.com", json={"name": "Vendor A"}).status_code == 200
    assert registry.put("/vendors/vendor-a.com", json={}).status_code == 200
    assert registry.put("/vendors/vendor-a.com", json={"url": "https://vendor-a.com"}).status_code == 201
    changed = registry.put("/vendors/vendor-a.com", json={"name": "Another", "url": "https://other.com"})
    assert problem(changed, 409, "entry-changed") == [("/name", "entry-changed"), ("/url", "entry-changed")]
    assert registry.get("/vendors/vendor-a.com").json() == {
        "vendor": "vendor-a.com",
        "name": "Vendor A",
        "url": "https://vendor-a.com",
        "signed": False,
    }


def test_a_release_is_published_with_its_profiles(registry: TestClient) -> None:
    vendor(registry)
    profiles = [{"name": P, "values": {NIC: {"num-queues": 8}}}]
    response = publish(registry, RELEASE, {"num-queues": QUEUES}, profiles=profiles)
    assert response.status_code == 201
    assert added(response.json()) == {
        "releases": 1,
        "models": 1,
        "release_models": 1,
        "variables": 1,
        "off_values": 1,
        "profiles": 1,
        "profile_models": 1,
        "profile_lists": 1,
        "listed_profiles": 1,
    }
    again = publish(registry, RELEASE, {"num-queues": QUEUES}, profiles=[P])
    assert (again.status_code, added(again.json())) == (200, {})

    release = registry.get(f"/releases/{RELEASE}").json()
    assert (release["release"], release["implementation"], release["version"]) == (RELEASE, FIRMWARE, "1")
    assert (release["state"], release["profiles"]) == ("published", [P])
    digest = release["models"][0]["digest"]
    assert release["models"] == [{"model": NIC, "digest": digest}]
    stored = registry.get(f"/variable-sets/{digest}")
    assert "immutable" in stored.headers["cache-control"]
    document = stored.json()
    assert document.pop("digest") == digest
    canonical = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert digest == f"sha256:{sha256(canonical.encode()).hexdigest()}"
    assert registry.get(f"/models/{NIC}").json() == {
        "model": NIC,
        "vendor": "vendor-a.com",
        "releases": [RELEASE],
        "variables": {"num-queues": {"type": "int", "off_value": 1}},
        "other_variables": {},
    }


def test_the_migration_information_of_the_rfc_is_a_release(registry: TestClient) -> None:
    vendor(registry)
    document = {"models": {NIC: {"params": {"num-queues": {**QUEUES, "init_value": "4"}}}}}
    assert registry.put(f"/releases/{RELEASE}", json=document).status_code == 201
    assert publish(registry, RELEASE, {"num-queues": QUEUES}).status_code == 200


def test_a_release_can_gain_models_and_profiles(registry: TestClient) -> None:
    vendor(registry)
    publish(registry, RELEASE, {"num-queues": QUEUES})
    before = registry.get(f"/releases/{RELEASE}").json()
    assert before["profiles"] is None
    gpu = {"model": "vendor-a.com/gpu", "implementation": FIRMWARE, "version": "1", "variables": {}}
    assert registry.post("/variable-sets", json=gpu).status_code == 201
    assert registry.post("/variable-sets", json=gpu).status_code == 200
    listing = {"models": {}, "profiles": [{"name": P, "values": {NIC: {}, "vendor-a.com/gpu": {}}}]}
    assert registry.put(f"/releases/{RELEASE}", json=listing).status_code == 201
    after = registry.get(f"/releases/{RELEASE}").json()
    assert ([entry["model"] for entry in after["models"]], after["profiles"]) == (["vendor-a.com/gpu", NIC], [P])
    assert after["digest"] != before["digest"]


def test_what_is_published_never_changes(registry: TestClient) -> None:
    vendor(registry)
    publish(registry, RELEASE, {"num-queues": QUEUES}, description="first")
    changed = publish(registry, RELEASE, {"num-queues": {**QUEUES, "allowed_values": ["1-9"]}}, description="second")
    assert sorted(problem(changed, 409, "entry-changed")) == [
        ("/description", "entry-changed"),
        ("/models/vendor-a.com~1my-nic/variables/num-queues", "entry-changed"),
    ]
    assert "allows 1-9" in changed.text
    single = {"model": NIC, "implementation": FIRMWARE, "version": "1", "variables": {}}
    refused = registry.post("/variable-sets", json=single)
    assert problem(refused, 409, "entry-changed") == [("/variables/num-queues", "entry-changed")]
    described = publish(registry, RELEASE, {"num-queues": {**QUEUES, "description": "another"}})
    assert problem(described, 409, "entry-changed") == [("/models/vendor-a.com~1my-nic", "entry-changed")]


def test_a_variable_keeps_its_meaning_in_its_model(registry: TestClient) -> None:
    vendor(registry)
    publish(registry, RELEASE, {"num-queues": QUEUES, "feature": {"type": "bool", "init_value": True}})
    redefined = publish(
        registry,
        f"{FIRMWARE}@2",
        {"num-queues": {**QUEUES, "off_value": 2}, "feature": {"type": "str", "init_value": ""}},
    )
    assert problem(redefined, 409, "variable-redefined") == [
        ("/models/vendor-a.com~1my-nic/variables/num-queues/off_value", "variable-redefined"),
        ("/models/vendor-a.com~1my-nic/variables/feature/type", "variable-redefined"),
    ]
    params = {"models": {NIC: {"params": {"feature": {"type": "int", "init_value": 1}}}}}
    pointers = problem(registry.put(f"/releases/{FIRMWARE}@2", json=params), 409, "variable-redefined")
    assert pointers == [("/models/vendor-a.com~1my-nic/params/feature/type", "variable-redefined")]
    gained = publish(registry, f"{FIRMWARE}@2", {"feature": FEATURE})
    assert added(gained.json())["off_values"] == 1


def test_a_redefinition_is_a_conflict_even_if_profiles_fail_because_of_it(registry: TestClient) -> None:
    vendor(registry)
    profiles = [{"name": P, "values": {NIC: {"num-queues": 8}}}]
    publish(registry, RELEASE, {"num-queues": QUEUES}, profiles=profiles)
    narrower = publish(registry, RELEASE, {"num-queues": {**QUEUES, "allowed_values": ["1-4"]}}, profiles=profiles)
    problem(narrower, 409, "entry-changed")
    text = publish(registry, f"{FIRMWARE}@2", {"num-queues": {"type": "str", "init_value": ""}}, profiles=[P])
    problem(text, 409, "variable-redefined")


def test_publishing_again_is_idempotent_whatever_was_published_since(registry: TestClient) -> None:
    vendor(registry)
    vendor(registry, "vendor-b.com")
    publish(registry, RELEASE, {"num-queues": QUEUES})
    theirs = {"num-queues": QUEUES, "turbo": {"type": "int", "init_value": 0, "off_value": 0}}
    profiles = [{"name": "vendor-b.com/p", "values": {NIC: {"turbo": 3}}}]
    assert publish(registry, "vendor-b.com/clone@1", theirs, profiles=profiles).status_code == 201
    own = {"num-queues": QUEUES, "turbo": {"type": "str", "init_value": "no"}}
    assert publish(registry, f"{FIRMWARE}@2", own).status_code == 201
    assert publish(registry, "vendor-b.com/clone@1", theirs, profiles=profiles).status_code == 200
    assert registry.post("/profiles", json=profiles[0]).status_code == 200


def test_only_its_own_vendor_publishes_a_model_first(registry: TestClient) -> None:
    vendor(registry)
    vendor(registry, "acme.com")
    early = publish(registry, "acme.com/dpu@1", {"num-queues": QUEUES})
    assert problem(early, 422, "invalid") == [("/models/vendor-a.com~1my-nic", "unknown-model")]
    publish(registry, RELEASE, {"num-queues": QUEUES})
    assert publish(registry, "acme.com/dpu@1", {"num-queues": QUEUES, "turbo": FEATURE}).status_code == 201
    model = registry.get(f"/models/{NIC}").json()
    assert model["releases"] == [RELEASE, "acme.com/dpu@1"]
    assert model["other_variables"] == {"acme.com": {"turbo": {"type": "bool", "off_value": False}}}


def test_an_unknown_vendor_cannot_publish(registry: TestClient) -> None:
    problem(publish(registry, RELEASE, {}), 404, "unknown-vendor")
    problem(registry.put(f"/profiles/{P}", json={"values": {}}), 404, "unknown-vendor")


def test_a_refused_publication_leaves_nothing(registry: TestClient) -> None:
    vendor(registry)
    bad = [{"name": P, "values": {NIC: {"num-queues": 99}}}]
    refused = publish(registry, RELEASE, {"num-queues": QUEUES}, profiles=bad)
    faults = problem(refused, 422, "invalid")
    assert ("/profiles/0/values/vendor-a.com~1my-nic", "profile-not-accepted") in faults
    assert registry.get("/releases").json()["items"] == []
    assert registry.get("/models").json()["items"] == []
    assert registry.get("/profiles").json()["items"] == []


def test_all_faults_are_reported_at_once(registry: TestClient) -> None:
    vendor(registry)
    document = {
        "models": {
            NIC: {"variables": {"q": {"type": "int", "init_value": 1.5}, "a b": QUEUES}, "constraints": [{"when": {}}]},
            "nonsense": {"variables": {}},
        },
        "profiles": ["vendor-a.com/unknown", {"name": P, "extends": "vendor-a.com/none", "values": {"x.y/z": {}}}],
        "colour": "blue",
    }
    faults = problem(registry.put(f"/releases/{RELEASE}", json=document), 422, "invalid")
    assert set(faults) >= {
        ("/colour", "unknown-field"),
        ("/models/vendor-a.com~1my-nic/variables/q/init_value", "invalid-value"),
        ("/models/vendor-a.com~1my-nic/variables/a b", "invalid-name"),
        ("/models/vendor-a.com~1my-nic/constraints/0", "missing-field"),
        ("/models/nonsense", "invalid-name"),
        ("/profiles/0", "unknown-profile"),
        ("/profiles/1/extends", "unknown-profile"),
        ("/profiles/1/values/x.y~1z", "unknown-model"),
    }


@pytest.mark.parametrize("again", [False, True])
def test_a_dry_run_says_what_would_happen_and_stores_nothing(registry: TestClient, again: bool) -> None:
    vendor(registry)
    if again:
        publish(registry, RELEASE, {"num-queues": QUEUES})
    document = {"models": {NIC: {"variables": {"num-queues": QUEUES}}}, "profiles": [{"name": P, "values": {NIC: {}}}]}
    dry = registry.put(f"/releases/{RELEASE}", params={"dry_run": True}, json=document)
    assert dry.json()["dry_run"] is True
    assert registry.get("/profiles").json()["items"] == []
    assert len(registry.get("/releases").json()["items"]) == int(again)
    real = registry.put(f"/releases/{RELEASE}", json=document)
    assert (real.status_code, real.json()["added"]) == (dry.status_code, dry.json()["added"])
    for path, body in (
        ("/profiles", {"name": "vendor-a.com/p", "values": {}}),
        ("/variable-sets", {"model": "vendor-a.com/x", "implementation": FIRMWARE, "version": "7", "variables": {}}),
    ):
        assert registry.post(path, params={"dry_run": True}, json=body).status_code == 201
        assert registry.post(path, json=body).status_code == 201
    assert registry.put("/vendors/b.org", params={"dry_run": True}, json={}).status_code == 201
    assert registry.get("/vendors/b.org").status_code == 404


def test_the_answer_lists_the_profiles_that_the_release_does_not_accept(registry: TestClient) -> None:
    vendor(registry)
    models = {NIC: {"variables": {"num-queues": QUEUES}}, "vendor-a.com/gpu": {"variables": {}}}
    profile = {"name": P, "values": {NIC: {"num-queues": 8}, "vendor-a.com/gpu": {}}}
    registry.put(f"/releases/{RELEASE}", json={"models": models, "profiles": [profile]})
    small = {
        NIC: {"variables": {"num-queues": {**QUEUES, "allowed_values": ["1-4"]}}},
        "vendor-a.com/gpu": {"variables": {}},
    }
    document = {"models": small, "profiles": [P]}
    answer = registry.put(f"/releases/{FIRMWARE}@2", json=document, params={"override": "smaller hardware"})
    assert answer.status_code == 201
    refused = answer.json()["not_accepted"]
    assert [(entry["profile"], entry["model"], entry["problems"][0]["code"]) for entry in refused] == [
        (P, NIC, "value-not-allowed")
    ]
    none = publish(registry, f"{FIRMWARE}@3", {"num-queues": {**QUEUES, "allowed_values": ["1-4"]}}, profiles=[P])
    assert problem(none, 422, "invalid") == [("/profiles/0", "profile-not-accepted")]


def test_profiles_extend_one_another(registry: TestClient) -> None:
    vendor(registry)
    publish(registry, RELEASE, {"num-queues": QUEUES, "feature": FEATURE})
    base, child = "vendor-a.com/base", "vendor-a.com/child"
    documents = [
        {"name": child, "extends": base, "values": {NIC: {"num-queues": None, "feature": "on"}}},
        {"name": base, "values": {NIC: {"num-queues": "0x8"}}},
    ]
    assert registry.put(f"/releases/{RELEASE}", json={"models": {}, "profiles": documents}).status_code == 201
    stored = registry.get(f"/profiles/{child}").json()
    assert stored.pop("digest").startswith("sha256:")
    assert stored == {
        "name": child,
        "extends": base,
        "description": None,
        "state": "published",
        "values": {NIC: {"num-queues": None, "feature": True}},
        "signatures": [],
    }
    assert registry.get(f"/profiles/{child}", params={"resolved": True}).json()["values"] == {NIC: {"feature": True}}
    assert registry.get(f"/profiles/{base}").json()["values"] == {NIC: {"num-queues": 8}}
    ring = [{"name": f"vendor-a.com/{a}", "extends": f"vendor-a.com/{b}", "values": {NIC: {}}} for a, b in ("xy", "yx")]
    problem(registry.put(f"/releases/{RELEASE}", json={"models": {}, "profiles": ring}), 422, "invalid")


def test_a_profile_gains_models_and_never_changes(registry: TestClient) -> None:
    vendor(registry)
    models = {NIC: {"variables": {"num-queues": QUEUES}}, "vendor-a.com/gpu": {"variables": {"num-queues": QUEUES}}}
    registry.put(f"/releases/{RELEASE}", json={"models": models})
    registry.post("/profiles", json={"name": P, "values": {NIC: {"num-queues": 8}}})
    child = {"name": "vendor-a.com/child", "extends": P, "values": {}}
    assert registry.post("/profiles", json=child).status_code == 201
    gained = registry.put(f"/profiles/{P}", json={"values": {"vendor-a.com/gpu": {"num-queues": 2}}})
    assert added(gained.json()) == {"profile_models": 1}
    changed = registry.put(f"/profiles/{P}", json={"values": {NIC: {"num-queues": 7}}})
    assert problem(changed, 409, "entry-changed") == [("/values/vendor-a.com~1my-nic", "entry-changed")]
    # A child has the values of its parent from the start; naming the model later would change them.
    named = {**child, "values": {NIC: {"num-queues": 7}}}
    assert problem(registry.post("/profiles", json=named), 409, "entry-changed")
    assert registry.post("/profiles", json={**child, "values": {NIC: {}}}).status_code == 201
    inherited = registry.get("/profiles/vendor-a.com/child", params={"resolved": True}).json()["values"]
    assert inherited == {NIC: {"num-queues": 8}, "vendor-a.com/gpu": {"num-queues": 2}}
    other = registry.put(f"/profiles/{P}", json={"extends": "vendor-a.com/child", "values": {}})
    assert problem(other, 409, "entry-changed") == [("/extends", "entry-changed")]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({NIC: {"nonsense": 1}}, ("/values/vendor-a.com~1my-nic/nonsense", "unknown-variable")),
        ({NIC: {"num-queues": "many"}}, ("/values/vendor-a.com~1my-nic/num-queues", "invalid-value")),
        ({NIC: {"num-queues": 1.0}}, ("/values/vendor-a.com~1my-nic/num-queues", "wrong-type")),
        ({NIC: {"num-queues": 9}}, ("/values/vendor-a.com~1my-nic", "profile-not-accepted")),
        ({NIC: {"mac": "52:54"}}, ("/values/vendor-a.com~1my-nic/mac", "wrong-scope")),
        ({"vendor-a.com/none": {}}, ("/values/vendor-a.com~1none", "unknown-model")),
        ({NIC: 1}, ("/values/vendor-a.com~1my-nic", "wrong-type")),
    ],
)
def test_a_profile_names_only_known_variables_and_accepted_values(
    registry: TestClient, values: dict[str, Any], fault: tuple[str, str]
) -> None:
    vendor(registry)
    publish(registry, RELEASE, {"num-queues": QUEUES, "mac": {"type": "str", "init_value": "", "scope": "instance"}})
    assert problem(registry.put(f"/profiles/{P}", json={"values": values}), 422, "invalid") == [fault]


def test_writing_needs_the_token(registry: TestClient) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
        refused = registry.put("/vendors/vendor-a.com", json={}, headers=headers)
        problem(refused, 401, "unauthorized")
        assert refused.headers["www-authenticate"].startswith("Bearer")
    assert registry.get("/vendors").json()["items"] == []


def test_a_name_that_a_release_states_as_an_alias_is_taken(registry: TestClient) -> None:
    vendor(registry)
    profiles = [{"name": "vendor-a.com/p", "values": {NIC: {}}}]
    aliases = {"vendor-a.com/latest": "vendor-a.com/p", "vendor-a.com/card": NIC}
    assert publish(registry, RELEASE, {"num-queues": QUEUES}, profiles=profiles, aliases=aliases).status_code == 201
    taken = {"name": "vendor-a.com/latest", "values": {NIC: {}}}
    assert problem(registry.post("/profiles", json=taken), 422, "invalid") == [("/name", "duplicate")]
    model = publish(registry, RELEASE, {}, model="vendor-a.com/card")
    assert problem(model, 422, "invalid") == [("/models/vendor-a.com~1card", "duplicate")]
    # The next release can state the same.
    again = publish(registry, f"{FIRMWARE}@2", {"num-queues": QUEUES}, profiles=["vendor-a.com/p"], aliases=aliases)
    assert again.status_code == 201


def test_a_profile_can_have_what_a_block_forbids_because_a_device_can_set_it_otherwise(registry: TestClient) -> None:
    vendor(registry)
    variables = {"master": {"type": "bool", "init_value": False, "off_value": False}}
    blocked = {"variables": variables, "blocks_migration": [{"when": {"master": [False]}, "description": "a peer"}]}
    document = {"models": {NIC: blocked}, "profiles": [{"name": "vendor-a.com/p", "values": {NIC: {}}}]}
    answer = registry.put(f"/releases/{RELEASE}", json=document)
    assert answer.status_code == 201, answer.text
    (refused,) = answer.json()["not_accepted"]
    assert [found["code"] for found in refused["problems"]] == ["not-migratable"]
    assert registry.post("/profiles", json={"name": "vendor-a.com/q", "values": {NIC: {}}}).status_code == 201
    device = {"model": NIC, "release": RELEASE, "profile": "vendor-a.com/p"}
    for values, is_compatible in (({}, False), ({"master": True}, True)):
        question = {"devices": [{**device, "values": values}], "destinations": [{"releases": [RELEASE]}]}
        (result,) = registry.post("/compatibility", json=question).json()["results"]
        assert result["compatible"] is is_compatible


def test_a_dry_run_says_how_the_release_would_differ_from_the_previous_one(registry: TestClient) -> None:
    vendor(registry)
    assert publish(registry, f"{FIRMWARE}@1", {"num-queues": QUEUES}).is_success
    wider = {"num-queues": {**QUEUES, "allowed_values": ["1-16"]}, "new-feature": FEATURE}
    document = {"models": {NIC: {"variables": wider}}}
    foreseen = registry.put(f"/releases/{FIRMWARE}@2?dry_run=true", json=document).json()
    assert [entry["variable"] for entry in foreseen["differences"][NIC]] == ["new-feature", "num-queues"]
    # A draft, which the gate lets pass, is compared, too.
    draft = registry.put(f"/releases/{FIRMWARE}@2?dry_run=true", json={**document, "state": "draft"}).json()
    assert draft["differences"] == foreseen["differences"]
    published = registry.put(f"/releases/{FIRMWARE}@2", json=document).json()
    assert published["differences"] is None
    answer = registry.get("/diff", params={"from": f"{FIRMWARE}@1", "to": f"{FIRMWARE}@2"}).json()
    assert foreseen["differences"] == answer["models"]
    again = registry.put(f"/releases/{FIRMWARE}@2?dry_run=true", json=document).json()
    assert again["differences"] == answer["models"]


def test_a_first_release_differs_from_nothing(registry: TestClient) -> None:
    vendor(registry)
    path = f"/releases/{FIRMWARE}@1?dry_run=true"
    first = registry.put(path, json={"models": {NIC: {"variables": {"num-queues": QUEUES}}}}).json()
    assert (first["previous"], first["differences"]) == (None, None)
