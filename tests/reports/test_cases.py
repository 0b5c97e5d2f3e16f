"""Situations that operators reported in public, restated as the smallest setup and question with the right answer.

cases.json: name, report, why; setup and question as requests or commands; what is expected of the answer. fake_qemu.py
stands for a QEMU binary that says what qemu.json tells it to say.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.cli.conftest import DATA, Run, run  # noqa: F401 (run is a fixture)
from tests.conftest import AUTHORIZATION, copied_database, make_app

_HERE = Path(__file__).parent
CASES: Sequence[Mapping[str, Any]] = json.loads((_HERE / "cases.json").read_text())
pytestmark = pytest.mark.long


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Any:
    """Return the case of this test."""
    return request.param


@pytest.fixture
def service(
    case: Mapping[str, Any], databases: Mapping[str, str], request: pytest.FixtureRequest
) -> Iterator[TestClient]:
    """Yield a registry of its own for each case."""
    with copied_database(databases[case["registry"]], request) as url, TestClient(make_app(url)) as service:
        yield service


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES], indirect=True)
def test_a_reported_situation_is_answered_right(
    case: Mapping[str, Any],
    service: TestClient,
    run: Run,  # noqa: F811 (the fixture)
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    saved: dict[str, str] = {}
    for step in case.get("setup", ()):
        answer = _take(step, service, run, tmp_path, saved, monkeypatch)
        if "command" in step:
            assert answer["exit"] == step.get("exit", 0), answer["text"]
        else:
            expected = step.get("status", HTTPStatus.OK)
            assert answer["status"] in {expected, HTTPStatus.CREATED}, answer["text"]
    answer = _take(case["question"], service, run, tmp_path, saved, monkeypatch)
    assert not list(_faults(case["expect"], answer)), (case["why"], answer["text"][:2000])


def _take(
    step: Mapping[str, Any],
    service: TestClient,
    run: Run,  # noqa: F811 (the fixture)
    folder: Path,
    saved: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """Take a step, a request or a command, and return its answer."""
    if "command" not in step:
        headers = {"Authorization": f"Bearer {saved[step['token']]}"} if "token" in step else AUTHORIZATION
        response = service.request(step["method"], step["path"], json=step.get("body"), headers=headers)
        answer = {"status": response.status_code, "text": response.text, "json": response.json()}
    else:
        for name, content in step.get("files", {}).items():
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        fake = folder / "qemu-system-x86_64"
        if "qemu.json" in step.get("files", {}):
            fake.write_text(f'#!/bin/sh\nexec {sys.executable} {_HERE}/fake_qemu.py {folder}/qemu.json "$@"\n')
            fake.chmod(0o755)
        with monkeypatch.context() as patched:
            for name, value in step.get("env", {}).items():
                patched.setenv(name, saved.get(value.strip("{}"), value))
            command = [word.replace("{fake}", str(fake)).replace("{data}", str(DATA)) for word in step["command"][1:]]
            result = run(*command)
        answer = {"exit": result.exit_code, "stdout": result.stdout, "stderr": result.stderr, "text": result.output}
        try:
            answer["json"] = json.loads(result.stdout)
        except ValueError:
            answer["json"] = None
    if "save" in step:
        saved[step["save"]] = answer["json"]["token"]
    return answer


def _faults(expect: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[str]:
    """Iterate over what of an answer is not as expected."""
    for name in ("status", "exit"):
        if name in expect and answer.get(name) != expect[name]:
            yield f"{name} is {answer.get(name)}, not {expect[name]}"
    for path, operator, *value in expect.get("json", ()):
        found = _find(answer["json"], path)
        if not _holds(operator, found, *value):
            yield f"{path} is {found}: not ({operator} {value})"
    for stream in ("stdout", "stderr", "text"):
        for operator, *value in expect.get(stream, ()):
            if not _holds(operator, answer[stream], *value):
                yield f"{stream} does not ({operator} {value})"
    if "any" in expect:
        tried = [list(_faults(each, answer)) for each in expect["any"]]
        if all(tried):
            yield f"none of {tried}"


def _find(document: Any, path: str) -> Any:
    """Return what is at a path such as results.0.devices; * stands for every entry, ~1 for a dot."""
    found = [document]
    for part in path.split("."):
        following: list[Any] = []
        for value in found:
            if part == "*":
                following += list(value.values()) if isinstance(value, dict) else value
            elif isinstance(value, list):
                following += value[int(part) : int(part) + 1]
            elif isinstance(value, dict) and part.replace("~1", ".") in value:
                following.append(value[part.replace("~1", ".")])
        found = following
    return found if "*" in path else next(iter(found), None)


def _holds(operator: str, found: Any, value: Any = None) -> bool:
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    match operator:
        case "is":
            return bool(found == value)
        case "has":
            return isinstance(found, list) and value in found
        case "matches":
            return found is not None and re.search(value, text) is not None
        case "not-matches":
            return found is None or re.search(value, text) is None
        case "lacks":
            return not (isinstance(found, list) and value in found)
        case _:
            message = f"no such operator: {operator}"
            raise ValueError(message)
