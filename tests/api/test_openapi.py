"""The OpenAPI document is true: requests are fuzzed, errors are listed, and examples work."""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans
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
from app.main import service
from app.settings import ClientSettings, Settings
from app.signing.key import PrivateKey
from tests.api.serving import served
from tests.api.stories import FEATURE, NIC, QUEUES, publish, vendor
from tests.conftest import AUTHORIZATION, NO_LIMITS, TOKEN, fresh_database, make_app
from tests.counts import full

_SNAPSHOT = Path(__file__).with_name("openapi.json")
# FUZZ=400 sends about 50,000 requests, of which half have a token; other ones each time.
_EXAMPLES = int(os.environ.get("FUZZ", full(30, short=6)))
_CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@cache
def _document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return make_app(f"sqlite:///{folder}/none.db").openapi()


_OPERATIONS = [(path, method) for path, operations in _document()["paths"].items() for method in operations]


@cache
def _closed_document() -> dict[str, Any]:
    """Return the document with closed answers, so that a field that is not documented is a failure."""
    document: dict[str, Any] = json.loads(json.dumps(_document()))
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return document


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def documented(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Yield the OpenAPI document of a service with content, loaded by schemathesis.

    What an operation has changed stays for the others: any request gets a documented answer in any state.
    """
    with fresh_database(request.param, request) as database_url:
        # An app of its own, for its document is replaced below.
        app = service(Settings(database_url=database_url, admin_token=SecretStr(TOKEN), **NO_LIMITS))
        with TestClient(app, headers=AUTHORIZATION) as registry:
            vendor(registry)
            profiles = [{"name": "vendor-a.com/p", "values": {NIC: {"num-queues": 8}}}]
            publish(registry, "vendor-a.com/fw@1", {"num-queues": QUEUES, "feature": FEATURE}, profiles=profiles)
        # The same document, which takes longer to make than to test against.
        app.openapi = _closed_document  # type: ignore[method-assign]
        yield schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.long
@pytest.mark.parametrize(("path", "method"), _OPERATIONS)
def test_any_request_gets_a_documented_answer(
    documented: Any, path: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.change._SECOND", 0.0)
    operation = documented[path][method]

    @given(case=operation.as_strategy(), has_token=booleans())
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize="FUZZ" not in os.environ,
    )
    def fuzz(case: Any, *, has_token: bool) -> None:
        case.call_and_validate(headers=AUTHORIZATION if has_token else {}, checks=_CHECKS)

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
        f"{name}.{field}": field_schema
        for name, schema in schemas.items()
        for field, field_schema in schema.get("properties", {}).items()
    }
    parameters = {
        f"{method} {path} {parameter['name']}": parameter
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for parameter in operation.get("parameters", ())
    }
    assert {
        name for name, described in {**schemas, **fields, **parameters}.items() if not described.get("description")
    } == set()


def test_every_error_is_sent_as_it_is_documented() -> None:
    for path, operations in _document()["paths"].items():
        for method, operation in operations.items():
            errors = {status: response for status, response in operation["responses"].items() if status >= "400"}
            assert errors or path == "/healthz"
            for status, response in errors.items():
                assert list(response["content"]) == ["application/problem+json"], (method, path, status)
                assert re.match(r"`[a-z-]+`", response["description"]), (method, path, status)


# Publish first, then read, then delete; otherwise in the order of the document.
_TURNS = {"put": 0, "post": 1, "get": 2, "patch": 3, "delete": 4}
# A vendor comes before its releases, and they come before its profiles.
_FIRST = ["put_vendor", "put_vendor_key", "put_release", "post_variable_set", "post_profile"]
# The id of a token is not known in advance, nor is the OIDC token of a run.
_WITHOUT_EXAMPLE = {"revoke_token", "exchange_token"}


def test_the_examples_are_true(database_url: str) -> None:
    """Send the examples of every operation, unchanged, to a registry with the sample; all succeed."""
    operations = [
        (method, path, operation)
        for path, operations in _document()["paths"].items()
        for method, operation in operations.items()
        if operation["operationId"] not in _WITHOUT_EXAMPLE
    ]
    operations.sort(
        key=lambda entry: (
            _FIRST.index(entry[2]["operationId"]) if entry[2]["operationId"] in _FIRST else len(_FIRST),
            _TURNS[entry[0]],
        )
    )
    wrong = {}
    app = make_app(database_url, signing_key=PrivateKey.create("registry.example").text())
    with served(app) as address, httpx.Client(base_url=address, headers=AUTHORIZATION) as registry:
        with CommandLineRegistry(ClientSettings(url=address, token=SecretStr(TOKEN))) as client:
            publish_sample(client)
        for method, path, operation in operations:
            for parameters, body in _examples(operation):
                in_path = {name for name in parameters if f"{{{name}}}" in path}
                query = {name: value for name, value in parameters.items() if name not in in_path}
                assert len(in_path) == path.count("{"), f"{method} {path} has no example of its path"
                response = registry.request(method, path.format(**parameters), params=query, json=body)
                if not response.is_success:
                    wrong[method, path] = response.text
                if operation["operationId"] in {"post_compatibility", "get_compatibility"}:
                    assert {code for result in response.json()["results"] for code in _codes(result)} == {
                        "variable-not-supported"
                    }
    assert wrong == {}


def _codes(result: Any) -> list[str]:
    return [problem["code"] for device in result["devices"] for problem in device["problems"]]


def _examples(operation: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Iterate over the parameters and the body of each example of an operation."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    bodies = [example["value"] for example in content.get("examples", {}).values()] or [None]
    assert bodies != [None] or not content, "a body has no example"
    for place, body in enumerate(bodies):
        parameters = {}
        for parameter in operation.get("parameters", ()):
            values = [example["value"] for example in parameter.get("examples", {}).values()]
            if values:
                parameters[parameter["name"]] = values[min(place, len(values) - 1)]
        yield parameters, body


def test_every_example_belongs_to_a_parameter_of_the_document() -> None:
    documented = {
        (operation["operationId"], parameter["name"])
        for operations in _document()["paths"].values()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if "examples" in parameter
    }
    assert documented == {(name, parameter) for name, parameters in PARAMETERS.items() for parameter in parameters}


def test_the_docs_load_nothing_from_another_host(registry: TestClient) -> None:
    page = registry.get("/docs")
    assert page.status_code == 200
    addresses = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page.text)
    assert len(addresses) >= 3
    for address in addresses:
        assert address.startswith("/"), address
        assert registry.get(address).status_code == 200


def test_the_document_changes_only_on_purpose() -> None:
    snapshot = json.loads(_SNAPSHOT.read_text())
    assert _document() == snapshot, "if this is intended, run python -m tests.api.test_openapi and review the diff"


def test_a_generated_client_works(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(_SNAPSHOT.read_text())
    folder = tmp_path / "generated_client"
    program = Path(sys.executable).with_name("openapi-python-client")
    options = ["--output-path", str(folder), "--meta", "none", "--fail-on-warning"]
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    subprocess.run([program, "generate", "--path", document, *options], check=True, env=environment)
    monkeypatch.syspath_prepend(tmp_path)
    operation = importlib.import_module("generated_client.api.compatibility.post_compatibility")
    models = importlib.import_module("generated_client.models")
    clients = importlib.import_module("generated_client")
    with served(make_app(database_url)) as address, Registry(address, TOKEN) as registry:
        registry.put("/vendors/vendor-a.com", {})
        registry.put("/releases/vendor-a.com/fw@1", {"models": {NIC: {"variables": {"num-queues": QUEUES}}}})
        device = {"id": "net0", "model": NIC, "release": "vendor-a.com/fw@1", "values": {"num-queues": 9}}
        question = {"devices": [device], "destinations": [{"id": "there", "releases": ["vendor-a.com/fw@1"]}]}
        with clients.Client(address) as client:
            answer = operation.sync(client=client, body=models.Question.from_dict(question))
    (result,) = answer.results
    assert (result.destination, result.compatible) == ("there", False)
    assert [problem.code for problem in result.devices[0].problems] == ["source-value-invalid", "value-not-allowed"]


if __name__ == "__main__":
    _SNAPSHOT.write_text(json.dumps(_document(), indent=1) + "\n")
