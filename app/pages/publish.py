"""The page Publish: a guide for vendors, and a form that tries a release and marks its faults in the text."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BeforeValidator

from app.api.body import Defect, MalformedError, parse
from app.api.container import container
from app.api.identity import MaybeIdentity, check_reader
from app.api.route import QuestionRoute
from app.api.session import Asking, AskSession
from app.domain.engine.question import TakesLongerError
from app.domain.publishing.gate import Broken
from app.domain.publishing.outcome import Outcome
from app.domain.publishing.token import Identity, Role
from app.domain.values.budget import OverBudgetError, spend
from app.domain.values.document import MAX_FAULTS, Fault
from app.domain.values.location import Lines, Location, constant_offset, duplicates, offsets, surrogate_offset
from app.domain.values.name import InvalidNameError, ReleaseName
from app.pages.form import Form, check_own, read_form
from app.pages.page import PageRoute, page
from app.service import trial
from app.service.fleet import running
from app.service.trial import Trial
from app.storage.reader import Reader

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_FOLDER = Path(__file__).parent / "examples"
# A release that shows each kind of device, and what it is called.
_EXAMPLES: Mapping[str, tuple[str, str]] = {
    "nic": ("a network card with vDPA", "vendor.example/nic-firmware@1.0"),
    "gpu": ("a GPU with mediated devices", "vendor.example/gpu-driver/4g@550.1"),
    "emulator": ("a device of an emulator", "vendor.example/emulator@3.0"),
}
_TEXTS = {name: (_FOLDER / f"{name}.json").read_text(encoding="utf-8") for name in _EXAMPLES}
_ExampleName = Annotated[Literal["nic", "gpu", "emulator"] | None, BeforeValidator(lambda text: text or None)]
# A text with more lines is shown only around its faults.
_MAX_LINES = 300
_AROUND = 3
# Of a longer line, only what surrounds its first fault is shown.
_MAX_LINE = 240
_BEFORE_FAULT = 80
# Reading this much takes a step of a request's budget.
_BYTES_OF_A_STEP = 20
_MAX_LISTED = 100
_WORDS = {
    "releases": ("release", "releases"),
    "models": ("new device model", "new device models"),
    "release_models": ("variable set", "variable sets"),
    "variables": ("new variable", "new variables"),
    "off_values": ("off value", "off values"),
    "profiles": ("profile", "profiles"),
    "profile_models": ("set of values of a profile", "sets of values of profiles"),
    "profile_lists": ("list of profiles", "lists of profiles"),
    "listed_profiles": ("profile on the list", "profiles on the list"),
    "own_values": ("set of own values", "sets of own values"),
    "aliases": ("alias", "aliases"),
}


@dataclass(frozen=True, slots=True)
class Marked:
    """A fault at its place in the text."""

    location: Location
    pointer: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class MarkedLine:
    """A line of the text with its faults; text: what is shown of it."""

    number: int
    text: str
    faults: Sequence[Marked]


@dataclass(frozen=True, slots=True)
class Tried:
    """What the form answers. marked: all faults. blocks: lines that follow one another, with gaps between the blocks.

    defect: what makes the text no JSON. hosts: by release, this one and the one before, how many hosts run it; None:
    the client must not know the hosts, or counting them takes too much.
    """

    name: str
    trial: Trial | None
    marked: Sequence[Marked] = ()
    blocks: Sequence[Sequence[MarkedLine]] = ()
    line_count: int = 0
    defect: str | None = None
    hosts: Mapping[str, int] | None = None

    @property
    def outcome(self) -> Outcome | None:
        """What would come of publishing the release, None if it has faults."""
        return self.trial.outcome if self.trial else None

    @property
    def added(self) -> Sequence[str]:
        """What would be added, in words."""
        counts = self.outcome.added.counts() if self.outcome else {}
        return [f"{count:,} {_WORDS[kind][count != 1]}" for kind, count in counts.items() if count and kind in _WORDS]

    @property
    def broken(self) -> Mapping[tuple[str, str, str], Sequence[Broken]]:
        """What would break: by profile and the two releases, the models with the reasons."""
        grouped: dict[tuple[str, str, str], list[Broken]] = {}
        for entry in self.outcome.breaks if self.outcome else ():
            grouped.setdefault((entry.profile, entry.accepted_by, entry.refused_by), []).append(entry)
        return grouped


async def _posted(request: Request, _: Annotated[None, Depends(check_reader)]) -> Form:
    """Return the form that is posted, no larger than a question."""
    # Nothing is stored, but it would take a client's share.
    check_own(request, may_be_unsaid=True)
    return await read_form(request)


@router.get("/ui/publish")
async def get_publish_page(
    request: Request, _: Annotated[None, Depends(check_reader)], example: _ExampleName = None
) -> Response:
    """Show the guide with the form; example: the release that the form begins with."""
    name, text = ("", "") if example is None else (_EXAMPLES[example][1], _TEXTS[example])
    return _page(request, name, text, None)


@router.post("/ui/publish")
def post_publish_page(
    request: Request, asking: Asking, form: Annotated[Form, Depends(_posted)], identity: MaybeIdentity
) -> Response:
    """Try the release in the form, and show its faults at their lines, or what publishing it would do."""
    file = next((content for _, content in form.files), None)
    content = (file or form.text("document").encode("utf-8", "surrogatepass")).replace(b"\r\n", b"\n")
    text = content.decode("utf-8", "replace")
    name = form.first("release")
    try:
        release = ReleaseName.parse(name)
    except InvalidNameError as error:
        return _page(request, name, text, None, name_fault=str(error))
    if not content.strip():
        return _page(request, name, text, None, text_fault="Paste the release as JSON, or choose a file.")
    try:
        tried = _tried(asking, release, content, text)
    except OverBudgetError as error:
        message = f"The release takes more than {error.limit:,} {error.unit} to try here."
        answer = _page(request, name, text, None, text_fault=message)
        answer.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
        return answer
    return _page(request, name, text, tried, rights=_rights(identity, release))


def _page(  # noqa: PLR0913 (what the page is made of)
    request: Request,
    name: str,
    text: str,
    tried: Tried | None,
    *,
    name_fault: str | None = None,
    text_fault: str | None = None,
    rights: str | None = None,
) -> Response:
    address = str(request.base_url).rstrip("/")
    shown_name = name or "vendor.example/firmware@1.0"
    answer = page(
        request,
        "publish.html",
        release=name,
        text=text,
        tried=tried,
        name_fault=name_fault,
        text_fault=text_fault,
        rights=rights,
        examples={key: {"words": words, "release": of, "text": _TEXTS[key]} for key, (words, of) in _EXAMPLES.items()},
        command=f"profile-registry publish release.json --release {shlex.quote(shown_name)}",
        address=address,
        curl=(
            f"curl -X PUT {shlex.quote(f'{address}/releases/{shown_name}')} \\\n"
            "  -H \"Authorization: Bearer $REGISTRY_TOKEN\" -H 'Content-Type: application/json' \\\n"
            "  --data-binary @release.json"
        ),
        max_bytes=QuestionRoute.max_body_bytes(container(request).settings),
        max_faults=MAX_FAULTS,
        max_listed=_MAX_LISTED,
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _rights(identity: Identity | None, release: ReleaseName) -> str | None:
    """Return why the client cannot publish the release itself, None if it can."""
    if identity is None:
        return f"To publish it, you need a token of {release.vendor}, from whoever runs this registry."
    if identity.role is Role.READER:
        return "Your token can only read."
    if not identity.may_write(release.vendor):
        return f"Your token can publish only names of {identity.vendor}."
    return None


def _tried(asking: AskSession, release: ReleaseName, content: bytes, text: str) -> Tried:
    """Return what comes of a release; raises OverBudgetError."""
    tried = asking.ask_from_thread(partial(_try, release, content, text))
    if tried.outcome is None or not asking.sees_hosts:
        return tried
    names = [name for name in (str(release), tried.outcome.previous) if name]
    try:
        hosts = asking.ask_from_thread(partial(running, names))
    except OverBudgetError:
        return tried
    return replace(tried, hosts={name: sum(group.count for group in groups) for name, groups in hosts.items()})


def _try(release: ReleaseName, content: bytes, text: str, reader: Reader) -> Tried:
    if not reader.can_wait:
        raise TakesLongerError(len(content))
    spend(len(content) // _BYTES_OF_A_STEP)
    lines = Lines(text)
    try:
        document = parse(content)
    except MalformedError as error:
        location = lines.location(_offset_of(error, content, text))
        return _marked(str(release), None, [Marked(location, "", "malformed-json", error.words)], lines, error.words)
    tried = trial.of_release(release, document, reader)
    return _marked(str(release), tried, _located(tried.faults, lines, text), lines)


def _offset_of(error: MalformedError, content: bytes, text: str) -> int:
    """Return the character at which a text stops being strict JSON; the first one if that cannot be said."""
    match error.defect:
        case Defect.SYNTAX:
            return min(error.offset or 0, len(text))
        case Defect.ENCODING:
            return len(content[: error.offset].decode("utf-8", "replace"))
        case Defect.DUPLICATE:
            return next((offset for _, offset in duplicates(text)), 0)
        case Defect.CONSTANT:
            return constant_offset(text) or 0
        case Defect.SURROGATE:
            return surrogate_offset(text) or 0
        case Defect.DEPTH:
            return 0


def _located(faults: Iterable[Fault], lines: Lines, text: str) -> Sequence[Marked]:
    """Return faults at their places, in the order of the text."""
    known = list(faults)
    places = offsets(text, [fault.pointer for fault in known]) if known else {}
    marked = [
        Marked(lines.location(places[fault.pointer]), fault.pointer, fault.code.value, fault.message) for fault in known
    ]
    return sorted(marked, key=lambda fault: fault.location)


def _marked(name: str, tried: Trial | None, faults: Sequence[Marked], lines: Lines, defect: str | None = None) -> Tried:
    """Return the answer with the lines to show: all of a short text, otherwise those around the faults."""
    # A line break at the end begins no line.
    count = len(lines.texts) - (len(lines.texts) > 1 and not lines.texts[-1])
    by_line: dict[int, list[Marked]] = {}
    for fault in faults:
        by_line.setdefault(min(fault.location.line, count), []).append(fault)
    if not faults:
        numbers: Iterable[int] = ()
    elif count <= _MAX_LINES:
        numbers = range(1, count + 1)
    else:
        around = {near for line in by_line for near in range(line - _AROUND, line + _AROUND + 1)}
        numbers = sorted(number for number in around if 1 <= number <= count)
    blocks: list[list[MarkedLine]] = []
    for number in numbers:
        own = by_line.get(number, [])
        line = MarkedLine(number, _shortened(lines.texts[number - 1], own), own)
        if blocks and blocks[-1][-1].number == number - 1:
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return Tried(name, tried, faults, blocks, count, defect)


def _shortened(line: str, faults: Sequence[Marked]) -> str:
    if len(line) <= _MAX_LINE:
        return line
    start = max(0, faults[0].location.column - 1 - _BEFORE_FAULT) if faults else 0
    end = start + _MAX_LINE
    return f"{'… ' if start else ''}{line[start:end]}{' …' if end < len(line) else ''}"
