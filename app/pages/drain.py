"""The page Drain: many VMs, pasted or uploaded, and where each of them can move."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from fastapi import APIRouter, Request, Response

from app.api.body import parse
from app.api.container import container
from app.api.errors import ApiError, faults_of_shape
from app.api.identity import Allowed
from app.api.route import QuestionRoute
from app.api.session import Asking
from app.domain.fleet.rendering import CPU_MODEL
from app.domain.values.budget import OverBudgetError
from app.domain.values.document import InvalidDocumentError
from app.domain.values.state import State
from app.hypervisor import reading
from app.hypervisor.domain import Domain, DomainError, DomainOptions
from app.hypervisor.naming import is_emulator
from app.hypervisor.question import domain_question_of, without_cpus
from app.pages.form import Form, SentForm, check_own
from app.pages.host import Runs, conditions, known_hosts, states_of
from app.pages.page import PageRoute, page
from app.service import drain
from app.storage.reader import Reader
from app.wire import compatibility as wire
from app.wire.reading import InvalidShapeError, read_shape

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MAX_PLACES = 40
_MAX_VMS = 1_000
_MAX_OPTIONS = 200
_INSTEAD = "Ask about fewer VMs at once, or about fewer hosts by their labels."
_PASTED = "The text"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form asks. source: the host or release that the VMs run on. device: models of devices, as id=model."""

    texts: Sequence[tuple[str, bytes]]
    text: str
    is_sent: bool
    source: str
    labels: Sequence[str]
    policy: wire.Policy
    device: Sequence[str]
    without: Sequence[str]

    @classmethod
    def of(cls, form: Form, *, is_sent: bool) -> "Asked":
        """Read the form. is_sent: it was sent, not opened."""
        text = form.text("vm")
        texts = [(name, content) for name, content in form.files]
        if text.strip():
            texts.insert(0, (_PASTED, text.encode("utf-8", "surrogatepass")))
        policy = wire.Policy.PERMISSIVE if form.first("policy") == "permissive" else wire.Policy.STRICT
        labels = conditions(form.fields.get("label"))
        return cls(
            texts, text, is_sent, form.first("source"), labels, policy, form.lines("device"), form.lines("without")
        )


@dataclass
class Gathered:
    """What was read: the VMs, and the faults, each with the place where it is. sources: hosts that VMs run on."""

    asks: list[drain.Ask] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    unknown: list[set[str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, document: Mapping[str, Any], source: str, unasked: Mapping[str, str]) -> None:
        """Add a VM as the API describes it."""
        try:
            vm = read_shape(wire.Vm, document)
        except InvalidShapeError as error:
            self.faults += [f"{source}: {fault['pointer']} {fault['message']}" for fault in faults_of_shape(error)]
            return
        if len(self.asks) == _MAX_VMS:
            self.faults.append(f"{source}: at most {_MAX_VMS:,} VMs can be asked about at once")
            return
        name = vm.id or source
        count = self.counts[name] = self.counts.get(name, 0) + 1
        unique = name if count == 1 else f"{name} ({count})"
        self.asks.append(drain.Ask(vm.model_copy(update={"id": unique}), unasked))


@router.api_route("/ui/drain", methods=["GET", "POST"])
def get_drain_page(request: Request, asking: Asking, allowed: Allowed, form: SentForm) -> Response:
    """Show the form for VMs, and where each can move: a grid of VMs and kinds of hosts, with the reasons."""
    # Nothing is stored, but it would take a client's share.
    if request.method == "POST":
        check_own(request, may_be_unsaid=True)
    asked = Asked.of(form, is_sent=request.method == "POST")
    if asked.labels:
        allowed.check_hosts()
    try:
        content = asking.ask_from_thread(lambda reader: _content(asked, Gathered(), reader), _INSTEAD)
    except OverBudgetError as error:
        # What was pasted stays in the form.
        content = _nothing(f"This is too much at once. {error.instead}")
    limit = QuestionRoute.max_body_bytes(container(request).settings)
    return page(request, "drain.html", asked=asked, limit=limit, **content)


def _nothing(fault: str) -> Mapping[str, object]:
    """Return the content of a page that answers nothing."""
    return {
        "gathered": Gathered(faults=[fault]),
        "vms": [],
        "places": [],
        "shown": 0,
        "runs": [],
        "states": {},
        "all_labels": [],
        "sources": [],
        "host_count": 0,
        "is_asked": False,
    }


def _content(asked: Asked, gathered: Gathered, reader: Reader) -> Mapping[str, object]:
    for label in asked.labels:
        try:
            wire.checked_label(label)
        except ValueError as error:
            gathered.faults.append(f"label {label}: {error}")
    release, host = _source(asked.source, reader, gathered)
    options = _options(asked, gathered)
    places = _read(asked, release, host, options, gathered, reader)
    if gathered.unknown and (wrong := set.intersection(*gathered.unknown)):
        there = ", ".join(sorted(gathered.names))
        gathered.faults.append(f"No VM has {', '.join(sorted(wrong))}. They have {there}.")
    if asked.is_sent and not asked.texts:
        gathered.faults.append("Paste a libvirt domain or a question in JSON, or choose a file.")
    is_asked = bool(gathered.asks) and not gathered.faults and bool(places or not asked.labels)
    vms: Sequence[drain.VmPlaces] = []
    try:
        if is_asked:
            places, vms = drain.drain(gathered.asks, places, asked.policy, reader)
        if is_asked and not vms:
            gathered.faults.append("No published release implements a model of these VMs.")
    except InvalidDocumentError as error:
        gathered.faults += [f"{fault.pointer} {fault.message}" for fault in error.faults]
    labels, hosts = known_hosts(reader, _MAX_OPTIONS)
    return {
        "gathered": gathered,
        "vms": vms,
        "places": places,
        "shown": min(len(places), _MAX_PLACES),
        "runs": [_runs(place) for place in places[:_MAX_PLACES]],
        "states": states_of(reader, (name for place in places[:_MAX_PLACES] for name in place.releases)),
        "all_labels": labels,
        "sources": [*hosts, *list(reader.implementing())[::-1][:_MAX_OPTIONS]],
        "host_count": sum(place.count for place in places),
        "is_asked": is_asked,
    }


def _read(
    asked: Asked, release: str | None, host: str | None, options: DomainOptions, gathered: Gathered, reader: Reader
) -> Sequence[drain.Place]:
    """Read the VMs, and return the kinds of hosts to go to: not those hosts on which one of the VMs runs."""
    if host is not None:
        gathered.sources.add(host)
    for source, text in asked.texts:
        if reading.is_json(text):
            _add_json(text, source, gathered)
    places: Sequence[drain.Place] = []
    if reader.shows_hosts and not gathered.faults:
        places = drain.places_of_hosts(asked.labels, gathered.sources, reader)
    domains = _Domains(options, release, host, places, reader)
    for source, text in asked.texts:
        if not reading.is_json(text):
            domains.add(text, source, gathered)
    return places


def _runs(place: drain.Place) -> Sequence[Runs]:
    if place.kind is None:
        return [Runs(name, 0) for name in place.releases]
    return Runs.of(place.kind.first)


def _source(source: str, reader: Reader, gathered: Gathered) -> tuple[str | None, str | None]:
    """Return the emulator's release that the VMs run on, and the registered host, as far as they are named."""
    if not source:
        return None, None
    if "@" in source:
        if reader.digests(source) is None:
            gathered.faults.append(f"Source: the registry has no release {source}.")
        return source, None
    host = reader.hosts([source])[source] if reader.shows_hosts else None
    if host is None or host.problem is not None:
        message = f"Source: no host {source} is registered"
        gathered.faults.append(f"{message}. Name a registered host, or a release as <implementation>@<version>.")
        return None, None
    return next((name for name in host.releases if is_emulator(name)), None), source


def _options(asked: Asked, gathered: Gathered) -> DomainOptions:
    models: dict[str, str] = {}
    for pair in reading.pairs(asked.device):
        if isinstance(pair, str):
            gathered.faults.append(f"Models of devices: must be <id>=<device model>, not {pair}")
        else:
            models[pair[0]] = pair[1]
    return DomainOptions(models=models, without=asked.without)


def _add_json(text: bytes, source: str, gathered: Gathered) -> None:
    """Add the VMs of a question in JSON: {"devices": …}, {"vms": …}, or a list of VMs."""
    try:
        document = parse(text)
    except ApiError as error:
        gathered.faults.append(f"{source}: {error.detail}")
        return
    vms, _ = reading.vms_in(document)
    if not isinstance(vms, list):
        gathered.faults.append(f"{source}: vms must be a list of VMs")
        return
    for number, vm in enumerate(vms, 1):
        gathered.sources |= reading.hosts_of(vm)
        gathered.add(vm, source if len(vms) == 1 else f"{source}, VM {number}", {})


@dataclass(frozen=True, slots=True)
class _Domains:
    """Reads libvirt domains. release, host: what they run on. places: where they could move."""

    options: DomainOptions
    release: str | None
    host: str | None
    places: Sequence[drain.Place]
    reader: Reader

    def add(self, text: bytes, source: str, gathered: Gathered) -> None:
        """Add the domains of a text."""
        for root in reading.domains(text, source):
            try:
                domain = _domain(root, source, self.options, self.release)
            except DomainError as error:
                gathered.faults.append(f"{error}")
                continue
            asked = domain_question_of([domain], [source])
            cpus, notes = without_cpus(
                asked,
                lambda name: _has_cpu_models(name, self.reader),
                lambda: _emulators(self.places, self.reader),
            )
            gathered.notes += notes
            gathered.names |= domain.names
            gathered.unknown.append(domain.unknown)
            unasked = {name: _on_page(why) for name, why in {**(asked.unasked or {}), **cpus}.items()}
            if not asked.document["vms"]:
                left = "; ".join(f"{name}: {why}" for name, why in unasked.items())
                gathered.faults.append(f"{source}: {domain.name} has no device that can be checked. {left}")
                continue
            (vm,) = asked.document["vms"]
            for device in vm["devices"]:
                device.pop("is_default", None)
            gathered.add({**vm, **({"host": self.host} if self.host else {})}, source, unasked)


_OPTIONS = (
    (re.compile(r"with --device (\S+)=<device model>"), r"below (\1=<device model>)"),
    (re.compile(r"with --without (\S+)"), r"below (\1)"),
)


def _on_page(reason: str) -> str:
    """Return why something is not asked, with the fields of the page in place of the command's options."""
    for option, words in _OPTIONS:
        reason = option.sub(words, reason)
    return reason


def _domain(root: Element | DomainError, source: str, options: DomainOptions, release: str | None) -> Domain:
    if isinstance(root, DomainError):
        raise root
    return Domain.of(root, source, options, release)


def _has_cpu_models(release: str | None, reader: Reader) -> bool:
    if release is None:
        return reader.snapshot(models=[CPU_MODEL], of_models=()).model(CPU_MODEL) is not None
    return CPU_MODEL in (reader.digests(release) or {})


def _emulators(places: Sequence[drain.Place], reader: Reader) -> Sequence[str]:
    """Return the releases of QEMU at the places; without places, all that are not retired."""
    names = [name for place in places for name in place.releases] or [
        name for name, state in states_of(reader, iter(reader.implementing())).items() if state is not State.RETIRED
    ]
    return [name for name in dict.fromkeys(names) if is_emulator(name)]
