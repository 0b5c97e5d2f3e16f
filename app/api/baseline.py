"""Baselines: which settings a new VM should get so that it can move anywhere in a fleet."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from app.api import examples
from app.api.answer import json_response
from app.api.responses import BODY_ERRORS, OVER_BUDGET
from app.api.route import QuestionRoute
from app.api.session import Asking
from app.domain.fleet import baseline as domain
from app.service import baseline as service
from app.wire import baseline as wire
from app.wire.reading import InPieces

router = APIRouter(route_class=QuestionRoute, tags=["fleets"])

_INSTEAD = "Ask about fewer models, releases or hosts at once."


@router.post(
    "/baseline",
    response_model=wire.BaselineAnswer,
    response_model_exclude_unset=True,
    responses={**BODY_ERRORS, **OVER_BUDGET},
    description="Find the best settings of each model that every release and host accepts. They meet every constraint, "
    "and as few variables as possible differ from their first choice: the releases' init values, in the order of the "
    "question. "
    f"The search tries at most {domain.MAX_TRIES:,} assignments, and then reports `baseline-undecided`.",
)
async def post_baseline(
    question: Annotated[
        wire.FleetQuestion,
        InPieces(),
        Body(openapi_examples=examples.example("settings for two releases", examples.BASELINE)),
    ],
    session: Asking,
) -> Response:
    """Find the best settings of each model that every release and host accepts."""
    return await session.ask_or_recall(lambda reader: json_response(service.find(question, reader)), _INSTEAD)
