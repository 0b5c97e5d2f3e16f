"""The page of a release: what went wrong with it, what it closes, who runs it, its profiles and its models."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.session import Asking, AskSession
from app.domain.engine.acceptance import Acceptance
from app.domain.publishing.change import ChangeKind
from app.domain.values.budget import OverBudgetError
from app.domain.values.name import ReleaseName, is_release_name, newest_first
from app.domain.values.value import Value
from app.pages.page import PageRoute, long_page
from app.pages.support_matrix import matrix_rows
from app.service import closure
from app.service.closure import Closure
from app.service.erratum import errata_documents
from app.service.fleet import running
from app.service.implementation import implementation_document
from app.service.known import UnknownNameError
from app.service.release import own_values_document, release_document
from app.storage import lookup
from app.storage.reader import Reader
from app.storage.timeline import Event, events

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# Together, so many pairs of a listed profile and a device model are judged for a page, and so many profiles are listed.
_MAX_PAIRS = 3_000
_MAX_PROFILES = 200
# So many device models of neighbouring releases are compared for a page: the whole of a QEMU, once.
_MAX_COMPARED = 400
_MAX_HOSTS = 20
_MAX_OWN_VALUES = 100


@dataclass(frozen=True, slots=True)
class _Release:
    """What the page shows of a release at once; published: None if the feed does not have it."""

    document: Mapping[str, Any]
    implementation: Mapping[str, Any]
    known_broken: Sequence[Mapping[str, Any]]
    events: Sequence[Event]

    @property
    def published(self) -> Event | None:
        """When and by whom it was published, None if the feed does not have that."""
        return next((event for event in self.events if event.kind is ChangeKind.RELEASE_PUBLISHED), None)

    @property
    def extended(self) -> Sequence[Event]:
        """When it gained something."""
        return [event for event in self.events if event.kind is ChangeKind.RELEASE_EXTENDED]

    @property
    def took_state(self) -> Event | None:
        """When it took its state, None if it has the state that it was published with."""
        return next((event for event in reversed(self.events) if event.state is not None), None)

    def neighbours(self) -> tuple[str | None, str | None]:
        """Return the releases with the next lower and the next higher version."""
        ordered = self.implementation["releases"]
        place = ordered.index(self.document["release"])
        before = ordered[place - 1] if place else None
        return before, ordered[place + 1] if place + 1 < len(ordered) else None


@router.get("/ui/releases/{release:path}")
def get_release_page(release: str, request: Request, asking: Asking, *, compare_next: bool = False) -> Response:
    """Show a release, what it closes against the versions before and after it, and which hosts run it.

    compare_next: compare it with the version after it first, for it can be too much to compare both at once.
    """
    shown = asking.ask_from_thread(partial(_release, release))
    before, after = shown.neighbours()
    profiles = sorted(shown.document["profiles"] or (), key=newest_first)[:_MAX_PROFILES]

    def parts() -> Iterator[Mapping[str, object]]:
        # What costs little comes first: when the budget is used up, only comparisons are left out.
        own_values = asking.ask_from_thread(partial(_own_values, release))
        hosts = asking.ask_from_thread(partial(running, [release]))[release] if asking.sees_hosts else None
        pairs = [(one, other) for one, other in ((before, release), (release, after)) if one and other]
        yield {"part": "directions", "closures": _closures(asking, pairs, is_last_first=compare_next)}
        if hosts is not None:
            yield {
                "part": "hosts",
                "hosts": sorted(name for group in hosts for name in group.examples)[:_MAX_HOSTS],
                "host_count": sum(group.count for group in hosts),
            }
        yield {"part": "errata"}
        rows = _judged(asking, release, profiles, len(shown.document["models"]))
        yield {"part": "profiles", "rows": rows, "unjudged": profiles[len(rows) :]}
        yield {"part": "rest", "own_values": own_values}

    return long_page(
        request,
        "release.html",
        "release_part.html",
        parts(),
        release=shown.document,
        implementation=shown.implementation,
        shown=shown,
        before=before,
        after=after,
        known_broken=shown.known_broken,
        max_own_values=_MAX_OWN_VALUES,
    )


def _closures(
    asking: AskSession, pairs: Sequence[tuple[str, str]], *, is_last_first: bool
) -> Mapping[tuple[str, str], Closure | int | None]:
    """Return what is closed between the releases of each pair; a number: so many models differ, too many to compare.

    None: comparing them took too much. What was compared before is remembered, and counts nothing.
    """
    closures: dict[tuple[str, str], Closure | int | None] = {}
    remaining = _MAX_COMPARED
    for pair in reversed(pairs) if is_last_first else pairs:
        try:
            closures[pair] = asking.ask_from_thread(partial(closure.between, *pair, most=remaining))
        except OverBudgetError:
            closures[pair] = None
        remaining -= compared.differing if isinstance(compared := closures[pair], Closure) else 0
    return {pair: closures[pair] for pair in pairs}


def _judged(
    asking: AskSession, release: str, profiles: Sequence[str], model_count: int
) -> Sequence[Mapping[str, object]]:
    """Return the rows of the support matrix of the first profiles, as many as can be judged for a page."""
    first = profiles[: max(1, _MAX_PAIRS // max(1, model_count))]
    find = partial(matrix_rows, first, [ReleaseName.parse(release)], None, Acceptance())
    try:
        return asking.ask_from_thread(find) if first else []
    except OverBudgetError:
        return []


def _release(release: str, reader: Reader) -> _Release:
    name = ReleaseName.parse(release) if is_release_name(release) else None
    with reader.connection() as connection:
        document = release_document(connection, name) if name else None
        implementation = implementation_document(connection, name.implementation) if name else None
        if name is None or document is None or implementation is None:
            raise UnknownNameError(release, "release")
        return _Release(
            document,
            implementation,
            errata_documents(connection, release=name),
            events(connection, [release]).get(release, []),
        )


def _own_values(release: str, reader: Reader) -> Mapping[tuple[str, Value], tuple[Sequence[str], Sequence[str]]]:
    """Return the values that a release gives a new device itself: the models and the profiles by variable and value."""
    with reader.connection() as connection:
        name = ReleaseName.parse(release)
        release_id = lookup.release_id(connection, name.implementation, name.version)
        document = {} if release_id is None else own_values_document(connection, release_id)
    # A boolean is not the integer that equals it.
    occurrences: dict[tuple[str, str, Value], tuple[set[str], set[str]]] = {}
    for profile, models in document.items():
        for model, values in models.items():
            for variable, value in values.items():
                in_models, in_profiles = occurrences.setdefault((variable, str(type(value)), value), (set(), set()))
                in_models.add(model)
                in_profiles.add(profile)
    ordered = sorted(occurrences.items(), key=lambda entry: (entry[0][0], str(entry[0][2])))
    return {
        (variable, value): (sorted(models), sorted(profiles)) for (variable, _, value), (models, profiles) in ordered
    }
