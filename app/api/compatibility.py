"""Compatibility: the question, and its verdicts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NoReturn

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.exceptions import RequestValidationError

from app.api import examples
from app.api.access import Registry, asked
from app.api.answering import Result, Writer, results_response, sized, summary_document
from app.api.body import shaped
from app.api.metrics import count_verdicts
from app.api.publishing import BODY_ERRORS, INVALID
from app.api.route import Route
from app.api.wire import compatibility as wire
from app.api.wire.base import AsDocumented
from app.domain import question as domain
from app.domain.document import FaultCode, Place
from app.domain.name import MAX_VARIABLE_NAME
from app.domain.rendering import Form
from app.domain.source import Device
from app.domain.state import State
from app.domain.summary import summed_up
from app.domain.value import MAX_TEXT
from app.domain.verdict import Policy
from app.storage.catalog import Standing
from app.storage.host import Label

router = APIRouter(route_class=Route, tags=["compatibility"])

# What takes longer than a few milliseconds is answered beside the event loop: so much told of the devices, times the
# hosts that are not like one another; so many hosts.
_MOST_TOLD_AT_ONCE = 3_000
_MOST_HOSTS_AT_ONCE = 1_500
# Of the short question: so many values, each so long with the name of its variable.
_MOST_VALUES = 1_000
_MOST_WRITTEN = MAX_VARIABLE_NAME + 1 + MAX_TEXT
_WITH_REMEDIES = {wire.Detail.PROBLEMS, wire.Detail.FULL}
Render = Annotated[
    Form | None,
    Query(description="also what the destination's program is started with, qemu or vfio-user; implies detail=full"),
]


@router.post("/compatibility", response_model=wire.Answer, response_model_exclude_unset=True, responses=BODY_ERRORS)
async def post_compatibility(
    document: Annotated[
        object,
        AsDocumented(wire.Question),
        Body(openapi_examples=examples.example("may this device go there?", examples.QUESTION)),
    ],
    registry: Registry,
    request: Request,
    render: Render = None,
) -> Response:
    """Say for each VM and destination whether all its devices can be re-created there, why not, and with what settings.

    An incompatible device is an answer: the status is 200.
    """
    question = await shaped(wire.Question, document, request)
    return await asked(registry, partial(_answer, question, render))


@router.get("/compatibility", response_model=wire.Answer, response_model_exclude_unset=True, responses=INVALID)
async def get_compatibility(  # noqa: PLR0913, PLR0917 (the question's own parameters)
    registry: Registry,
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
        list[wire.Id] | None, Query(description="a registered host that it may go to; may be repeated")
    ] = None,
    label: Annotated[
        wire.Label | None,
        Query(description="all registered hosts that have the label: `name=value`, or `name` for any value"),
    ] = None,
    value: Annotated[
        list[Annotated[str, Query(max_length=_MOST_WRITTEN)]] | None,
        Query(
            max_length=_MOST_VALUES,
            description="name=value, as a command line writes it; may be repeated, once for each variable; a value has "
            f"at most {MAX_TEXT:,} characters",
        ),
    ] = None,
    policy: Annotated[Policy, Query(description=wire.POLICY)] = Policy.STRICT,
    detail: Annotated[wire.Detail, Query(description=wire.DETAIL)] = wire.Detail.PROBLEMS,
    render: Render = None,
) -> Response:
    """Ask the short question: one device, with what is known of it, and releases that it may go to."""
    question = short_question(model, profile, source, destination, host, label, value, policy, detail)
    return await asked(registry, partial(_answer, question, render))


def short_question(  # noqa: PLR0913, PLR0917 (the question's own parameters)
    model: str,
    profile: str | None,
    source: str | None,
    destination: Sequence[str] | None,
    host: Sequence[str] | None,
    label: str | None,
    value: Sequence[str] | None,
    policy: Policy,
    detail: wire.Detail,
) -> wire.Question:
    """Return the whole question that a short one stands for; raises the error for a parameter that is wrong."""
    device = wire.Device.model_construct(
        id=None, model=model, profile=profile, release=source, values=dict(read_values(value or [])), complete=False
    )
    for index, release in enumerate(destination or []):
        if release in (destination or [])[:index]:
            _refuse_parameter("destination", index, f"names {release} again")
    destinations = [
        wire.Destination.model_construct(id=release, releases=[release], restrict={}) for release in destination or []
    ]
    destinations += [wire.Destination.model_construct(host=each, restrict={}) for each in host or []]
    destinations += [wire.Destination.model_construct(label=each, restrict={}) for each in [label] if each is not None]
    return wire.Question.model_construct(
        devices=[device], vms=None, destinations=destinations or None, policy=policy, detail=detail
    )


def read_values(written: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Iterate over what is written name=value; raises the error for what is not, or gives a variable again."""
    names: set[str] = set()
    for index, each in enumerate(written):
        name, equals, value = each.partition("=")
        if not equals:
            _refuse_parameter("value", index, "is not of the form name=value")
        if name in names:
            _refuse_parameter("value", index, f"gives {name} again")
        if len(value) > MAX_TEXT:
            _refuse_parameter("value", index, f"has more than {MAX_TEXT:,} characters")
        names.add(name)
        yield name, value


def _refuse_parameter(parameter: str, index: int, message: str) -> NoReturn:
    raise RequestValidationError([{"type": "value_error", "loc": ("query", parameter, index), "msg": message}])


@dataclass(frozen=True, slots=True)
class Judged:
    """The answers on one VM, one for each destination; vm: its id, None where the question asks of devices alone."""

    vm: str | None
    destinations: Sequence[domain.Destination]
    answers: Sequence[domain.Answer]


def _answer(question: wire.Question, render: Form | None, current: Standing) -> Response:
    detail = question.detail if render is None else wire.Detail.FULL
    results: list[Result] = []
    compatible = incompatible = 0
    for each in judged(question, detail, current):
        possible = sum(answer.compatible for answer in each.answers)
        compatible += possible
        incompatible += len(each.answers) - possible
        of_vm = {} if each.vm is None else {"vm": each.vm}
        if detail is wire.Detail.SUMMARY:
            ids = (destination.id for destination in each.destinations)
            summary = summed_up(zip(ids, each.answers, strict=True))
            results.append(sized({**of_vm, **summary_document(summary, len(each.destinations))}))
        else:
            results += Writer(detail, current, render).results(of_vm, each.destinations, each.answers)
    count_verdicts(compatible, incompatible)
    return results_response(results, current.seq)


def judged(question: wire.Question, detail: wire.Detail, current: Standing) -> Iterator[Judged]:
    """Iterate over the answers on each VM; raises InvalidDocumentError for a question that cannot be asked."""
    vms = question.vms if question.vms is not None else [wire.Vm.model_construct(devices=question.devices or [])]
    count = sum(len(vm.devices) for vm in vms)
    told = sum(1 + len(device.values) for vm in vms for device in vm.devices)
    _check_at_once(current, told, len(question.destinations or ()))
    at = Place()
    _check(question, vms, at)
    at.raise_faults()
    devices_of = [[_device(device, vm, place) for place, device in enumerate(vm.devices)] for vm in vms]
    destinations = _destinations(question, devices_of, current, at)
    _check_pairs(detail, count * len(destinations), at)
    at.raise_faults()
    _check_at_once(current, told * len({each.releases for each in destinations}), len(destinations))
    if not current.is_at_once:
        _look_up(devices_of, destinations, current)
    judging = domain.Judging(current, question.policy, current.comparisons, at_once=current.is_at_once)
    for place, (vm, devices) in enumerate(zip(vms, devices_of, strict=True)):
        asking = domain.Question(devices, judging, with_remedies=detail in _WITH_REMEDIES)
        name = (vm.id or str(place)) if question.vms is not None else None
        yield Judged(name, destinations, asking.at_all(destinations))


def _check_at_once(current: Standing, told: int, hosts: int) -> None:
    """Raise TakesLongerError for a question that is not to be answered at once."""
    if current.is_at_once and (told > _MOST_TOLD_AT_ONCE or hosts > _MOST_HOSTS_AT_ONCE):
        raise domain.TakesLongerError


def _look_up(
    devices_of: Sequence[Sequence[Device]], destinations: Sequence[domain.Destination], current: Standing
) -> None:
    """Look up all that a question names, at once instead of one by one."""
    devices = [device for devices in devices_of for device in devices]
    models = {each.model for each in devices}
    names = {name for releases in {each.releases for each in destinations} for name in releases}
    names |= {each.release for each in devices if each.release is not None}
    profiles = {each.profile for each in devices if each.profile is not None}
    current.look_up(models, names, profiles)
    current.load([found for name in names if (found := current.release(name)) is not None], models)


def _check(question: wire.Question, vms: Sequence[wire.Vm], at: Place) -> None:
    if (question.devices is None) == (question.vms is None):
        at.fault(FaultCode.MISSING_FIELD, "asks of either devices or vms")
    if sum(len(vm.devices) for vm in vms) > wire.MAX_DEVICES:
        place = at / ("vms" if question.vms is not None else "devices")
        place.fault(FaultCode.LIMIT_EXCEEDED, f"there are more than {wire.MAX_DEVICES:,} devices")
    for index, each in enumerate(question.destinations or ()):
        if not _is_plain(each):
            _check_destination(each, at / "destinations" / index)
    one_by_one = {
        index: each.id or each.host
        for index, each in enumerate(question.destinations or ())
        if each.label is None and not each.all_hosts
    }
    _check_ids(one_by_one, at / "destinations")
    if question.vms is None:
        _check_ids(dict(enumerate(each.id for each in question.devices or ())), at / "devices")
        return
    _check_ids(dict(enumerate(vm.id for vm in vms)), at / "vms")
    for index, vm in enumerate(vms):
        _check_ids(dict(enumerate(each.id for each in vm.devices)), at / "vms" / index / "devices")


def _is_plain(each: wire.Destination) -> bool:
    """Return whether a destination says what it runs, and nothing else."""
    return each.releases is not None and each.host is None and each.label is None and not each.all_hosts


def _check_destination(destination: wire.Destination, at: Place) -> None:
    said = [destination.releases, destination.host, destination.label, destination.all_hosts or None]
    if sum(each is not None for each in said) != 1:
        at.fault(FaultCode.MISSING_FIELD, "has one of releases, host, label and all_hosts")
    if destination.restrict and destination.releases is None:
        (at / "restrict").fault(FaultCode.UNKNOWN_FIELD, "is registered with the host")
    if destination.id is not None and (destination.label is not None or destination.all_hosts):
        (at / "id").fault(FaultCode.UNKNOWN_FIELD, "is the name of each of the hosts")


def _check_ids(ids: Mapping[int, str | None], at: Place) -> None:
    if len(set(ids.values())) == len(ids) and None not in ids.values():
        return
    seen = set()
    for index, each in ids.items():
        own = str(index) if each is None else each
        if own in seen:
            (at / index / "id").fault(FaultCode.DUPLICATE, f"{own} stands for another one before")
        seen.add(own)


def _check_pairs(detail: wire.Detail, pairs: int, at: Place) -> None:
    limit = wire.MAX_PAIRS_IN_FULL if detail is wire.Detail.FULL else wire.MAX_PAIRS
    if pairs > limit:
        message = f"there are {pairs:,} pairs of a device and a destination, of which {limit:,} may be asked at once"
        if detail is wire.Detail.FULL:
            message += f" with detail full, {wire.MAX_PAIRS:,} with less"
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
    question: wire.Question, devices_of: Sequence[Sequence[Device]], current: Standing, at: Place
) -> Sequence[domain.Destination]:
    if question.destinations is None:
        models = sorted({device.model for devices in devices_of for device in devices})
        usable = (each for each in current.releases(models) if each.state is not State.RETIRED)
        return [domain.Destination(str(each.name), (str(each.name),)) for each in usable]
    hosts = current.hosts([each.host for each in question.destinations if each.host is not None])
    found: dict[str, domain.Destination] = {}
    expanded_already: set[str | None] = set()
    for place, each in enumerate(question.destinations):
        if each.releases is not None and each.id is not None and each.id not in found:
            restrict = wire.restrictions(each.restrict) if each.restrict else {}
            found[each.id] = domain.Destination(each.id, tuple(each.releases), restrict)
            continue
        if each.label is not None or each.all_hosts:
            if each.label in expanded_already:
                continue
            expanded_already.add(each.label)
        expanded = _expanded(each, place, hosts, current)
        if not found:
            found = {destination.id: destination for destination in expanded}
            continue
        for destination in expanded:
            standing = found.setdefault(destination.id, destination)
            if (standing.releases, standing.restrict) != (destination.releases, destination.restrict):
                message = f"{destination.id} stands for another one before"
                (at / "destinations" / place).fault(FaultCode.DUPLICATE, message)
    if len(found) > wire.MAX_DESTINATIONS:
        message = f"there are {len(found):,} destinations, of which {wire.MAX_DESTINATIONS:,} may be asked at once"
        (at / "destinations").fault(FaultCode.LIMIT_EXCEEDED, message)
    return list(found.values())


def _expanded(
    asked: wire.Destination, place: int, hosts: Mapping[str, domain.Destination], current: Standing
) -> Sequence[domain.Destination]:
    """Return the destinations that one of the question stands for."""
    if asked.host is not None:
        host = hosts[asked.host]
        return [domain.Destination(asked.id or asked.host, host.releases, host.restrict, host.problem)]
    if asked.releases is not None:
        own = str(place) if asked.id is None else asked.id
        return [domain.Destination(own, tuple(asked.releases), wire.restrictions(asked.restrict))]
    return current.all_hosts(Label.parse(asked.label) if asked.label is not None else None)
