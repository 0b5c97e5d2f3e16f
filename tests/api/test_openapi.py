"""The OpenAPI document is true: fuzzed, with its errors listed and its examples real."""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.api.examples import PARAMETERS
from app.cli.client import Registry as CommandLineRegistry
from app.cli.demonstration import publish_sample
from app.client import Registry
from app.settings import ClientSettings
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


def test_every_field_and_every_parameter_is_described() -> None:
    document = _document()
    schemas = document["components"]["schemas"]
    fields = {
        f"{name}.{field}": each
        for name, schema in schemas.items()
        for field, each in schema.get("properties", {}).items()
    }
    parameters = {
        f"{method} {path} {each['name']}": each
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for each in operation.get("parameters", ())
    }
    assert {name for name, each in {**schemas, **fields, **parameters}.items() if not each.get("description")} == set()


def test_every_error_is_sent_as_it_is_documented() -> None:
    for path, operations in _document()["paths"].items():
        for method, operation in operations.items():
            errors = {status: each for status, each in operation["responses"].items() if status >= "400"}
            assert errors or path == "/healthz"
            for status, each in errors.items():
                assert list(each["content"]) == ["application/problem+json"], (method, path, status)
                assert re.match(r"`[a-z-]+`", each["description"]), (method, path, status)


# What publishes first, what looks after it, what takes away last; within these in the order of the document.
_TURNS = {"put": 0, "post": 1, "get": 2, "patch": 3, "delete": 4}
# A vendor before its releases, those before its profiles.
_FIRST = ["put_vendor", "put_release", "post_variable_set", "post_profile"]
# An id that nobody can know before.
_OF_NO_EXAMPLE = {"revoke_token"}


def test_the_examples_are_true(database_url: str) -> None:
    """The examples of every operation, sent as they are to a registry with the sample, do what they say."""
    operations = [
        (method, path, each)
        for path, operations in _document()["paths"].items()
        for method, each in operations.items()
        if each["operationId"] not in _OF_NO_EXAMPLE
    ]
    operations.sort(
        key=lambda each: (
            _FIRST.index(each[2]["operationId"]) if each[2]["operationId"] in _FIRST else len(_FIRST),
            _TURNS[each[0]],
        )
    )
    wrong = {}
    with served(make_app(database_url)) as address, httpx.Client(base_url=address, headers=AUTHORIZATION) as registry:
        with CommandLineRegistry(ClientSettings(url=address, token=SecretStr(TOKEN))) as client:
            publish_sample(client)
        for method, path, operation in operations:
            for parameters, body in _examples(operation):
                in_path = {name for name in parameters if f"{{{name}}}" in path}
                query = {name: each for name, each in parameters.items() if name not in in_path}
                assert len(in_path) == path.count("{"), f"{method} {path} has no example of its address"
                response = registry.request(method, path.format(**parameters), params=query, json=body)
                if not response.is_success:
                    wrong[method, path] = response.text
                if operation["operationId"] in {"post_compatibility", "get_compatibility"}:
                    assert {code for each in response.json()["results"] for code in _codes(each)} == {
                        "variable-not-supported"
                    }
    assert wrong == {}


def _codes(result: Any) -> list[str]:
    return [problem["code"] for device in result["devices"] for problem in device["problems"]]


def _examples(operation: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Iterate over the parameters and the body of each example of an operation."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    bodies = [each["value"] for each in content.get("examples", {}).values()] or [None]
    assert bodies != [None] or not content, "a body has no example"
    for place, body in enumerate(bodies):
        parameters = {}
        for each in operation.get("parameters", ()):
            told = [example["value"] for example in each.get("examples", {}).values()]
            if told:
                parameters[each["name"]] = told[min(place, len(told) - 1)]
        yield parameters, body


def test_every_example_of_a_parameter_is_one_of_a_parameter() -> None:
    told = {
        (operation["operationId"], each["name"])
        for operations in _document()["paths"].values()
        for operation in operations.values()
        for each in operation.get("parameters", ())
        if "examples" in each
    }
    assert told == {(name, each) for name, parameters in PARAMETERS.items() for each in parameters}


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
