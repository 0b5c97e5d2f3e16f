"""What somebody without a token learns of a release is what a dry run answers its vendor."""

import json
from functools import partial
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.domain.values.name import ReleaseName
from app.service import trial
from app.service.document import broken_document
from app.service.publication import publication_document
from app.service.trial import Trial
from tests.api.stories import FEATURE, FIRMWARE, NIC, QUEUES, vendor
from tests.conftest import shared_registry

P, HEIR, SMALL = "vendor-a.com/p", "vendor-a.com/heir", "vendor-a.com/small"
GPU, NEW = "vendor-a.com/gpu", "vendor-a.com/new"
ONE, TWO, THREE = (f"{FIRMWARE}@{version}" for version in ("1", "2", "3"))
STRICT = "vendor-a.com/strict"
STATED = {"num-queues": QUEUES, "feature": FEATURE}
FEWER = {**QUEUES, "allowed_values": ["1-4"]}


def models(queues: Any = QUEUES, *, gpu: bool = True, **more: Any) -> dict[str, Any]:
    """Return the models of a release."""
    card = {"variables": {"num-queues": queues, "feature": FEATURE}, "saved_state": {"writes": 1, "reads": [1]}, **more}
    return {NIC: card, **({GPU: {"variables": {}}} if gpu else {})}


def fill(registry: TestClient) -> None:
    """Publish two releases of a product, one of a product with the strictest gate, and profiles that inherit."""
    vendor(registry)
    profiles = [
        {"name": P, "values": {NIC: {"num-queues": 8}}},
        {"name": HEIR, "extends": P, "values": {}},
        {"name": SMALL, "values": {NIC: {}, GPU: {}}},
    ]
    own = {P: {NIC: {"num-queues": 4}}}
    first = {"models": models(), "profiles": profiles, "own_values": own}
    assert registry.put(f"/releases/{ONE}", json=first).status_code == 201
    second = {"models": models(), "profiles": [P, SMALL], "own_values": own}
    assert registry.put(f"/releases/{TWO}", json=second).status_code == 201
    assert registry.put(f"/implementations/{STRICT}", json={"evolution": "full", "transitive": True}).is_success
    assert registry.put(f"/releases/{STRICT}@1", json={"models": models(FEWER)}).status_code == 201
    assert registry.put(f"/releases/{STRICT}@2", json={"models": models(FEWER)}).status_code == 201


unchanged = shared_registry(fill)

PASSING: dict[str, tuple[str, dict[str, Any]]] = {
    "a version after the last": (THREE, {"models": models(), "profiles": [P, HEIR, SMALL]}),
    "a version before the first": (f"{FIRMWARE}@0.5", {"models": models(FEWER, gpu=False)}),
    "the first of a product": ("vendor-a.com/other@1", {"models": models(), "profiles": [SMALL]}),
    "the same again": (TWO, {"models": models(), "profiles": [P, SMALL], "own_values": {P: {NIC: {"num-queues": 4}}}}),
    "a model more": (TWO, {"models": {NEW: {"variables": {"v": {"type": "int", "init_value": 1, "off_value": 0}}}}}),
    "a profile more": (
        TWO,
        {"models": {}, "profiles": [{"name": "vendor-a.com/q", "values": {NIC: {"feature": True}}}]},
    ),
    "fewer profiles, and other own values": (THREE, {"models": models(), "profiles": [P], "own_values": {}}),
    "own values of a new profile": (
        THREE,
        {
            "models": models(),
            "profiles": [P, {"name": "vendor-a.com/q", "extends": P, "values": {NIC: {"feature": True}}}],
            "own_values": {P: {NIC: {"num-queues": 2}}, "vendor-a.com/q": {NIC: {"num-queues": 2}}},
        },
    ),
    "aliases": (THREE, {"models": models(), "profiles": [P], "aliases": {"vendor-a.com/latest": P}}),
    "a state that it cannot read": (THREE, {"models": models(saved_state={"writes": 2, "reads": [2]})}),
    "a profile that gains a model": (
        THREE,
        {"models": models(), "profiles": [{"name": P, "values": {NIC: {"num-queues": 8}, GPU: {}}}]},
    ),
    "a listed profile that is accepted in part": (
        THREE,
        {
            "models": models(),
            "profiles": [{"name": "vendor-a.com/q", "values": {GPU: {}, NIC: {"num-queues": 8}}}],
        },
    ),
}
BREAKING: dict[str, tuple[str, dict[str, Any]]] = {
    "fewer values": (THREE, {"models": models(FEWER)}),
    "a model less": (THREE, {"models": models(gpu=False)}),
    "a set less of a model that a profile and its heirs gain": (
        THREE,
        {
            "models": models(gpu=False),
            "profiles": [{"name": P, "values": {NIC: {"num-queues": 8}, GPU: {}}}],
        },
    ),
    "a new profile that the versions before refuse": (
        f"{STRICT}@3",
        {"models": models(), "profiles": [{"name": "vendor-a.com/q", "values": {NIC: {"num-queues": 7}}}]},
    ),
    "a new profile that is retired": (
        f"{STRICT}@3",
        {
            "models": models(),
            "profiles": [{"name": "vendor-a.com/q", "values": {NIC: {"num-queues": 7}}, "state": "retired"}],
        },
    ),
}
FAULTY: dict[str, tuple[str, dict[str, Any]]] = {
    "several faults": (THREE, {"models": {NIC: {"variables": {"a b": 1, "c": {"type": "int"}}}}, "profiles": ["x"]}),
    "a redefinition": (THREE, {"models": {NIC: {"variables": {"num-queues": {"type": "str", "init_value": ""}}}}}),
    "a change of what is published": (TWO, {"models": models(FEWER)}),
    "a profile that nobody accepts": (
        THREE,
        {"models": models(), "profiles": [{"name": "vendor-a.com/q", "values": {NIC: {"num-queues": 99}}}]},
    ),
    "a model of another vendor": (THREE, {"models": {"vendor-x.com/none": {"variables": {}}}}),
    "an envelope that nobody signed": (THREE, {"payloadType": "x", "payload": "e30=", "signatures": []}),
}


def as_json(content: Any) -> Any:
    """Return content as a client receives it."""
    return json.loads(json.dumps(content))


def tried(registry: TestClient, release: str, document: Any) -> Trial:
    """Try a release as somebody without a token does."""
    catalog = registry.app.state.container.catalog  # type: ignore[attr-defined]
    found: Trial = catalog.ask(partial(trial.of_release, ReleaseName.parse(release), document))
    return found


@pytest.mark.parametrize("case", PASSING)
def test_a_trial_says_what_a_dry_run_answers(unchanged: TestClient, case: str) -> None:
    release, document = PASSING[case]
    answer = unchanged.put(f"/releases/{release}", json=document, params={"dry_run": True})
    assert answer.is_success, answer.text
    found = tried(unchanged, release, document)
    assert found.outcome is not None, found.faults
    assert as_json(publication_document(release, found.outcome, dry_run=True)) == answer.json()


@pytest.mark.parametrize("case", BREAKING)
def test_a_trial_breaks_what_the_gate_refuses(unchanged: TestClient, case: str) -> None:
    release, document = BREAKING[case]
    answer = unchanged.put(f"/releases/{release}", json=document, params={"dry_run": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "evolution-gate"), answer.text
    outcome = tried(unchanged, release, document).outcome
    assert outcome is not None

    def by_name(entries: Any) -> Any:
        return sorted(entries, key=lambda entry: (entry["profile"], entry["model"], entry["refused_by"]))

    assert by_name(as_json([broken_document(entry) for entry in outcome.breaks])) == by_name(answer.json()["broken"])
    overridden = unchanged.put(f"/releases/{release}", json=document, params={"dry_run": True, "override": "why"})
    given = as_json(publication_document(release, outcome, dry_run=True))
    gate = {"breaks", "breaks_count", "overridden", "overridden_count"}
    assert {field: given[field] for field in given.keys() - gate} == {
        field: content for field, content in overridden.json().items() if field not in gate
    }


@pytest.mark.parametrize("case", FAULTY)
def test_a_trial_has_the_faults_of_a_dry_run(unchanged: TestClient, case: str) -> None:
    release, document = FAULTY[case]
    answer = unchanged.put(f"/releases/{release}", json=document, params={"dry_run": True})
    assert answer.status_code in {409, 422}
    found = tried(unchanged, release, document)
    assert found.outcome is None
    assert found.is_conflict is (answer.status_code == 409)
    assert [
        {"pointer": fault.pointer, "code": fault.code.value, "message": fault.message} for fault in found.faults
    ] == answer.json()["faults"]


def test_a_trial_needs_no_vendor_and_no_signature_and_names_both(registry: TestClient) -> None:
    vendor(registry)
    assert registry.put("/vendors/vendor-a.com", json={"signed": True}).is_success
    found = tried(registry, ONE, {"models": models()})
    assert found.outcome is not None
    assert (found.unregistered, found.unsigned) == ([], ["vendor-a.com"])
    found = tried(registry, "vendor-x.com/fw@1", {"models": {"vendor-x.com/nic": {"variables": {}}}, "state": "draft"})
    assert found.outcome is not None
    assert (found.unregistered, found.unsigned, found.is_draft) == (["vendor-x.com"], [], True)
    assert registry.get("/releases").json()["items"] == []
