"""The OpenAPI document is true: fuzzed, with its errors listed and its examples real."""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.client import Registry
from tests.api.serving import served
from tests.api.stories import FEATURE, NIC, QUEUES, publish, vendor
from tests.conftest import AUTHORIZATION, TOKEN, make_app

_SNAPSHOT = Path(__file__).with_name("openapi.json")
_CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


def _document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return make_app(f"sqlite:///{folder}/none.db").openapi()


_OPERATIONS = [(path, method) for path, operations in _document()["paths"].items() for method in operations]


@pytest.fixture
def documented(database_url: str) -> Any:
    """Return the OpenAPI document of a service that has something in it, loaded by schemathesis."""
    app = make_app(database_url)
    with TestClient(app, headers=AUTHORIZATION) as registry:
        vendor(registry)
        profiles = [{"name": "vendor-a.com/p", "values": {NIC: {"num-queues": 8}}}]
        publish(registry, "vendor-a.com/fw@1", {"num-queues": QUEUES, "feature": FEATURE}, profiles=profiles)
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.parametrize(("path", "method"), _OPERATIONS)
def test_any_request_gets_a_documented_answer(
    documented: Any, path: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.changes._SECOND", 0.0)
    operation = documented[path][method]

    @given(case=operation.as_strategy())
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    def fuzz(case: Any) -> None:
        case.call_and_validate(headers=AUTHORIZATION, checks=_CHECKS)

    fuzz()


def test_every_operation_is_described() -> None:
    for path, operations in _document()["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)


@pytest.mark.parametrize("shape", ["Device", "VariableDocument", "Destination", "Question", "StoredRelease", "Problem"])
def test_every_field_that_needs_words_has_them(shape: str) -> None:
    schema = _document()["components"]["schemas"][shape]
    assert schema["description"]


_ORDER = [
    ("/vendors/{vendor}", "/vendors/vendor-a.com"),
    ("/releases/{release}", "/releases/vendor-a.com/my-nic-firmware@2024.1"),
    ("/variable-sets", "/variable-sets"),
    ("/profiles", "/profiles"),
    ("/profiles/{name}", "/profiles/vendor-a.com/my-nic-2025"),
    ("/implementations/{implementation}", "/implementations/vendor-a.com/my-nic-firmware"),
    ("/hosts/{host}", "/hosts/host-17"),
    ("/tokens", "/tokens"),
    ("/mirrors/{registry}/changes", "/mirrors/another-registry/changes"),
    ("/baseline", "/baseline"),
    ("/compatibility", "/compatibility"),
]
_QUESTIONS = {"/compatibility", "/baseline", "/mirrors/{registry}/changes"}


def test_the_examples_are_true(registry: TestClient) -> None:
    """The examples, sent as they are and in this order, do what they say."""
    document = _document()["paths"]
    described = {
        path
        for path, operations in document.items()
        if any("requestBody" in each for method, each in operations.items() if method != "patch")
    }
    assert described == {path for path, _ in _ORDER}
    for path, address in _ORDER:
        (method, operation), *_ = [each for each in document[path].items() if "requestBody" in each[1]]
        for each in operation["requestBody"]["content"]["application/json"]["examples"].values():
            response = registry.request(method, address, json=each["value"])
            assert response.status_code == (200 if path in _QUESTIONS else 201), (path, response.text)
    (result,) = response.json()["results"]
    assert result["devices"][0]["configuration"] == {"num-queues": 4, "new-feature": False, "mac": "52:54:00:12:34:56"}


def test_the_docs_make_no_request_to_any_other_host(registry: TestClient) -> None:
    page = registry.get("/docs")
    assert page.status_code == 200
    addresses = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page.text)
    assert len(addresses) >= 3
    for address in addresses:
        assert address.startswith("/"), address
        assert registry.get(address).status_code == 200


def test_the_document_changes_only_on_purpose() -> None:
    kept = json.loads(_SNAPSHOT.read_text())
    assert _document() == kept, "if this is meant: python -m tests.api.test_openapi, and look at the difference"


def test_a_generated_client_works(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(_SNAPSHOT.read_text())
    folder = tmp_path / "generated_client"
    program = Path(sys.executable).with_name("openapi-python-client")
    options = ["--output-path", str(folder), "--meta", "none", "--fail-on-warning"]
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    subprocess.run([program, "generate", "--path", document, *options], check=True, env=environment)
    monkeypatch.syspath_prepend(tmp_path)
    asking = importlib.import_module("generated_client.api.compatibility.post_compatibility")
    models = importlib.import_module("generated_client.models")
    clients = importlib.import_module("generated_client")
    with served(make_app(database_url)) as address, Registry(address, TOKEN) as registry:
        registry.put("/vendors/vendor-a.com", {})
        registry.put("/releases/vendor-a.com/fw@1", {"models": {NIC: {"variables": {"num-queues": QUEUES}}}})
        device = {"id": "net0", "model": NIC, "release": "vendor-a.com/fw@1", "values": {"num-queues": 9}}
        question = {"devices": [device], "destinations": [{"id": "there", "releases": ["vendor-a.com/fw@1"]}]}
        with clients.Client(address) as client:
            answer = asking.sync(client=client, body=models.Question.from_dict(question))
    (result,) = answer.results
    assert (result.destination, result.compatible) == ("there", False)
    assert [each.code for each in result.devices[0].problems] == ["source-value-invalid", "value-not-allowed"]


if __name__ == "__main__":
    _SNAPSHOT.write_text(json.dumps(_document(), indent=1) + "\n")
