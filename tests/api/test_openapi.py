"""The OpenAPI document is true: requests are fuzzed, errors are listed, and examples work."""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans
from pydantic import SecretStr, ValidationError
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app import VERSION
from app.api.documentation import ANSWERS
from app.api.error_code import ErrorCode
from app.api.examples import PARAMETERS
from app.client import Registry
from app.domain.fleet.member import BaselineCode
from app.domain.values.document import FaultCode
from app.domain.verdict.problem import ProblemCode, WarningCode
from app.main import service
from app.settings import Settings
from tests.api import recorder
from tests.api.recorder import record, responses, written
from tests.api.serving import served
from tests.api.stories import FEATURE, NIC, QUEUES, publish, vendor
from tests.conftest import AUTHORIZATION, NO_LIMITS, TOKEN, fresh_database, make_app
from tests.counts import full

_SNAPSHOT = Path(__file__).with_name("openapi.json")
_ROOT = Path(__file__).parents[2]
# FUZZ=400 sends about 50,000 requests, of which half have a token; other ones each time.
_EXAMPLES = int(os.environ.get("FUZZ", full(30, short=6)))
_CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@cache
def _document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return make_app(f"sqlite:///{folder}/none.db").openapi()


_BY_ID = recorder.operations(_document())
_OPERATIONS = [(path, method) for path, operations in _document()["paths"].items() for method in operations]


@cache
def _closed_document() -> dict[str, Any]:
    """Return the document with closed answers, so that a field that is not documented is a failure."""
    document: dict[str, Any] = json.loads(json.dumps(_document()))
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    for operations in document["paths"].values():
        for operation in operations.values():
            # It would allow any status.
            del operation["responses"]["default"]
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
            described = responses(_document(), operation)
            errors = {status: response for status, response in described.items() if status >= "400"}
            assert errors.pop("default")["content"]["application/problem+json"]["examples"]
            assert errors or path == "/healthz"
            for status, response in errors.items():
                assert list(response["content"]) == ["application/problem+json"], (method, path, status)
                assert re.match(r"`[a-z-]+`", response["description"]), (method, path, status)


def test_the_examples_are_true_and_so_are_their_answers(database_url: str) -> None:
    """Send the examples of every operation, unchanged, to a registry with the sample; all succeed."""
    recorded = written(record(database_url, _document()))
    assert recorded == ANSWERS.read_text(encoding="utf-8"), (
        "if this is intended, run python -m tests.api.recorder, then python -m tests.api.test_openapi, and review both"
    )


def test_the_examples_of_questions_show_a_refusal() -> None:
    for operation in (_BY_ID["post_compatibility"], _BY_ID["get_compatibility"]):
        (example,) = operation.described["responses"]["200"]["content"]["application/json"]["examples"].values()
        results = example["value"]["results"]
        codes = {
            problem["code"] for result in results for device in result["devices"] for problem in device["problems"]
        }
        assert codes == {"variable-not-supported"}


def _contents() -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Iterate over what operations answer with: their ids, statuses, media types and contents."""
    for operation in _BY_ID.values():
        for status, response in operation.described["responses"].items():
            for media_type, content in response.get("content", {}).items():
                yield operation.id, status, media_type, content


def test_every_answer_has_an_example() -> None:
    assert [place[:3] for place in _contents() if not place[3].get("examples")] == []
    for operation in _BY_ID.values():
        # Nothing is sent with these.
        empty = {status for status, response in operation.described["responses"].items() if "content" not in response}
        assert empty <= {"204", "304"}, operation.id


def test_every_example_of_an_answer_fits_its_schema() -> None:
    document = _closed_document()
    wrong = {}
    for operation, status, media_type, content in _contents():
        schema = {**content["schema"], "components": document["components"]}
        validator = jsonschema_rs.validator_for(schema)
        for name, example in content["examples"].items():
            faults = [fault.message[:300] for fault in validator.iter_errors(example["value"])]
            if faults:
                wrong[operation, status, media_type, name] = faults
    assert wrong == {}


def _codes_of(text: str) -> set[str]:
    """Return the codes that a text names; the fields of an error that it names are none."""
    return set(re.findall(r"`([a-z-]+)`", text)) - {"cause", "broken", "code"}


def test_every_error_of_an_operation_has_an_example_by_its_code() -> None:
    for operation in _BY_ID.values():
        for status, response in operation.described["responses"].items():
            if status >= "400" and status != "default":
                recorded = response["content"]["application/problem+json"]["examples"]
                assert set(recorded) == _codes_of(response["description"]), (operation.id, status)
                for code, example in recorded.items():
                    assert (example["value"]["code"], example["value"]["status"]) == (code, int(status))


# Only pages answer with these, and the framework with the first one.
_NOT_RECORDED = {"bad-request", "cross-site", "malformed-form", "unknown-help", "unknown-kind"}


def test_every_code_of_the_source_and_of_the_documentation_has_an_example() -> None:
    examples = {code for _, _, _, content in _contents() for code in content["examples"] if _is_problem(content)}
    assert {code.value for code in ErrorCode} - examples == _NOT_RECORDED
    listed = _document()["components"]["schemas"]["ErrorShape"]["properties"]["code"]["x-extensible-enum"]
    assert listed == [code.value for code in ErrorCode]
    table = (_ROOT / "docs/pages/design/http.md").read_text(encoding="utf-8")
    rows = re.search(r"### Status codes\n(.*?)\n\nHEAD", table, re.DOTALL)
    assert rows is not None
    cells = [row.split("|")[1] for row in rows[1].splitlines() if row.startswith(("| 3", "| 4", "| 5"))]
    documented = {code for cell in cells for code in _codes_of(cell)}
    # Names that are unknown have one row.
    assert {code for code in examples if not code.startswith("unknown-")} - documented == set()
    assert documented - {"unknown-"} <= examples | _NOT_RECORDED


def _is_problem(content: Mapping[str, Any]) -> bool:
    return bool(content["schema"] == {"$ref": "#/components/schemas/ErrorShape"})


def test_the_codes_of_verdicts_and_faults_are_listed() -> None:
    schemas = _document()["components"]["schemas"]
    for name, codes in {
        "Problem": ProblemCode, "VerdictWarning": WarningCode, "FaultShape": FaultCode, "BaselineProblem": BaselineCode,
    }.items():  # fmt: skip
        assert schemas[name]["properties"]["code"]["x-extensible-enum"] == [code.value for code in codes]


def _integers(node: Any, description: str = "") -> Iterator[tuple[Mapping[str, Any], str]]:
    """Iterate over the schemas of integers, with the descriptions around each."""
    if isinstance(node, list):
        for entry in node:
            yield from _integers(entry, description)
    elif isinstance(node, dict):
        text = f"{description} {node.get('description', '')}"
        if node.get("type") == "integer":
            yield node, text
        for name, entry in node.items():
            if name not in {"example", "examples"}:
                yield from _integers(entry, text)


def test_every_integer_has_its_format_or_states_its_range() -> None:
    schemas = list(_integers(_document()))
    assert len(schemas) > 100
    for schema, description in schemas:
        assert all(type(schema[limit]) is int for limit in {"minimum", "maximum"} & schema.keys())
        if schema.get("format") == "int32":
            assert -(2**31) <= schema["minimum"] <= schema["maximum"] < 2**31
        elif "format" in schema:
            assert schema["format"] == "int64"
            assert schema.get("maximum", 0) < 2**63
        else:
            # No format has values from -2^63 to 2^64-1.
            assert schema["maximum"] == 2**64 - 1
            assert "2^64-1" in description


def test_the_document_names_the_service(database_url: str) -> None:
    with TestClient(make_app(database_url)) as registry:
        document = registry.get("/openapi.json").json()
        assert registry.get(f"/{document['externalDocs']['url'].removeprefix('./')}").status_code == 200
    assert document["info"]["version"] == VERSION == version("device-profile-registry")
    assert document["info"]["contact"] == {"name": "the operator of this registry"}
    assert document["servers"] == [{"url": "/"}]


def test_the_document_names_the_root_path_and_the_operator(database_url: str) -> None:
    contact = {"name": "The platform team", "url": "https://platform.example/", "email": "platform@platform.example"}
    settings = {f"contact_{name}": text for name, text in contact.items()}
    app = service(Settings(database_url=database_url, **settings))  # type: ignore[arg-type]
    for root in ("", "/registry"):
        with TestClient(app, root_path=root) as registry:
            document = registry.get(f"{root}/openapi.json").json()
            assert document["servers"] == [{"url": root or "/"}]
            assert document["info"]["contact"] == contact


@pytest.mark.parametrize("wrong", [{"contact_name": ""}, {"contact_url": "javascript:x"}, {"contact_email": "nobody"}])
def test_a_contact_that_cannot_be_used_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)


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
    addresses = re.findall(r"""<(?:script|link|img)[^>]* (?:src|href)="([^"]+)\"""", page.text)
    assert len(addresses) >= 5
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
