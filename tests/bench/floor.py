"""The floor: FastAPI routes that validate the same requests and serialise a prepared answer of the same size."""

import os
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query

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


_ROUTES = {"ask": _ask, "short": _short, "profile": _profile, "baseline": _baseline, "matrix": _matrix}
