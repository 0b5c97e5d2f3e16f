"""Compatibility: the routes of the question, and its answer as a response."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NoReturn

import orjson
from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse

from app.api import examples
from app.api.body import shaped
from app.api.metrics import count_verdicts
from app.api.parameters import Labels
from app.api.responses import BODY_ERRORS, OVER_BUDGET
from app.api.route import QuestionRoute
from app.api.session import Asking
from app.domain.fleet.form import Form
from app.domain.fleet.summary import summarize
from app.domain.values.name import MAX_VARIABLE_NAME
from app.domain.values.value import MAX_TEXT
from app.service import compatibility as service
from app.service.result import Results, Writer, summary_document, summary_result
from app.storage.reader import Reader
from app.wire import compatibility as wire
from app.wire.base import AsDocumented
from app.wire.detail import Detail

router = APIRouter(route_class=QuestionRoute, tags=["compatibility"])

# Limits of the short question: the number of values, and the length of each with the name of its variable.
MAX_VALUES = 1_000
MAX_WRITTEN = MAX_VARIABLE_NAME + 1 + MAX_TEXT
# A larger answer is sent in pieces.
_PIECE_BYTES = 4 * 1024 * 1024
# Copied for the short question, because to construct them field by field takes twice as long.
_NOWHERE = wire.Destination()
_SHORT_DEVICE = wire.Device.model_construct(id=None, model="", profile=None, release=None, values={}, complete=False)
_SHORT_QUESTION = wire.Question.model_construct(
    devices=None, vms=None, destinations=None, policy=wire.Policy.STRICT, detail=Detail.PROBLEMS
)
_INSTEAD = (
    "Ask about fewer VMs, devices or destinations at once, or with detail=summary, which answers once for all "
    "destinations that state the same."
)
Render = Annotated[
    list[Form] | None,
    Query(
        max_length=len(Form),
        description="also the arguments of a program at the destination: qemu, vfio-user, vdpa or mdevctl; can be "
        "repeated: for each device the first one that can make it; implies detail=full",
    ),
]


@router.post(
    "/compatibility",
    response_model=wire.Answer,
    response_model_exclude_unset=True,
    responses={**BODY_ERRORS, **OVER_BUDGET},
)
async def post_compatibility(
    document: Annotated[
        object,
        AsDocumented(wire.Question),
        Body(openapi_examples=examples.example("can this device move there?", examples.QUESTION)),
    ],
    session: Asking,
    request: Request,
    render: Render = None,
) -> Response:
    """Answer for each VM and destination whether its devices can be re-created there, why not, and with what values.

    An incompatible device is an answer: the status is 200.
    """
    question = await shaped(wire.Question, document, request)
    return await session.ask_or_recall(partial(answer, question, render), _INSTEAD)


@router.get("/compatibility", response_model=wire.Answer, response_model_exclude_unset=True, responses=OVER_BUDGET)
async def get_compatibility(  # noqa: PLR0913, PLR0917 (the question's own parameters)
    session: Asking,
    model: Annotated[str, Query(max_length=400, description="the device model")],
    profile: Annotated[str | None, Query(max_length=400, description="the profile that it was created with")] = None,
    source: Annotated[str | None, Query(max_length=400, description="the release that it runs on")] = None,
    destination: Annotated[
        list[Annotated[str, Query(max_length=400)]] | None,
        Query(
            max_length=wire.MAX_DESTINATIONS,
            description="a release, at most 10,000, each once; with neither host nor label: absent, every release that "
            "implements the model and is not retired",
        ),
    ] = None,
    host: Annotated[
        list[wire.Id] | None, Query(description="a registered host as destination; can be repeated")
    ] = None,
    label: Labels = None,
    value: Annotated[
        list[Annotated[str, Query(max_length=MAX_WRITTEN)]] | None,
        Query(
            max_length=MAX_VALUES,
            description="name=value, as on a command line; can be repeated, once for each variable; a value has "
            f"at most {MAX_TEXT:,} characters",
        ),
    ] = None,
    policy: Annotated[wire.Policy, Query(description=wire.POLICY)] = wire.Policy.STRICT,
    detail: Annotated[Detail, Query(description=wire.DETAIL)] = Detail.PROBLEMS,
    render: Render = None,
) -> Response:
    """Ask the short question: one device and its possible destinations."""
    question = short_question(model, profile, source, destination, host, label, value, policy, detail)
    return await session.ask_or_recall(partial(answer, question, render), _INSTEAD)


def short_question(  # noqa: PLR0913, PLR0917 (the question's own parameters)
    model: str,
    profile: str | None,
    source: str | None,
    destination: Sequence[str] | None,
    host: Sequence[str] | None,
    label: Sequence[str] | None,
    value: Sequence[str] | None,
    policy: wire.Policy,
    detail: Detail,
) -> wire.Question:
    """Return the whole question that a short one stands for; raises 422 for a wrong parameter."""
    values = dict(read_values(value or []))
    device = _SHORT_DEVICE.model_copy(update={"model": model, "profile": profile, "release": source, "values": values})
    seen: set[str] = set()
    for index, release in enumerate(destination or []):
        if release in seen:
            _refuse_parameter("destination", index, f"duplicate destination {release}")
        seen.add(release)
    destinations = [_NOWHERE.model_copy(update={"id": name, "releases": [name]}) for name in destination or []]
    destinations += [_NOWHERE.model_copy(update={"host": name}) for name in host or []]
    if label:
        destinations.append(_NOWHERE.model_copy(update={"labels": list(label)}))
    return _SHORT_QUESTION.model_copy(
        update={"devices": [device], "destinations": destinations or None, "policy": policy, "detail": detail}
    )


def read_values(written: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Iterate over parameters of the form name=value; raises 422 for another form, or for a repeated name."""
    names: set[str] = set()
    for index, parameter in enumerate(written):
        name, equals, value = parameter.partition("=")
        if not equals:
            _refuse_parameter("value", index, "must be name=value")
        if name in names:
            _refuse_parameter("value", index, f"duplicate value of {name}")
        if len(value) > MAX_TEXT:
            _refuse_parameter("value", index, f"must have at most {MAX_TEXT:,} characters")
        names.add(name)
        yield name, value


def _refuse_parameter(parameter: str, index: int, message: str) -> NoReturn:
    raise RequestValidationError([{"type": "value_error", "loc": ("query", parameter, index), "msg": message}])


def answer(question: wire.Question, render: Sequence[Form] | None, reader: Reader) -> Response:
    """Answer a question from one revision of the registry: load, judge, write."""
    detail = question.detail if not render else Detail.FULL
    loaded = service.ask(question, detail, reader)
    writer = Writer(detail, loaded.snapshot, render or ())
    results: list[Results] = []
    compatible = incompatible = 0
    for vm in loaded.answers:
        possible = [one.compatible for one in vm.answers].count(True)
        compatible += possible
        incompatible += len(vm.answers) - possible
        of_vm = {} if vm.vm is None else {"vm": vm.vm}
        if (groups := loaded.destinations.groups) is not None:
            summary = summarize(groups, vm.answers, loaded.snapshot, loaded.names_of)
            results.append(summary_result({**of_vm, **summary_document(summary)}))
        elif (listing := loaded.destinations.listing) is not None:
            results.append(writer.results(of_vm, listing, vm.answers))
    count_verdicts(compatible, incompatible)
    return _response(results, reader.basis)


def _response(results: Sequence[Results], position: Mapping[str, Any]) -> Response:
    """Return the answer, with the position in the feed that it is based on.

    A large one is sent in pieces, never in memory as a whole.
    """
    pieces = _pieces(results, position)
    if sum(of_vm.size for of_vm in results) <= _PIECE_BYTES:
        return Response(b"".join(pieces), media_type="application/json")
    return StreamingResponse(pieces, media_type="application/json")


def _pieces(results: Sequence[Results], position: Mapping[str, Any]) -> Iterator[bytes]:
    yield b'{"results":['
    before = b""
    for of_vm in results:
        for piece in of_vm.pieces(_PIECE_BYTES):
            yield before + piece
            before = b","
    yield b"]," + orjson.dumps(position)[1:]
