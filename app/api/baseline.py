"""Baselines: which settings a new VM should get so that it can move anywhere in a fleet."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Response

from app.api import examples
from app.api.answer import json_response
from app.api.responses import BODY_ERRORS
from app.api.route import Route
from app.api.session import Registry
from app.domain.fleet import baseline as domain
from app.service import baseline as service
from app.wire import baseline as wire

router = APIRouter(route_class=Route, tags=["fleets"])


@router.post(
    "/baseline",
    response_model=wire.BaselineAnswer,
    response_model_exclude_unset=True,
    responses=BODY_ERRORS,
    description="Find the best settings of each model that every release and host accepts. They meet every constraint, "
    "and as few variables as possible differ from their first choice: the releases' init values, in the order of the "
    "question. "
    f"The search tries at most {domain.MAX_TRIES:,} assignments, and then reports `baseline-undecided`.",
)
def post_baseline(
    question: Annotated[
        wire.FleetQuestion, Body(openapi_examples=examples.example("settings for two releases", examples.BASELINE))
    ],
    registry: Registry,
) -> Response:
    """Find the best settings of each model that every release and host accepts."""
    return json_response(registry.ask(partial(service.find, question)))
