"""Ask: a device and destinations put together by clicking, the verdict explained, and the same question as curl."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import islice
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BeforeValidator

from app.api.access import Registry
from app.api.compatibility import judged, read_values, short_question
from app.api.known import known_model
from app.api.parameters import MAX_FILTER, Filter
from app.api.wire.base import printable
from app.api.wire.compatibility import MAX_DESTINATIONS, MAX_LABEL, Detail
from app.domain.allowed import AllowedValues
from app.domain.problem import RULES, ProblemCode, WarningCode
from app.domain.question import DeviceAnswer
from app.domain.source import Device, Source
from app.domain.state import State
from app.domain.value import Type, Value, shown
from app.domain.variable import Variable
from app.domain.verdict import Policy
from app.pages.page import PageRoute, page, pasted, root_of
from app.storage import listing, lookup, search
from app.storage.catalog import Standing

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# What people choose from by clicking; others can be in the address.
_MOST_OFFERED = 200
_MOST_HOSTS = 50
_MOST_CHOICES = 40
_MOST_MODELS = 40
_MOST_LOOKED_AT = 5
# The answers beyond these are counted, not shown.
_MOST_SHOWN = 50
# What is typed comes under the name of its variable, what is chosen as it is in the address.
_TYPED = "value."
# A radio button that says nothing means what goes without saying.
_Policy = Annotated[Policy | None, BeforeValidator(lambda told: told or None)]
_Names = Annotated[list[Annotated[str, Query(max_length=MAX_FILTER)]] | None, Query(max_length=MAX_DESTINATIONS)]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks; values: per variable, as a command line writes it."""

    model: str
    source: str | None = None
    profile: str | None = None
    values: tuple[tuple[str, str], ...] = ()
    destination: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    label: str | None = None
    policy: Policy = Policy.STRICT

    @property
    def value(self) -> list[str]:
        """Return the values as the short question has them."""
        return [f"{name}={value}" for name, value in self.values]

    @property
    def is_whole(self) -> bool:
        """Return whether so much is told of the device that there is something to be asked."""
        return self.source is not None or self.profile is not None

    def parameters(self) -> list[tuple[str, str]]:
        """Return the question as parameters of an address: of this page, and of GET /compatibility."""
        told: list[tuple[str, str | None]] = [
            ("model", self.model),
            ("source", self.source),
            ("profile", self.profile),
            *(("value", each) for each in self.value),
            *(("destination", each) for each in self.destination),
            *(("host", each) for each in self.host),
            ("label", self.label),
            ("policy", None if self.policy is Policy.STRICT else self.policy.value),
        ]
        return [(name, each) for name, each in told if each]


@dataclass(frozen=True, slots=True)
class Control:
    """What a variable's value is chosen by.

    choices: its values as they are written, empty where it is typed. made: what it is where nothing is said of it, None
    where that is not known.
    """

    name: str
    is_known: bool
    value: str
    choices: Sequence[str]
    made: str | None


@router.get("/ui/ask")
def get_ask_page(  # noqa: PLR0913, PLR0917 (the question's own parameters)
    request: Request,
    registry: Registry,
    model: Filter = None,
    source: Filter = None,
    profile: Filter = None,
    value: Annotated[list[str] | None, Query()] = None,
    destination: _Names = None,
    host: _Names = None,
    label: Annotated[str | None, Query(max_length=MAX_LABEL), printable] = None,
    policy: _Policy = None,
    add: Filter = None,
    remove: Filter = None,
    q: Filter = None,
) -> Response:
    """Show a question being put together, and its answer; add, remove: a variable whose value is said, or no more."""
    if not model:
        return page(request, "ask_model.html", q=q or "", found=registry.ask(lambda current: _models(current, q or "")))
    told = request.query_params.multi_items()
    values = dict(read_values([each for each in value or () if each]))
    values |= {name.removeprefix(_TYPED): each for name, each in told if name.startswith(_TYPED)}
    asked = Asked(
        model,
        pasted(source),
        pasted(profile),
        tuple((name, each) for name, each in values.items() if name != remove),
        tuple(dict.fromkeys(filter(None, map(pasted, destination or ())))),
        tuple(dict.fromkeys(filter(None, map(pasted, host or ())))),
        pasted(label),
        policy or Policy.STRICT,
    )
    if add and add not in values:
        first = registry.ask(lambda current: Choosing.of(current, asked).first_value(add))
        asked = replace(asked, values=(*asked.values, (add, first)))
    if told != asked.parameters():
        return RedirectResponse(f"{root_of(request)}/ui/ask?{urlencode(asked.parameters())}", HTTPStatus.SEE_OTHER)
    answered = registry.ask(lambda current: {**_offered(current, asked), **_answered(current, asked)})
    return page(request, "ask.html", asked=asked, curl=_curl(asked, request), **answered)


def _models(current: Standing, q: str) -> listing.Page:
    """Return device models to begin with."""
    with current.reading() as connection:
        return listing.models(connection, {"q": q.strip() or None}, None, _MOST_MODELS)


def _curl(asked: Asked, request: Request) -> str:
    """Return the question as a command."""
    address = f"{request.url.scheme}://{request.url.netloc}{root_of(request)}/compatibility"
    words = [f"curl --get {shlex.quote(address)}"]
    if request.app.state.settings.read == "token":
        words.append('--header "Authorization: Bearer $TOKEN"')
    words += [f"--data-urlencode {shlex.quote(f'{name}={each}')}" for name, each in asked.parameters()]
    return " \\\n  ".join([*words, "--data-urlencode detail=full"])


@dataclass(frozen=True, slots=True)
class Choosing:
    """What a device's values are chosen by.

    variables: those of its release, or where that is not known of the newest ones. made: what it is made with, as far
    as that is known.
    """

    asked: Asked
    releases: Sequence[search.ModelRelease]
    variables: Mapping[str, Variable]
    made: Mapping[str, Value]

    @classmethod
    def of(cls, current: Standing, asked: Asked) -> "Choosing":
        """Look up what there is to choose from; raises the error for a model that is not there."""
        model = known_model(asked.model, current)
        with current.reading() as connection:
            releases = search.releases_of(connection, asked.model)
        names = [asked.source] if asked.source else [each.name for each in reversed(releases[:_MOST_LOOKED_AT])]
        sets = [release.sets.get(asked.model) for release in map(current.release, names) if release is not None]
        variables = {name: each for own in sets if own is not None for name, each in own.variables.items()}
        device = Device(id="", model=asked.model, release=asked.source, profile=asked.profile)
        origin = Source.of(device, current).origin
        made: dict[str, Value] = {}
        if origin is not None:
            # For a model that it names, what a profile does not name is off.
            off = model.off_values(model.vendor) if origin.profile is not None else {}
            made = {name: value for name, value in off.items() if name in variables and not variables[name].is_instance}
            made |= {**(origin.profile or {}), **origin.configuration}
        return cls(asked, releases, variables, made)

    def first_value(self, name: str) -> str:
        """Return the value that a variable is first given: what it is anyway, else what a new device has."""
        variable = self.variables.get(name)
        value = self.made.get(name, "" if variable is None or variable.is_instance else variable.init_value)
        return "" if value == "" else shown(value)

    def controls(self) -> list[Control]:
        """Return what the values that are said are chosen by."""
        return [self._control(name, value) for name, value in self.asked.values]

    def _control(self, name: str, value: str) -> Control:
        variable, made = self.variables.get(name), self.made.get(name)
        choices = list(islice(_choices(variable.allowed), _MOST_CHOICES + 1)) if variable else []
        if not 0 < len(choices) <= _MOST_CHOICES:
            choices = []
        return Control(
            name,
            variable is not None,
            value,
            list(dict.fromkeys([*choices, value])) if choices else [],
            None if made is None else shown(made),
        )


def _offered(current: Standing, asked: Asked) -> Mapping[str, object]:
    """Return what there is to choose from."""
    choosing = Choosing.of(current, asked)
    with current.reading() as connection:
        profiles = lookup.profiles_naming(connection, [asked.model])
        hosts = listing.hosts(connection, None, None, _MOST_HOSTS)
        labels = listing.labels(connection, _MOST_OFFERED)
    states = {each.name: each.state for each in choosing.releases}
    told = dict(asked.values)
    return {
        "releases": _some(states, asked.source, *asked.destination),
        "release_count": len(states),
        "profiles": _some({each.name: each.state for each in profiles}, asked.profile),
        "profile_count": len(profiles),
        "hosts": list(dict.fromkeys([*asked.host, *(each.name for each in hosts.rows)])),
        "are_all_hosts": hosts.after is None,
        "labels": labels,
        "controls": choosing.controls(),
        "addable": {name: each for name, each in sorted(choosing.variables.items()) if name not in told},
    }


def _some(states: Mapping[str, State], *chosen: str | None) -> Mapping[str, str]:
    """Return what is offered to choose from, with what is chosen already, and the states that are to be known."""
    names = dict.fromkeys([*islice(states, _MOST_OFFERED), *filter(None, chosen)])
    return {name: "" if (state := states.get(name, State.PUBLISHED)) is State.PUBLISHED else state for name in names}


def _choices(allowed: AllowedValues) -> Iterator[str]:
    """Iterate over the values that can be chosen one by one, as a command line writes them; none for any string."""
    if allowed.type is Type.BOOL:
        yield from (text for text, value in (("on", True), ("off", False)) if value in allowed)
    elif allowed.type is Type.INT:
        for each in allowed.all_steps():
            yield from map(str, range(each.min, each.max + 1, each.step))
    elif "" not in (allowed.values or {""}):
        yield from sorted(map(str, allowed.values or ()))


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the verdict. outcome: `met`, `broken`, or `not asked`: the question has nothing that it is about."""

    code: str
    text: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The answer for destinations of which the same is to be said, and what each rule found."""

    destinations: Sequence[str]
    answer: DeviceAnswer
    rules: Sequence[Rule]


def _answered(current: Standing, asked: Asked) -> Mapping[str, object]:
    """Return the answers once enough is said, yes before no; counted: how many there are; possible: how many yes."""
    if not asked.is_whole:
        return {"answers": [], "more": 0, "counted": 0, "possible": 0}
    question = short_question(
        asked.model,
        asked.profile,
        asked.source,
        asked.destination,
        asked.host,
        asked.label,
        asked.value,
        asked.policy,
        Detail.FULL,
    )
    (found,) = judged(question, Detail.FULL, current)
    # Of hosts that run the same there is one answer.
    alike: dict[int, list[str]] = {}
    for destination, answer in zip(found.destinations, found.answers, strict=True):
        alike.setdefault(id(answer), []).append(destination.id)
    answers = {id(answer): answer for answer in found.answers}
    ordered = sorted(alike, key=lambda each: not answers[each].compatible)
    source = current.release(asked.source) if asked.source else None
    has_source = source is not None and asked.model in source.sets
    told = [
        Shown(alike[each], device, _rules(device, asked, alike[each], has_source=has_source))
        for each in ordered[:_MOST_SHOWN]
        for device in answers[each].devices
    ]
    return {
        "answers": told,
        "more": sum(len(alike[each]) for each in ordered[_MOST_SHOWN:]),
        "counted": len(found.answers),
        "possible": sum(answer.compatible for answer in found.answers),
    }


# Where one of these is broken nothing more can be said.
_NOT_KNOWN = (
    ProblemCode.UNKNOWN_MODEL,
    ProblemCode.UNKNOWN_PROFILE,
    ProblemCode.UNKNOWN_RELEASE,
    ProblemCode.UNKNOWN_HOST,
    ProblemCode.SOURCE_UNKNOWN,
    ProblemCode.PROFILE_NOT_FOR_MODEL,
)
_OF_VARIABLES = (
    ProblemCode.VARIABLE_NOT_SUPPORTED,
    ProblemCode.TYPE_MISMATCH,
    ProblemCode.VALUE_NOT_ALLOWED,
    ProblemCode.CANNOT_BE_OFF,
    ProblemCode.CONSTRAINT_VIOLATED,
)
_OF_PROFILE = (
    ProblemCode.UNKNOWN_PROFILE,
    ProblemCode.PROFILE_NOT_FOR_MODEL,
    ProblemCode.PROFILE_RETIRED,
    ProblemCode.PROFILE_NOT_LISTED,
)
_OF_SOURCE = (ProblemCode.UNKNOWN_VARIABLE, ProblemCode.SOURCE_VALUE_INVALID)


def _rules(answer: DeviceAnswer, asked: Asked, destinations: Sequence[str], *, has_source: bool) -> list[Rule]:
    """Return what each rule found; has_source: the source release is known, and has the model."""
    broken = {each.code for each in answer.verdict.problems}
    not_asked: set[ProblemCode] = set()
    if broken.intersection(_NOT_KNOWN):
        not_asked.update(set(RULES) - set(_NOT_KNOWN))
    if ProblemCode.MODEL_NOT_SUPPORTED in broken:
        not_asked.update(_OF_VARIABLES)
    if asked.profile is None:
        not_asked.update(_OF_PROFILE)
    if not has_source:
        not_asked.update(_OF_SOURCE)
    if asked.source is not None and not has_source:
        not_asked.add(ProblemCode.NOT_MIGRATABLE)
    if asked.label is None and not set(asked.host).intersection(destinations):
        not_asked.add(ProblemCode.UNKNOWN_HOST)
    is_listing_unasked = any(each.code is WarningCode.ONLY_VARIABLES_COMPARED for each in answer.verdict.warnings)
    if asked.policy is not Policy.STRICT or is_listing_unasked:
        not_asked.add(ProblemCode.PROFILE_NOT_LISTED)

    def outcome(code: ProblemCode) -> str:
        if code in broken:
            return "broken"
        return "not asked" if code in not_asked else "met"

    return [Rule(code.value, text, outcome(code)) for code, text in RULES.items()]
