"""Every request has an id and is logged: with its operation, status, duration and the name of its token."""

import json
import logging
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app.api import observer
from app.storage.catalog import Catalog
from tests.conftest import AUTHORIZATION, TOKEN, make_app


@pytest.fixture
def _logger() -> Iterator[None]:
    """Undo what a test sets up of the logger."""
    logger = logging.getLogger("registry.request")
    before = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = list(before[0]), before[1]
    logger.setLevel(before[2])


@pytest.mark.usefixtures("_logger")
def test_requests_are_logged_as_json(registry: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    observer.log_requests(as_json=True)
    registry.get("/models?q=secret", headers={"X-Request-ID": "req-17"})
    registry.get("/models/vendor-a.com/none")
    registry.get("/nowhere", headers={"Authorization": ""})
    models, model, nowhere = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert models.pop("seconds") >= 0
    assert models.pop("at").endswith("Z")
    assert models == {
        "event": "request",
        "method": "GET",
        "path": "/models",
        "operation": "list_models",
        "status": 200,
        "address": "testclient",
        "token": "admin",
        "request_id": "req-17",
    }
    assert (model["operation"], model["status"]) == ("get_model", 404)
    assert (nowhere["operation"], nowhere["status"], nowhere["token"]) == ("none", 404, None)
    assert len({model["request_id"], nowhere["request_id"], "req-17"}) == 3


@pytest.mark.usefixtures("_logger")
def test_requests_are_logged_for_people(registry: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    observer.log_requests(as_json=False)
    registry.get("/healthz", headers={"Authorization": "", "X-Request-ID": "req-18"})
    (line,) = capsys.readouterr().err.splitlines()
    assert " GET /healthz get_health 200 " in line
    assert line.endswith(" ms from=testclient token=- id=req-18")
    assert TOKEN not in line


def test_an_answer_carries_the_id_of_its_request(registry: TestClient) -> None:
    assert registry.get("/healthz", headers={"X-Request-ID": "a.b_c-1"}).headers["x-request-id"] == "a.b_c-1"
    for unfit in ("with space", "x" * 65, "line\tbreak", ""):
        made = registry.get("/healthz", headers={"X-Request-ID": unfit}).headers["x-request-id"]
        assert made != unfit
        assert len(made) == 32


def test_an_internal_error_names_the_id_and_nothing_else(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        message = "a secret of the service"
        raise ZeroDivisionError(message)

    monkeypatch.setattr(Catalog, "ask_at_once", fail)
    with TestClient(make_app(database_url), raise_server_exceptions=False, headers=AUTHORIZATION) as registry:
        response = registry.get("/compatibility?model=a.com/b", headers={"X-Request-ID": "req-19"})
    assert (response.status_code, response.headers["x-request-id"]) == (500, "req-19")
    assert response.json()["detail"] == "Internal error, request id req-19; see the server log."
