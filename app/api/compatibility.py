"""Compatibility: the question, and its verdicts."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NoReturn

import orjson
from fastapi import APIRouter, Body, Query, Response
from fastapi.exceptions import RequestValidationError

from app.api import examples
from app.api.access import Registry
from app.api.body import JsonRoute
from app.api.publishing import BODY_ERRORS, INVALID
from app.api.wire import compatibility as wire
from app.api.wire.problem import StepRange, problem_document, warning_document
from app.domain import question as domain
from app.domain.document import FaultCode, Place
from app.domain.verdict import Device, Policy, Verdict
from app.storage.catalog import Standing

router = APIRouter(route_class=JsonRoute, tags=["compatibility"])


@router.post("/compatibility", response_model=wire.Answer, response_model_exclude_unset=True, responses=BODY_ERRORS)
def post_compatibility(
    question: Annotated[
        wire.Question, Body(openapi_examples=examples.example("may this device go there?", examples.QUESTION))
    ],
    registry: Registry,
) -> Response:
    """Say for each VM and destination whether all its devices can be re-created there, why not, and with what settings.

    An incompatible device is an answer: the status is 200.
    """
    return registry.ask(lambda current: _answer(question, current))


@router.get("/compatibility", response_model=wire.Answer, response_model_exclude_unset=True, responses=INVALID)
def get_compatibility(  # noqa: PLR0913, PLR0917 (the question's own parameters)
    registry: Registry,
    model: Annotated[str, Query(max_length=400, description="the device model")],
    profile: Annotated[str | None, Query(max_length=400, description="the profile that it was created with")] = None,
    source: Annotated[str | None, Query(max_length=400, description="the release that it runs on")] = None,
    destination: Annotated[
        list[Annotated[str, Query(max_length=400)]] | None,
        Query(max_length=wire.MAX_DESTINATIONS, description="a release; absent: every one that implements the model"),
    ] = None,
    value: Annotated[list[str] | None, Query(description="name=value, as a command line writes it")] = None,
    policy: Policy = Policy.STRICT,
    detail: wire.Detail = wire.Detail.PROBLEMS,
) -> Response:
    """Ask the short question: one device, with what is known of it, and releases that it may go to."""
    device = wire.Device.model_construct(
        id=None, model=model, profile=profile, release=source, values=dict(_values(value or [])), complete=False
    )
    for index, release in enumerate(destination or []):
        if release in (destination or [])[:index]:
            _refuse_parameter("destination", index, f"names {release} again")
    destinations = [
        wire.Destination.model_construct(id=release, releases=[release], restrict={}) for release in destination or []
    ]
    question = wire.Question.model_construct(
        devices=[device], vms=None, destinations=destinations or None, policy=policy, detail=detail
    )
    return registry.ask(lambda current: _answer(question, current))


def _values(written: Sequence[str]) -> Iterator[tuple[str, str]]:
    names: set[str] = set()
    for index, each in enumerate(written):
        name, equals, value = each.partition("=")
        if not equals:
            _refuse_parameter("value", index, "is not of the form name=value")
        if name in names:
            _refuse_parameter("value", index, f"gives {name} again")
        names.add(name)
        yield name, value


def _refuse_parameter(parameter: str, index: int, message: str) -> NoReturn:
    raise RequestValidationError([{"type": "value_error", "loc": ("query", parameter, index), "msg": message}])


def _answer(question: wire.Question, current: Standing) -> Response:
    vms = question.vms if question.vms is not None else [wire.Vm.model_construct(devices=question.devices or [])]
    at = Place()
    _check(question, vms, at)
    at.raise_faults()
    asked = [[_device(device, vm, place) for place, device in enumerate(vm.devices)] for vm in vms]
    destinations = _destinations(question, asked, current)
    _check_pairs(question, sum(map(len, asked)) * len(destinations), at)
    at.raise_faults()
    results = []
    for place, (vm, devices) in enumerate(zip(vms, asked, strict=True)):
        of_vm = {"vm": vm.id or str(place)} if question.vms is not None else {}
        asking = domain.Question(devices, current, question.policy)
        rendered: dict[int, dict[str, Any]] = {}
        for destination in destinations:
            answer = asking.at(destination)
            shared = rendered.get(id(answer))
            if shared is None:
                shared = {"compatible": answer.compatible}
                if question.detail is not wire.Detail.VERDICT:
                    is_full = question.detail is wire.Detail.FULL
                    shared["devices"] = [_rendered(each, is_full=is_full) for each in answer.devices]
                rendered[id(answer)] = shared
            results.append({**of_vm, "destination": destination.id, **shared})
    return Response(orjson.dumps({"results": results}), media_type="application/json")


def _check(question: wire.Question, vms: Sequence[wire.Vm], at: Place) -> None:
    if (question.devices is None) == (question.vms is None):
        at.fault(FaultCode.MISSING_FIELD, "asks of either devices or vms")
    if sum(len(vm.devices) for vm in vms) > wire.MAX_DEVICES:
        place = at / ("vms" if question.vms is not None else "devices")
        place.fault(FaultCode.LIMIT_EXCEEDED, f"there are more than {wire.MAX_DEVICES:,} devices")
    if question.destinations and len(question.destinations) > wire.MAX_DESTINATIONS:
        message = f"there are more than {wire.MAX_DESTINATIONS:,} destinations"
        (at / "destinations").fault(FaultCode.LIMIT_EXCEEDED, message)
    _check_ids([each.id for each in question.destinations or ()], at / "destinations")
    if question.vms is None:
        _check_ids([each.id for each in question.devices or ()], at / "devices")
        return
    _check_ids([vm.id for vm in vms], at / "vms")
    for index, vm in enumerate(vms):
        _check_ids([each.id for each in vm.devices], at / "vms" / index / "devices")


def _check_ids(ids: Sequence[str | None], at: Place) -> None:
    seen = set()
    for index, each in enumerate(ids):
        own = str(index) if each is None else each
        if own in seen:
            (at / index / "id").fault(FaultCode.DUPLICATE, f"{own} stands for another one before")
        seen.add(own)


def _check_pairs(question: wire.Question, pairs: int, at: Place) -> None:
    limit = wire.MAX_PAIRS_IN_FULL if question.detail is wire.Detail.FULL else wire.MAX_PAIRS
    if pairs > limit:
        message = f"there are {pairs:,} pairs of a device and a destination, of which {limit:,} may be asked at once"
        at.fault(FaultCode.LIMIT_EXCEEDED, message)


def _device(device: wire.Device, vm: wire.Vm, place: int) -> Device:
    return Device(
        id=str(place) if device.id is None else device.id,
        model=device.model,
        release=vm.release if device.release is None else device.release,
        profile=vm.profile if device.profile is None else device.profile,
        values=device.values,
        complete=device.complete,
    )


def _destinations(
    question: wire.Question, asked: Sequence[Sequence[Device]], current: Standing
) -> Sequence[domain.Destination]:
    if question.destinations is None:
        models = sorted({device.model for devices in asked for device in devices})
        return [domain.Destination(release, (release,)) for release in current.releases_implementing(models)]
    return [
        domain.Destination(
            str(place) if each.id is None else each.id,
            tuple(each.releases),
            {
                model: {name: _restriction(values) for name, values in variables.items()}
                for model, variables in each.restrict.items()
            },
        )
        for place, each in enumerate(question.destinations)
    ]


def _restriction(values: Sequence[Any]) -> list[object]:
    return [each.model_dump() if isinstance(each, StepRange) else each for each in values]


def _rendered(answer: domain.DeviceAnswer, *, is_full: bool) -> dict[str, Any]:
    verdict: Verdict = answer.verdict
    document: dict[str, Any] = {
        "id": answer.device.id,
        "compatible": verdict.compatible,
        "release": answer.release,
        "problems": [problem_document(each) for each in verdict.problems],
        "warnings": [warning_document(each) for each in verdict.warnings],
    }
    if is_full:
        document["configuration"] = verdict.configuration
    document["carry_over"] = verdict.carry_over
    document["unchecked"] = verdict.unchecked
    return document
