"""Devices that live outside the emulator: what their vendors would publish, and questions with their true answers.

outside/publications.json: families of devices, from facts of kernel drivers, specifications and vendors' documents;
each fact is real, with its source, or assumed. outside/cases.json: questions, the hosts that they need, and what is
expected of the answers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import AUTHORIZATION, copied_database, make_app

_HERE = Path(__file__).parent / "outside"
CASES: Sequence[Mapping[str, Any]] = json.loads((_HERE / "cases.json").read_text())
PUBLICATIONS: Mapping[str, Mapping[str, Any]] = json.loads((_HERE / "publications.json").read_text())
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def registry(databases: Mapping[str, str], request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """Yield a registry with two QEMU releases and all that the families' vendors publish."""
    with copied_database(databases["qemu-7.2+10.0"], request) as url, TestClient(make_app(url)) as service:
        service.headers.update(AUTHORIZATION)
        for family in PUBLICATIONS.values():
            for vendor in family["vendors"]:
                assert service.put(f"/vendors/{vendor}", json={}).is_success
            for release in family["releases"]:
                # Newer kernels drop what older ones had: the gate is not what is tested here.
                answer = service.put(
                    f"/releases/{release['release']}", json=release["document"], params={"override": "as in the kernel"}
                )
                assert answer.is_success, (release["release"], answer.text)
        yield service


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_question_about_a_device_outside_the_emulator_is_answered_right(
    case: Mapping[str, Any], registry: TestClient
) -> None:
    for name, document in case["hosts"].items():
        assert registry.put(f"/hosts/{name}", json=document).is_success
    response = registry.post("/compatibility", json={**case["question"], "detail": "full"})
    assert response.status_code == 200, response.text
    (result,) = response.json()["results"]
    expected, devices = case["expect"], result["devices"]
    problems = [problem for device in devices for problem in device["problems"]]
    assert result["compatible"] is case["compatible"], (case["why"], problems)
    assert {*expected.get("codes", ())} <= {problem["code"] for problem in problems}
    assert {*expected.get("variables", ())} <= {problem.get("variable") for problem in problems}
    assert {*expected.get("warnings", ())} <= {warning["code"] for device in devices for warning in device["warnings"]}
    by_id = {device["id"]: device for device in devices}
    for name, unit in expected.get("unit", {}).items():
        assert by_id[name]["unit"] == unit
    for name, values in expected.get("configuration", {}).items():
        assert values.items() <= by_id[name]["configuration"].items()
