"""Every code of an error is in the table, and the code base has no other."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from fastapi.testclient import TestClient

from app.api.error_code import ERRORS, ErrorCode
from app.domain.publishing.trusted_publisher import RefusalCode
from app.domain.values.document import FaultCode
from app.service.known import Kind
from tests.api.stories import problem

_APP = Path(__file__).parents[2] / "app"
_OPENAPI = Path(__file__).with_name("openapi.json")
_RAISING = {"ApiError", "problem", "_refuse"}


def _calls() -> Iterator[tuple[Path, ast.Call, str]]:
    """Iterate over the calls of functions and classes by their name in all modules of the API and the pages."""
    for folder in ("api", "pages", "service"):
        for path in (_APP / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    yield path, node, name


def test_no_error_has_a_code_of_its_own() -> None:
    literal = [
        (path.name, node.lineno)
        for path, node, name in _calls()
        if name in _RAISING
        and any(isinstance(argument, ast.Constant) and isinstance(argument.value, str) for argument in node.args[1:2])
    ]
    assert literal == []
    assert sum(name in _RAISING for _, _, name in _calls()) > 30, "the search finds nothing"


def test_every_code_is_used() -> None:
    used = {
        node.attr
        for folder in ("api", "pages")
        for path in (_APP / folder).rglob("*.py")
        if path.name != "error_code.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "ErrorCode"
    }
    named = {code.value for code in ErrorCode if code.name in used}
    assert set(ErrorCode) == named | _unknown() | {code.value for code in RefusalCode}


def _unknown() -> set[str]:
    return {f"unknown-{kind.replace(' ', '-')}" for kind in get_args(Kind)}


def test_every_unknown_name_and_every_refused_token_has_a_code() -> None:
    assert _unknown() <= set(ErrorCode)
    assert {code.value for code in RefusalCode} <= set(ErrorCode)
    kinds = {
        node.args[1].value
        for _, node, name in _calls()
        if name == "UnknownNameError" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
    }
    assert kinds == set(get_args(Kind))


def test_the_api_documents_no_other_code() -> None:
    document = json.loads(_OPENAPI.read_text())
    shared = document["components"]["responses"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, stated in operation["responses"].items():
                # `default` stands for the errors of any request.
                if status == "default" or status < "400":
                    continue
                response = shared[stated["$ref"].rpartition("/")[2]] if "$ref" in stated else stated
                listed = response["description"].split(":")[0]
                for code in re.findall(r"`([a-z-]+)`", listed):
                    assert int(status) in ERRORS[ErrorCode(code)].statuses, (method, path, status, code)
    assert document["components"]["schemas"]["ErrorShape"]["properties"]["code"]["x-extensible-enum"] == list(ErrorCode)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_row_says_what_is_wrong_and_what_helps(code: ErrorCode) -> None:
    row = ERRORS[code]
    assert row.statuses
    assert all(text.strip() == text and text for text in (row.sentence, row.cure, row.example))
    assert row.sentence.endswith(".")
    assert row.cure.endswith(".")


def test_the_type_of_an_error_has_the_root_path(registry: TestClient) -> None:
    refused = registry.get("/models/vendor-a.com/none")
    assert problem(refused, 404, "unknown-model") == []
    with TestClient(registry.app, root_path="/registry") as proxied:
        behind = proxied.get("/models/vendor-a.com/none")
        assert behind.json()["type"] == "/registry/help/unknown-model"
        assert int(behind.headers["content-length"]) == len(behind.content)
        mounted = proxied.get("/ui/static/none")
        assert mounted.json()["type"] == "/registry/help/not-found"
        assert proxied.get("/help/unknown-model").status_code == 200


def test_fault_codes_are_listed_in_the_order_of_their_table() -> None:
    document = json.loads(_OPENAPI.read_text())
    assert document["components"]["schemas"]["FaultShape"]["properties"]["code"]["x-extensible-enum"] == list(FaultCode)
