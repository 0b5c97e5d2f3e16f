"""The page Ask: choose a device and destinations, and get the verdict explained, with the question as curl."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BeforeValidator

from app.api.compatibility import read_values, short_question
from app.api.container import container
from app.api.errors import root_of
from app.api.parameters import MAX_FILTER, Filter, LabelField
from app.api.session import Asking
from app.domain.engine.question import DeviceAnswer
from app.domain.fleet.group import Listing
from app.domain.fleet.staleness import AT_DESTINATION
from app.domain.things.variable import Variable
from app.domain.values.allowed import AllowedValues
from app.domain.values.state import State
from app.domain.values.value import Type, Value, shown
from app.domain.verdict.case import Case, source_configuration
from app.domain.verdict.problem import RULES, ProblemCode, Subject, WarningCode
from app.domain.verdict.source import Device, Source, unknown_names
from app.domain.verdict.steps import SAVED_STATE
from app.hypervisor.domain import used_models
from app.pages.host import known_hosts
from app.pages.page import PageRoute, page, pasted
from app.service import compatibility, fleet
from app.service.known import known_model
from app.storage import listing, lookup, search
from app.storage.reader import Reader
from app.wire.compatibility import MAX_DESTINATIONS, MAX_LABELS, Policy
from app.wire.detail import Detail

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# The number of choices in a form; the address can have others.
_MAX_OPTIONS = 200
_MAX_HOSTS = 50
_MAX_CHOICES = 40
_MAX_MODELS = 40
# Models beyond these are found by a part of the name.
_MAX_LOOKED_THROUGH = 1_000
_MAX_LOOKED_AT = 5
# Answers beyond these are counted, but not shown.
_MAX_SHOWN = 50
# A typed value is sent as value.<variable>=<value>, a chosen one as value=<variable>=<value>, as in the address.
_TYPED = "value."
# The radio button of the default policy has an empty value.
_Policy = Annotated[Policy | None, BeforeValidator(lambda text: text or None)]
_Names = Annotated[list[Annotated[str, Query(max_length=MAX_FILTER)]] | None, Query(max_length=MAX_DESTINATIONS)]


@dataclass(frozen=True, slots=True)
class Asked:
    """The question in the address; values: by variable, as on a command line."""

    model: str
    source: str | None = None
    profile: str | None = None
    values: tuple[tuple[str, str], ...] = ()
    destination: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    policy: Policy = Policy.STRICT

    @property
    def value(self) -> list[str]:
        """Return the values as parameters of the short question."""
        return [f"{name}={value}" for name, value in self.values]

    @property
    def is_whole(self) -> bool:
        """Return whether the device is described well enough to ask: by a release or a profile."""
        return self.source is not None or self.profile is not None

    def parameters(self) -> list[tuple[str, str]]:
        """Return the question as query parameters, for this page and for GET /compatibility."""
        parameters: list[tuple[str, str | None]] = [
            ("model", self.model),
            ("source", self.source),
            ("profile", self.profile),
            *(("value", text) for text in self.value),
            *(("destination", release) for release in self.destination),
            *(("host", host) for host in self.host),
            *(("label", label) for label in self.label),
            ("policy", None if self.policy is Policy.STRICT else self.policy.value),
        ]
        return [(name, text) for name, text in parameters if text]


def _as_json(asked: Asked, needs: Sequence[str]) -> str:
    """Return the device in the JSON of POST /compatibility, with a stub for each part that it needs."""
    stated = {"model": asked.model, "release": asked.source, "profile": asked.profile, "values": dict(asked.values)}
    device = {"id": "device", **{name: content for name, content in stated.items() if content}}
    parts = [{"id": role, "part_of": "device", "role": role, "model": ""} for role in needs]
    return json.dumps({"devices": [device, *parts]}, ensure_ascii=False, indent=1)


@dataclass(frozen=True, slots=True)
class Control:
    """The form control for the value of a variable.

    choices: the values to choose from, empty for a text field. default: the value that the device has if none is given,
    None if it is unknown.
    """

    name: str
    is_known: bool
    value: str
    choices: Sequence[str]
    default: str | None


@router.get("/ui/ask")
def get_ask_page(  # noqa: PLR0913, PLR0917 (the question's own parameters)
    request: Request,
    asking: Asking,
    model: Filter = None,
    source: Filter = None,
    profile: Filter = None,
    value: Annotated[list[str] | None, Query()] = None,
    destination: _Names = None,
    host: _Names = None,
    label: Annotated[list[LabelField] | None, Query(max_length=MAX_LABELS + 1)] = None,
    policy: _Policy = None,
    add: Filter = None,
    remove: Filter = None,
    q: Filter = None,
) -> Response:
    """Show the form of a question, and its answer; add, remove: the variable to give a value, or to leave out."""
    if not model:
        models, are_more = asking.ask_from_thread(lambda reader: _models(reader, q or ""))
        return page(request, "ask_model.html", q=q or "", models=models, are_more=are_more)
    sent = request.query_params.multi_items()
    values = dict(read_values([text for text in value or () if text]))
    values |= {name.removeprefix(_TYPED): text for name, text in sent if name.startswith(_TYPED)}
    asked = Asked(
        model,
        pasted(source),
        pasted(profile),
        tuple((name, text) for name, text in values.items() if name != remove),
        tuple(dict.fromkeys(filter(None, map(pasted, destination or ())))),
        tuple(dict.fromkeys(filter(None, map(pasted, host or ())))),
        tuple(dict.fromkeys(filter(None, map(pasted, label or ())))),
        policy or Policy.STRICT,
    )
    if add and add not in values:
        initial = asking.ask_from_thread(lambda reader: Choices.of(reader, asked).initial_value(add))
        asked = replace(asked, values=(*asked.values, (add, initial)))
    if sent != asked.parameters():
        return RedirectResponse(
            f"{root_of(request.scope)}/ui/ask?{urlencode(asked.parameters())}", HTTPStatus.SEE_OTHER
        )
    content: Mapping[str, Any] = asking.ask_from_thread(
        lambda reader: {**_form(reader, asked), **_answers(reader, asked)}
    )
    as_json = _as_json(asked, _missing_parts(content["answers"]))
    return page(request, "ask.html", asked=asked, curl=_curl(asked, request), as_json=as_json, **content)


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A device model to ask about; releases: how many implement it."""

    name: str
    releases: int


def _models(reader: Reader, q: str) -> tuple[Sequence[ModelChoice], bool]:
    """Return the first device models with q in their names, those in use first, and whether there are more.

    In use: what units of registered hosts provide, then what libvirt's domains can have.
    """
    groups = fleet.groups([], reader) if reader.shows_hosts else ()
    runs = {name for group in groups for unit, name in group.kind.releases() if unit is not None}
    in_units = sorted({model for name in runs for model in reader.digests(name) or ()})
    rank = {name: number for number, name in enumerate(dict.fromkeys([*in_units, *used_models()]))}
    part = q.strip().lower()
    with reader.connection() as connection:
        listed = listing.models(connection, {"q": part or None}, None, _MAX_LOOKED_THROUGH)
        counts = {name: count for name, _, count in listed.rows}
    wanted = [name for name in rank if part in name.lower() and name not in counts]
    known = reader.snapshot(models=wanted, of_models=()).models if listed.after else {}
    counts |= {name: len(reader.implementing([name])) for name in wanted if known.get(name) is not None}
    names = sorted(counts, key=lambda name: (rank.get(name, len(rank)), name))
    choices = [ModelChoice(name, counts[name]) for name in names[:_MAX_MODELS]]
    return choices, len(names) > _MAX_MODELS or listed.after is not None


def _curl(asked: Asked, request: Request) -> str:
    """Return the question as a curl command."""
    address = f"{request.url.scheme}://{request.url.netloc}{root_of(request.scope)}/compatibility"
    words = [f"curl --get {shlex.quote(address)}"]
    if container(request).reads_need_token:
        words.append('--header "Authorization: Bearer $TOKEN"')
    words += [f"--data-urlencode {shlex.quote(f'{name}={text}')}" for name, text in asked.parameters()]
    return " \\\n  ".join([*words, "--data-urlencode detail=full"])


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices for the values of a device.

    variables: those of its release, or of the newest releases if the question has none. defaults: the values that the
    device has if none are given, as far as they are known.
    """

    asked: Asked
    releases: Sequence[search.ModelRelease]
    variables: Mapping[str, Variable]
    defaults: Mapping[str, Value]

    @classmethod
    def of(cls, reader: Reader, asked: Asked) -> "Choices":
        """Load the choices; raises UnknownNameError for an unknown model."""
        known_model(asked.model, reader.snapshot(models=[asked.model], of_models=()))
        with reader.connection() as connection:
            releases = search.releases_of(connection, asked.model)
        names = [asked.source] if asked.source else [row.name for row in reversed(releases[:_MAX_LOOKED_AT])]
        snapshot = reader.snapshot(
            models=[asked.model],
            releases=names,
            profiles=[asked.profile] if asked.profile else [],
            of_models=[asked.model],
        )
        model = known_model(asked.model, snapshot)
        sets = [release.sets.get(asked.model) for release in snapshot.known_releases()]
        variables = {name: variable for one in sets if one is not None for name, variable in one.variables.items()}
        device = Device(id="", model=asked.model, release=asked.source, profile=asked.profile)
        source = Source.of(device, snapshot)
        defaults: dict[str, Value] = {}
        if not any(unknown_names(source)):
            # A profile is a closed world: for a model that it names, variables without a value are off (DESIGN 4).
            off = model.off_values(model.vendor) if source.profile is not None else {}
            defaults = {
                name: value for name, value in off.items() if name in variables and not variables[name].is_instance
            }
            defaults |= {
                **(source.profile_values or {}),
                **source_configuration(Case.of(source, model, None, model.vendor)),
            }
        return cls(asked, releases, variables, defaults)

    def initial_value(self, name: str) -> str:
        """Return the value to start with: the default of the device, otherwise the init value."""
        variable = self.variables.get(name)
        value = self.defaults.get(name, "" if variable is None or variable.is_instance else variable.init_value)
        return "" if value == "" else shown(value)

    def controls(self) -> list[Control]:
        """Return the controls for the values of the question."""
        return [self._control(name, value) for name, value in self.asked.values]

    def _control(self, name: str, value: str) -> Control:
        variable, default = self.variables.get(name), self.defaults.get(name)
        choices = list(islice(_choices(variable.allowed), _MAX_CHOICES + 1)) if variable else []
        if not 0 < len(choices) <= _MAX_CHOICES:
            choices = []
        return Control(
            name,
            variable is not None,
            value,
            list(dict.fromkeys([*choices, value])) if choices else [],
            None if default is None else shown(default),
        )


def _form(reader: Reader, asked: Asked) -> Mapping[str, object]:
    """Return the content of the form."""
    choices = Choices.of(reader, asked)
    with reader.connection() as connection:
        profiles = lookup.profiles_naming(connection, [asked.model])
    labels, names = known_hosts(reader, _MAX_OPTIONS)
    hosts = reader.hosts([*asked.host, *names[:_MAX_HOSTS]]) if reader.shows_hosts else {}
    states = {release.name: release.state for release in choices.releases}
    given = dict(asked.values)
    return {
        "releases": _options(states, asked.source, *asked.destination),
        "release_count": len(states),
        "profiles": _options({profile.name: profile.state for profile in profiles}, asked.profile),
        "profile_count": len(profiles),
        "hosts": {name: host.is_stale for name, host in hosts.items()},
        "stale_message": AT_DESTINATION.message,
        "are_all_hosts": len(names) <= _MAX_HOSTS,
        "labels": labels,
        "controls": choices.controls(),
        "addable": {name: variable for name, variable in sorted(choices.variables.items()) if name not in given},
    }


def _options(states: Mapping[str, State], *chosen: str | None) -> Mapping[str, str]:
    """Return the names to choose from, the chosen ones included, each with its state unless it is published."""
    names = dict.fromkeys([*islice(states, _MAX_OPTIONS), *filter(None, chosen)])
    return {name: "" if (state := states.get(name, State.PUBLISHED)) is State.PUBLISHED else state for name in names}


def _choices(allowed: AllowedValues) -> Iterator[str]:
    """Iterate over the allowed values as on a command line; nothing if any string is allowed."""
    if allowed.type is Type.BOOL:
        yield from (text for text, value in (("on", True), ("off", False)) if value in allowed)
    elif allowed.type is Type.INT:
        for steps in allowed.all_steps():
            yield from map(str, range(steps.min, steps.max + 1, steps.step))
    elif "" not in (allowed.values or {""}):
        yield from sorted(map(str, allowed.values or ()))


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the verdict; outcome: `met`, `broken`, or `not asked` if it does not apply to the question."""

    code: str
    text: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The answer that several destinations share, with the outcome of each rule; unit: of the first of them.

    stale: those of the destinations that have not reported for a long time.
    """

    destinations: Sequence[str]
    answer: DeviceAnswer
    rules: Sequence[Rule]
    unit: str | None
    stale: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Card:
    """An answer, and the destinations that share it; unit: that serves it at the first of them."""

    device: DeviceAnswer
    unit: str | None
    destinations: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


def _answers(reader: Reader, asked: Asked) -> Mapping[str, object]:
    """Return the answers, the compatible ones first.

    answer_count: the number of destinations; possible_count: how many of them are compatible; more: how many are not
    shown.
    """
    if not asked.is_whole:
        return {"answers": [], "more": 0, "answer_count": 0, "possible_count": 0}
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
    loaded = compatibility.ask(question, Detail.FULL, reader)
    (of_vm,) = loaded.answers
    cards: dict[str, _Card] = {}
    # Hosts that state the same share one answer; hosts that are answered alike share one card.
    card_of: dict[int, _Card] = {}
    asked_about = loaded.destinations.listing or Listing()
    for position, (name, number) in enumerate(zip(asked_about.ids, asked_about.numbers, strict=True)):
        answer = of_vm.answers[number]
        card = card_of.get(id(answer))
        if card is None:
            (device,) = answer.devices
            alike = f"{device.release} {device.unit is None} {device.verdict!r}"
            unit = None if device.unit is None else asked_about.units[position][device.unit].id
            card = card_of[id(answer)] = cards.setdefault(alike, _Card(device, unit))
        card.destinations.append(name)
        if position in asked_about.stale:
            card.stale.append(name)
    ordered = sorted(cards.values(), key=lambda card: not card.device.verdict.compatible)
    shown_answers = [
        Shown(card.destinations, card.device, _rules(card.device, asked, card.destinations), card.unit, card.stale)
        for card in ordered[:_MAX_SHOWN]
    ]
    return {
        "answers": shown_answers,
        "more": sum(len(card.destinations) for card in ordered[_MAX_SHOWN:]),
        "answer_count": len(asked_about.ids),
        "possible_count": sum(of_vm.answers[number].compatible for number in asked_about.numbers),
    }


# If one of these is broken, no other rule can be checked.
_NOT_KNOWN = {code for code, rule in RULES.items() if rule.step is None and rule.subject is not Subject.SOURCE}
_OF_VARIABLES = {code for code, rule in RULES.items() if rule.step in range(2, 7)}
_OF_SETS = {
    *_OF_VARIABLES,
    ProblemCode.STATE_NOT_READABLE,
    ProblemCode.PART_UNKNOWN,
    ProblemCode.NOTHING_COMPARED,
}
_OF_PROFILE = {code for code, rule in RULES.items() if rule.subject is Subject.PROFILE}
_OF_SOURCE = {code for code, rule in RULES.items() if rule.subject is Subject.SOURCE}


def _is_state_compared(answer: DeviceAnswer) -> bool:
    """Return whether both sides state their saved states."""
    own = answer.source.set
    return own is not None and own.saved_state is not None and SAVED_STATE not in answer.verdict.unchecked


def _missing_parts(answers: Sequence[Shown]) -> Sequence[str]:
    """Return the roles of the parts that the device needs, and that a question about it alone cannot name."""
    roles = {
        need.role
        for shown_answer in answers
        if any(problem.code is ProblemCode.PART_UNKNOWN for problem in shown_answer.answer.verdict.problems)
        for variable_set in [shown_answer.answer.source.set]
        if variable_set is not None
        for need in variable_set.needs
    }
    return sorted(roles)


def _rules(answer: DeviceAnswer, asked: Asked, destinations: Sequence[str]) -> list[Rule]:
    """Return the outcome of each rule."""
    # Whether the source release is published and implements the model.
    has_source = answer.source.set is not None
    broken = {problem.code for problem in answer.verdict.problems}
    is_listing_unasked = any(warning.code is WarningCode.ONLY_VARIABLES_COMPARED for warning in answer.verdict.warnings)
    unless: Sequence[tuple[bool, AbstractSet[ProblemCode]]] = [
        (not broken.intersection(_NOT_KNOWN), RULES.keys() - _NOT_KNOWN),
        (ProblemCode.MODEL_NOT_SUPPORTED not in broken, _OF_SETS),
        (asked.profile is not None, _OF_PROFILE),
        (has_source, _OF_SOURCE),
        (asked.source is None or has_source, {ProblemCode.NOT_MIGRATABLE}),
        (bool(asked.label or set(asked.host).intersection(destinations)), {ProblemCode.UNKNOWN_HOST}),
        (asked.policy is Policy.STRICT and not is_listing_unasked, {ProblemCode.PROFILE_NOT_LISTED}),
        (_is_state_compared(answer), {ProblemCode.STATE_NOT_READABLE}),
        # This page asks about one device alone.
        (False, {ProblemCode.NOT_TOGETHER}),
    ]
    not_asked = {code for is_asked, codes in unless if not is_asked for code in codes}

    def outcome(code: ProblemCode) -> str:
        if code in broken:
            return "broken"
        return "not asked" if code in not_asked else "met"

    return [Rule(code.value, rule.sentence, outcome(code)) for code, rule in RULES.items()]
