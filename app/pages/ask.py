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
from app.api.compatibility import judged, short_question
from app.api.errors import unknown
from app.api.parameters import Filter
from app.api.wire.compatibility import Detail
from app.domain.allowed import AllowedValues
from app.domain.model import Model
from app.domain.name import ReleaseName, is_name
from app.domain.problem import RULES, ProblemCode, WarningCode
from app.domain.question import DeviceAnswer
from app.domain.value import Type, Value, shown
from app.domain.variable import Variable
from app.domain.verdict import Policy
from app.pages.page import PageRoute, page
from app.storage import listing, lookup
from app.storage.catalog import Standing

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# What people choose from by clicking; others can be in the address.
_MOST_OFFERED = 200
_MOST_HOSTS = 50
_MOST_CHOICES = 40
_MOST_MODELS = 40
# The answers beyond these are counted, not shown.
_MOST_SHOWN = 50
_OWN = "value."
# A radio button that says nothing means what goes without saying.
_Policy = Annotated[Policy | None, BeforeValidator(lambda told: told or None)]
_Several = Annotated[list[Annotated[str, Query(max_length=2000)]] | None, Query(max_length=1000)]


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
    """What a variable's value is chosen by; choices: its values as they are written, empty where it is typed."""

    name: str
    variable: Variable | None
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
    value: _Several = None,
    destination: _Several = None,
    host: _Several = None,
    label: Filter = None,
    policy: _Policy = None,
    add: Filter = None,
    remove: Filter = None,
    q: Filter = None,
) -> Response:
    """Show a question being put together, and its answer; add, remove: a variable whose value is told, or no more."""
    if not model:
        return page(request, "ask_model.html", q=q or "", found=registry.ask(lambda current: _models(current, q or "")))
    typed = [
        (name.removeprefix(_OWN), each) for name, each in request.query_params.multi_items() if name.startswith(_OWN)
    ]
    written = [tuple(each.partition("=")[::2]) for each in value or () if each]
    values = {name: each for name, each in (*written, *typed) if name != remove}
    asked = Asked(
        model,
        source or None,
        profile or None,
        tuple(values.items()),
        tuple(dict.fromkeys(filter(None, destination or ()))),
        tuple(dict.fromkeys(filter(None, host or ()))),
        label or None,
        policy or Policy.STRICT,
    )
    if add:
        made = registry.ask(lambda current: _made(current, asked, add))
        asked = replace(asked, values=(*asked.values, (add, made)))
    told = [(name, each) for name, each in request.query_params.multi_items()]
    if told != asked.parameters():
        root = request.scope.get("root_path", "")
        where = "#values" if add or remove else "#verdict"
        return RedirectResponse(f"{root}/ui/ask?{urlencode(asked.parameters())}{where}", HTTPStatus.SEE_OTHER)
    return page(
        request,
        "ask.html",
        asked=asked,
        curl=_curl(asked, request),
        **registry.ask(lambda current: _told(current, asked)),
    )


def _models(current: Standing, q: str) -> listing.Page:
    """Return device models to begin with."""
    with current.reading() as connection:
        return listing.models(connection, {"q": q.strip() or None}, None, _MOST_MODELS)


def _curl(asked: Asked, request: Request) -> str:
    """Return the question as a command."""
    root = request.scope.get("root_path", "")
    words = [f"curl --get {shlex.quote(f'{request.url.scheme}://{request.url.netloc}{root}/compatibility')}"]
    if request.app.state.settings.read == "token":
        words.append('--header "Authorization: Bearer $TOKEN"')
    words += [f"--data-urlencode {shlex.quote(f'{name}={each}')}" for name, each in asked.parameters()]
    return " \\\n  ".join([*words, "--data-urlencode detail=full"])


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the verdict. outcome: `met`, `broken`, or `not asked`: nothing can be said, or the policy does not."""

    code: str
    text: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The answer for a destination, and what each rule found."""

    destination: str
    answer: DeviceAnswer
    rules: Sequence[Rule]


def _told(current: Standing, asked: Asked) -> Mapping[str, object]:
    """Return what there is to choose from, and the answer once enough is told."""
    model = _model(current, asked.model)
    with current.reading() as connection:
        releases = [str(ReleaseName(*each)) for each in lookup.implementing(connection, [model.name])][::-1]
        profiles = [each.name for each in lookup.profiles_naming(connection, [model.name])]
        hosts = [each.name for each in listing.hosts(connection, None, None, _MOST_HOSTS).rows]
        labels = listing.labels(connection, _MOST_OFFERED)
    variables = _variables(current, asked, releases)
    made = _as_made(current, model, asked, variables)
    shown_answers, counted, possible = _answers(current, asked)
    return {
        "releases": _offered(releases, asked.source, *asked.destination),
        "release_count": len(releases),
        "profiles": _offered(profiles, asked.profile),
        "hosts": _offered(hosts, *asked.host),
        "labels": labels,
        "controls": [_control(name, value, variables.get(name), made.get(name)) for name, value in asked.values],
        "addable": {name: each for name, each in sorted(variables.items()) if name not in dict(asked.values)},
        "answers": shown_answers,
        "counted": counted,
        "possible": possible,
    }


def _model(current: Standing, name: str) -> Model:
    found = current.model(name) if is_name(name) else None
    if found is None:
        raise unknown(name, "model")
    return found


def _offered(names: Sequence[str], *chosen: str | None) -> list[str]:
    """Return what is offered to choose from, with what is chosen already."""
    return list(dict.fromkeys([*names[:_MOST_OFFERED], *filter(None, chosen)]))


def _variables(current: Standing, asked: Asked, releases: Sequence[str]) -> Mapping[str, Variable]:
    """Return the variables that a value may be told of: the source's, or those of the newest release."""
    release = next(filter(None, map(current.release, filter(None, (asked.source, *releases[:1])))), None)
    own = release.sets.get(asked.model) if release else None
    return own.variables if own else {}


def _as_made(current: Standing, model: Model, asked: Asked, variables: Mapping[str, Variable]) -> Mapping[str, Value]:
    """Return what a device is of which nothing more is told than the release and the profile."""
    profile = current.profile(asked.profile) if asked.profile else None
    values = profile.values.get(model.name) if profile else None
    if values is None:
        return {name: each.init_value for name, each in variables.items()}
    off = model.off_values(model.vendor)
    return {name: values.get(name, off.get(name, each.init_value)) for name, each in variables.items()}


def _made(current: Standing, asked: Asked, name: str) -> str:
    """Return what a variable is where nothing is told of it, as a command line writes it."""
    model = _model(current, asked.model)
    with current.reading() as connection:
        releases = [str(ReleaseName(*each)) for each in lookup.implementing(connection, [model.name])][::-1]
    value = _as_made(current, model, asked, _variables(current, asked, releases)).get(name, "")
    return shown(value) if value != "" else ""


def _control(name: str, value: str, variable: Variable | None, made: Value | None) -> Control:
    choices = list(islice(_choices(variable.allowed), _MOST_CHOICES + 1)) if variable else []
    if len(choices) > _MOST_CHOICES:
        choices = []
    return Control(
        name,
        variable,
        value,
        list(dict.fromkeys([*choices, value])) if choices else [],
        None if made is None else shown(made),
    )


def _choices(allowed: AllowedValues) -> Iterator[str]:
    """Iterate over the values that can be chosen one by one, as a command line writes them; none for any string."""
    if allowed.type is Type.BOOL:
        yield from (text for text, value in (("on", True), ("off", False)) if value in allowed)
    elif allowed.type is Type.INT:
        for each in allowed.all_steps():
            yield from map(str, range(each.min, each.max + 1, each.step))
    elif "" not in (allowed.values or {""}):
        yield from sorted(map(str, allowed.values or ()))


def _answers(current: Standing, asked: Asked) -> tuple[list[Shown], int, int]:
    """Return the answers to be shown, how many there are, and how many say yes."""
    if not asked.is_whole:
        return [], 0, 0
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
    pairs = [(destination.id, answer) for destination, answer in zip(found.destinations, found.answers, strict=True)]
    told = [Shown(each, answer.devices[0], _rules(answer.devices[0], asked)) for each, answer in pairs[:_MOST_SHOWN]]
    return told, len(pairs), sum(answer.compatible for _, answer in pairs)


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


def _rules(answer: DeviceAnswer, asked: Asked) -> list[Rule]:
    """Return what each rule found."""
    broken = {each.code for each in answer.verdict.problems}
    not_asked: set[ProblemCode] = set()
    if broken.intersection(_NOT_KNOWN):
        not_asked.update(set(RULES) - set(_NOT_KNOWN))
    if ProblemCode.MODEL_NOT_SUPPORTED in broken:
        not_asked.update(_OF_VARIABLES)
    is_listing_unasked = any(each.code is WarningCode.ONLY_VARIABLES_COMPARED for each in answer.verdict.warnings)
    if asked.policy is not Policy.STRICT or is_listing_unasked:
        not_asked.add(ProblemCode.PROFILE_NOT_LISTED)

    def outcome(code: ProblemCode) -> str:
        if code in broken:
            return "broken"
        return "not asked" if code in not_asked else "met"

    return [Rule(code.value, text, outcome(code)) for code, text in RULES.items()]
