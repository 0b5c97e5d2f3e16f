"""The help: a page for every code that an answer can have, the verdict and the terms in short, and the guides."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from app.api.error_code import ERRORS, ErrorCode
from app.api.errors import ApiError, root_of
from app.api.parameters import Filter
from app.domain.fleet.member import BASELINES
from app.domain.values.document import did_you_mean
from app.domain.values.fault import FAULTS
from app.domain.verdict.advice import ADVICE, Advice
from app.domain.verdict.problem import RULES
from app.domain.verdict.warning import UNCHECKED, WARNINGS
from app.pages.guide import guide, titles
from app.pages.page import PageRoute, page
from app.storage.failure import WORDS

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Group(StrEnum):
    """What the codes of a group are about, as a heading."""

    PROBLEMS = "Problems of a verdict"
    WARNINGS = "Warnings of a verdict"
    UNCHECKED = "Not checked by a verdict"
    BASELINES = "Problems of a baseline"
    ERRORS = "Errors of a request"
    FAULTS = "Faults of a document or an address"


_INTRODUCTIONS: Mapping[Group, str] = {
    Group.PROBLEMS: "Why a device cannot move there. The rule is what holds when there is no problem.",
    Group.WARNINGS: "A warning does not make a device incompatible.",
    Group.UNCHECKED: "What the field unchecked of a verdict lists in addition to the names of variables.",
    Group.BASELINES: "Why there is no baseline. Other codes of a baseline have the same meaning as in a verdict.",
    Group.ERRORS: "The code of an answer with a status of 400 or more.",
    Group.FAULTS: "What is wrong at one place of a request; an answer lists all of them under faults.",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What a code means in one group; a code can be in several groups.

    step: of the verdict. statuses: of an error. advice: what each party can do about a problem.
    """

    code: str
    group: Group
    sentence: str
    cure: str
    example: str
    step: int | None = None
    statuses: Sequence[HTTPStatus] = ()
    advice: Advice | None = None

    def has(self, words: Sequence[str]) -> bool:
        """Return whether the entry contains all of some words, in lower case."""
        text = f"{self.code} {self.sentence} {self.cure}".lower()
        return all(word in text for word in words)


def _entries() -> Iterator[Entry]:
    """Iterate over the rows of all tables of codes."""
    for problem, rule in RULES.items():
        advice = ADVICE[problem]
        yield Entry(problem, Group.PROBLEMS, rule.sentence, rule.cure, advice.example, step=rule.step, advice=advice)
    for group, meanings in (
        (Group.WARNINGS, WARNINGS),
        (Group.UNCHECKED, UNCHECKED),
        (Group.BASELINES, BASELINES),
    ):
        for code, meaning in meanings.items():
            yield Entry(str(code), group, meaning.sentence, meaning.cure, meaning.example)
    for error, row in ERRORS.items():
        yield Entry(error, Group.ERRORS, row.sentence, row.cure, row.example, statuses=row.statuses)
    for fault, meaning in FAULTS.items():
        yield Entry(fault, Group.FAULTS, meaning.sentence, meaning.cure, meaning.example)


ENTRIES: Sequence[Entry] = tuple(_entries())
BY_CODE: Mapping[str, Sequence[Entry]] = {
    code: [entry for entry in ENTRIES if entry.code == code] for code in dict.fromkeys(entry.code for entry in ENTRIES)
}

# The guides that say more about some codes, in addition to the one of their group; each with its heading.
_GUIDES_OF_GROUPS: Mapping[Group, str] = {
    Group.PROBLEMS: "verdict",
    Group.WARNINGS: "verdict",
    Group.UNCHECKED: "left-out",
    Group.BASELINES: "fleet",
    Group.FAULTS: "publish",
}
_GUIDES_OF_CODES: Mapping[str, str] = {
    **dict.fromkeys(("unknown-host", "host-stale", "restriction-without-effect"), "hosts"),
    **dict.fromkeys(("part-unknown", "not-together"), "outside"),
    **dict.fromkeys(("unsigned", "signature-required", "signature-invalid", "key-revoked"), "signatures"),
    **dict.fromkeys(("unknown-key", "unknown-signature"), "signatures"),
    **dict.fromkeys(("gap", "altered", "mirror-conflict", "mirror-of-itself", "unknown-mirror"), "mirror"),
    **dict.fromkeys(("unavailable", "too-many-requests", "unknown-host-name", "over-budget"), "production"),
    **dict.fromkeys(("evolution-gate", "unknown-issuer", "wrong-audience", "claims-not-trusted"), "publish"),
    **dict.fromkeys(("token-expired", "token-not-yet-valid", "token-replayed", "issuer-unavailable"), "publish"),
}


def matching(text: str, limit: int) -> tuple[Sequence[Entry], int]:
    """Return the first entries, one of each code, that contain all words of a text, and the number of all of them."""
    words = text.lower().split()
    entries = [entries[0] for entries in BY_CODE.values() if any(entry.has(words) for entry in entries)]
    entries.sort(key=lambda entry: (entry.code != text.lower(), not all(word in entry.code for word in words)))
    return entries[:limit], len(entries)


@router.get("/help")
async def get_help(request: Request, q: Filter = None) -> Response:
    """List all codes by what they are about; q: words that an entry contains."""
    words = (q or "").lower().split()
    entries = [entry for entry in ENTRIES if entry.has(words)]
    groups = {group: [entry for entry in entries if entry.group is group] for group in Group}
    return page(
        request,
        "help.html",
        words=q or "",
        groups={group: members for group, members in groups.items() if members},
        introductions=_INTRODUCTIONS,
        guides=titles(),
        count=len(entries),
        total=len(ENTRIES),
    )


@router.get("/help/verdict")
async def get_verdict_help(request: Request) -> Response:
    """Explain the verdict, step by step."""
    problems = [entry for entry in ENTRIES if entry.group is Group.PROBLEMS]
    steps = {step: [entry for entry in problems if entry.step == step] for step in dict.fromkeys(map(_step, problems))}
    return page(request, "help_verdict.html", steps=steps, guides=titles())


def _step(entry: Entry) -> int | None:
    return entry.step


@router.get("/help/terms")
async def get_terms(request: Request) -> Response:
    """Explain the terms."""
    return page(request, "help_terms.html", guides=titles())


@router.get("/help/guides/{name}")
def get_guide(name: str, request: Request) -> Response:
    """Show a guide of the documentation."""
    text = guide(name, root_of(request.scope))
    if text is None:
        message = f"There is no guide {name}{did_you_mean(name, titles())}."
        raise ApiError(HTTPStatus.NOT_FOUND, ErrorCode.UNKNOWN_HELP, message)
    return page(request, "guide.html", guide=text)


@router.get("/help/{code}")
async def get_code_help(code: str, request: Request) -> Response:
    """Explain a code, in each group that it is in."""
    entries = BY_CODE.get(code)
    if entries is None:
        message = f"There is no code {code}{did_you_mean(code, BY_CODE)}."
        raise ApiError(HTTPStatus.NOT_FOUND, ErrorCode.UNKNOWN_HELP, message)
    wanted = {_GUIDES_OF_CODES.get(code), *(_GUIDES_OF_GROUPS.get(entry.group) for entry in entries)}
    guides = {name: title for name, title in titles().items() if name in wanted}
    causes = {cause.value: words for cause, words in WORDS.items()} if code == ErrorCode.UNAVAILABLE else {}
    return page(request, "help_code.html", code=code, entries=entries, guides=guides, causes=causes)
