"""The floors: FastAPI routes that validate the same requests and serialise a prepared answer of the same size.

The floor of a kind validates with the service's own models. The plain floor of a question has models of its own, of the
same shape, without validators, patterns and bounds: what a service would take that checks nothing but types.
"""

import os
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel

from app.domain.verdict.policy import Policy
from app.wire import baseline, compatibility
from app.wire.detail import Detail
from app.wire.profile import StoredProfile
from app.wire.support_matrix import SupportMatrix


def create() -> FastAPI:
    """Return the floor for questions of the kind FLOOR_KIND; the file FLOOR_ANSWER has the answer."""
    app = FastAPI()

    @app.get("/ready")
    async def is_ready() -> bool:
        return True

    _ROUTES[os.environ["FLOOR_KIND"]](app, Path(os.environ["FLOOR_ANSWER"]).read_bytes())
    return app


def _ask(app: FastAPI, answer: bytes) -> None:
    ready = compatibility.Answer.model_validate_json(answer)

    @app.post("/compatibility", response_model_exclude_unset=True)
    async def ask(question: compatibility.Question) -> compatibility.Answer:
        assert question.devices or question.vms
        return ready


class _PlainDevice(BaseModel):
    id: str | None = None
    model: str
    release: str | None = None
    profile: str | None = None
    values: dict[str, bool | int | str | None] = {}
    complete: bool = False
    host: str | None = None
    unit: str | None = None
    part_of: str | None = None
    role: str | None = None


class _PlainVm(BaseModel):
    id: str | None = None
    release: str | None = None
    profile: str | None = None
    host: str | None = None
    devices: list[_PlainDevice]


class _PlainUnit(BaseModel):
    id: str
    releases: list[str]
    restrict: dict[str, dict[str, list[bool | int | str | dict[str, int]]]] = {}
    resolves: dict[str, dict[str, dict[str, bool | int | str]]] = {}
    available: int | None = None


class _PlainDestination(BaseModel):
    id: str | None = None
    releases: list[str] | None = None
    restrict: dict[str, dict[str, list[bool | int | str | dict[str, int]]]] = {}
    resolves: dict[str, dict[str, dict[str, bool | int | str]]] = {}
    units: list[_PlainUnit] = []
    host: str | None = None
    labels: list[str] | None = None
    label: str | None = None
    all_hosts: bool = False


class _PlainQuestion(BaseModel):
    devices: list[_PlainDevice] | None = None
    vms: list[_PlainVm] | None = None
    destinations: list[_PlainDestination] | None = None
    policy: str = "strict"
    detail: str = "problems"


class _PlainProblem(BaseModel):
    code: str
    message: str
    variable: str | None = None
    value: bool | int | str | None = None
    allowed: list[bool | int | str | dict[str, int]] | None = None


class _PlainWarning(BaseModel):
    code: str
    message: str
    values: dict[str, bool | int | str] | None = None


class _PlainDeviceAnswer(BaseModel):
    id: str
    compatible: bool
    release: str
    unit: str | None = None
    problems: list[_PlainProblem]
    warnings: list[_PlainWarning]
    configuration: dict[str, bool | int | str] | None = None
    carry_over: list[str]
    unchecked: list[str]
    remedies: list[dict[str, bool | int | str]]


class _PlainDestinationAnswer(BaseModel):
    vm: str | None = None
    destination: str
    compatible: bool
    devices: list[_PlainDeviceAnswer] = []


class _PlainAnswer(BaseModel):
    results: list[_PlainDestinationAnswer]
    registry: str
    seq: int
    link: str


def _ask_plainly(app: FastAPI, answer: bytes) -> None:
    ready = _PlainAnswer.model_validate_json(answer)

    @app.post("/compatibility", response_model_exclude_unset=True)
    async def ask(question: _PlainQuestion) -> _PlainAnswer:
        assert question.devices or question.vms
        return ready


def _short(app: FastAPI, answer: bytes) -> None:
    ready = compatibility.Answer.model_validate_json(answer)

    @app.get("/compatibility", response_model_exclude_unset=True)
    async def ask(  # noqa: PLR0913, PLR0917 (the parameters of the question)
        model: Annotated[str, Query(max_length=400)],
        profile: Annotated[str | None, Query(max_length=400)] = None,
        source: Annotated[str | None, Query(max_length=400)] = None,
        destination: Annotated[list[str] | None, Query()] = None,
        value: Annotated[list[str] | None, Query()] = None,
        policy: Policy = Policy.STRICT,
        detail: Detail = Detail.PROBLEMS,
    ) -> compatibility.Answer:
        asked = (model, profile, source, destination, value, policy, detail)
        assert any(asked)
        return ready


def _profile(app: FastAPI, answer: bytes) -> None:
    ready = StoredProfile.model_validate_json(answer)

    @app.get("/profiles/{name:path}")
    async def get(name: str, *, resolved: bool = False) -> StoredProfile:
        assert name
        assert resolved
        return ready


def _baseline(app: FastAPI, answer: bytes) -> None:
    ready = baseline.BaselineAnswer.model_validate_json(answer)

    @app.post("/baseline", response_model_exclude_unset=True)
    async def ask(question: baseline.FleetQuestion) -> baseline.BaselineAnswer:
        assert question.models
        return ready


def _matrix(app: FastAPI, answer: bytes) -> None:
    ready = SupportMatrix.model_validate_json(answer)

    @app.get("/support-matrix")
    async def get(implementation: Annotated[list[str] | None, Query()] = None) -> SupportMatrix:
        assert implementation
        return ready


_ROUTES = {
    "ask": _ask,
    "plain": _ask_plainly,
    "short": _short,
    "profile": _profile,
    "baseline": _baseline,
    "matrix": _matrix,
}
