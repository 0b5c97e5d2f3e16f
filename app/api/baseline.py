"""Baselines: which settings a new VM should get so that it can move anywhere in a fleet."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.api import examples
from app.api.access import Registry
from app.api.answer import json_response
from app.api.publishing import BODY_ERRORS
from app.api.route import Route
from app.api.wire import baseline as wire
from app.domain import baseline as domain
from app.domain.document import FaultCode, Place
from app.domain.fleet import BaselineProblem
from app.domain.question import Destination
from app.storage.catalog import Standing
from app.storage.host import Label

router = APIRouter(route_class=Route, tags=["fleets"])


@router.post(
    "/baseline",
    response_model=wire.BaselineAnswer,
    response_model_exclude_unset=True,
    responses=BODY_ERRORS,
    description="Return the best settings of each model that every release and host accepts: those that meet every "
    "constraint with the fewest variables off their first choice: the releases' init values in the order asked. "
    f"The search looks at {domain.MAX_TRIES:,} assignments at most; after that the problem is `baseline-undecided`.",
)
def post_baseline(
    question: Annotated[
        wire.FleetQuestion, Body(openapi_examples=examples.example("anywhere among two releases", examples.BASELINE))
    ],
    registry: Registry,
) -> Response:
    """Return the best settings of each model that every release and host accepts."""
    return json_response(registry.ask(lambda current: _answer(question, current)))


def _answer(question: wire.FleetQuestion, current: Standing) -> dict[str, Any]:
    releases = list(dict.fromkeys(question.releases))
    hosts = list(current.hosts(list(dict.fromkeys(question.hosts))).values())
    if question.label is not None:
        named = {host.id for host in hosts}
        hosts += [host for host in current.all_hosts(Label.parse(question.label)) if host.id not in named]
    members = [Destination(release, (release,)) for release in releases] + hosts
    at = Place()
    if not members:
        at.fault(FaultCode.MISSING_FIELD, "names no release and no host: releases, hosts or a label")
    at.raise_faults()
    answers = {}
    for model in dict.fromkeys(question.models):
        found = domain.baseline(model, members, current, current.profiles([model]))
        answers[model] = _document(found, frozenset(releases))
    return {"models": answers}


def _document(found: domain.Baseline, releases: frozenset[str]) -> dict[str, Any]:
    return {
        "values": found.values,
        "domains": {name: values.listed() for name, values in found.domains.items()},
        "profiles": found.profiles,
        "problems": [_problem(each, releases) for each in found.problems],
    }


def _problem(problem: BaselineProblem, releases: frozenset[str]) -> dict[str, Any]:
    hosts = [member for member in problem.members if member not in releases]
    return {
        "code": problem.code.value,
        "message": problem.message,
        **({} if problem.variable is None else {"variable": problem.variable}),
        "releases": [member for member in problem.members if member in releases],
        **({"hosts": hosts} if hosts else {}),
    }
