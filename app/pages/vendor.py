"""The page of a vendor: its implementations with their releases in time, its support matrix, profiles and models."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response

from app.api.parameters import Filter, states
from app.api.session import Asking, AskSession
from app.domain.engine.acceptance import Acceptance
from app.domain.values.budget import OverBudgetError
from app.domain.values.name import is_vendor, vendor_of
from app.pages.page import PageRoute, long_page, pasted
from app.pages.support_matrix import matrix_rows
from app.service import closure
from app.service.closure import Closure
from app.service.implementation import implementation_document
from app.service.known import UnknownNameError
from app.storage import listing, search, signature
from app.storage.reader import Reader
from app.storage.timeline import Timeline, TimelineEntry, newest_profiles, timeline

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MAX_LISTED = 100
# Each with its newest releases; of one implementation that is chosen, more of them.
_IMPLEMENTATIONS = 10
_NEWEST = 5
_RELEASES = 25
# Together, so many device models of neighbouring releases are compared for a page: the whole of a QEMU, once.
_MAX_COMPARED = 400
# The support matrix of the vendor: its newest releases, of each implementation some, and its newest profiles.
_COLUMNS = 6
_COLUMNS_OF_EACH = 3
_ROWS = 8
# Together, so many pairs of a profile and a device model of a release are judged for it.
_MAX_PAIRS = 4_000


@dataclass(frozen=True, slots=True)
class _Vendor:
    """What the page shows of a vendor; more: the implementations that are only named."""

    row: listing.Row
    key_count: int
    must_sign: bool
    timelines: Mapping[str, Timeline]
    evolution: Mapping[str, str]
    more: Sequence[listing.Row]
    models: listing.Page
    profiles: listing.Page
    matrix_profiles: Sequence[str]
    profile_count: int

    @property
    def columns(self) -> Sequence[TimelineEntry]:
        """The releases of the matrix."""
        newest = [timeline.entries[:_COLUMNS_OF_EACH] for timeline in self.timelines.values()]
        return [entry for entries in newest for entry in entries][:_COLUMNS]


@router.get("/ui/vendors/{vendor}")
def get_vendor_page(
    vendor: str,
    request: Request,
    asking: Asking,
    implementation: Filter = None,
    row: Annotated[int, Query(ge=0, le=2**31 - 1, description="the number of releases to skip")] = 0,
) -> Response:
    """Show a vendor with its releases in time; implementation: only this one, with more of its releases."""
    chosen = pasted(implementation)
    shown = asking.ask_from_thread(partial(_vendor, vendor, chosen, row))

    def parts() -> Iterator[Mapping[str, object]]:
        matrix = _matrix(asking, shown) if shown.matrix_profiles and shown.columns and not chosen else None
        remaining = _MAX_COMPARED
        for name, releases in shown.timelines.items():
            closures = {}
            for entry in releases.entries:
                compared = _closure(asking, entry, remaining)
                closures[entry.name] = compared
                remaining -= compared.differing if isinstance(compared, Closure) else 0
            yield {"name": name, "releases": releases, "closures": closures, "row": row}
        if matrix is not None:
            yield {"name": None, "rows": matrix}

    return long_page(
        request,
        "vendor.html",
        "vendor_part.html",
        parts(),
        vendor=shown.row,
        shown=shown,
        chosen=chosen,
        limit=_MAX_LISTED,
        step=_RELEASES,
    )


def _matrix(asking: AskSession, shown: _Vendor) -> Sequence[Mapping[str, object]]:
    """Return the rows of the vendor's support matrix, as many as can be judged for a page."""
    model_count = sum(entry.model_count for entry in shown.columns)
    profiles = shown.matrix_profiles[: max(1, _MAX_PAIRS // max(1, model_count))]
    find = partial(matrix_rows, profiles, [entry.name for entry in shown.columns], None, Acceptance())
    try:
        return asking.ask_from_thread(find)
    except OverBudgetError:
        return ()


def _vendor(name: str, chosen: str | None, skip: int, reader: Reader) -> _Vendor:
    """Return what the page shows at once; chosen: the implementation to show alone."""
    with reader.connection() as connection:
        row = listing.vendor(connection, name) if is_vendor(name) else None
        if row is None:
            raise UnknownNameError(name, "vendor")
        known = search.implementations(connection, name, _MAX_LISTED + 1)
        if chosen is None:
            timelines = {entry.name: timeline(connection, entry.name, 0, _NEWEST) for entry in known[:_IMPLEMENTATIONS]}
        else:
            timelines = {chosen: _chosen(connection, name, chosen, skip)}
        documents = {product: implementation_document(connection, product) for product in timelines}
        matrix_profiles, profile_count = newest_profiles(connection, name, _ROWS)
        published = states(None, include_drafts=False)
        return _Vendor(
            row,
            sum(key.revoked_at is None for key in signature.keys(connection, [name])),
            name in signature.must_sign(connection, [name]),
            timelines,
            {product: document["evolution"] for product, document in documents.items() if document},
            known[_IMPLEMENTATIONS:] if chosen is None else [entry for entry in known if entry.name != chosen],
            listing.models(connection, {"vendor": name}, None, _MAX_LISTED),
            listing.profiles(connection, {"vendor": name}, published, None, _MAX_LISTED),
            matrix_profiles,
            profile_count,
        )


def _chosen(connection: sa.Connection, vendor: str, implementation: str, skip: int) -> Timeline:
    chosen = timeline(connection, implementation, skip, _RELEASES)
    if vendor_of(implementation) != vendor or not chosen.count:
        raise UnknownNameError(implementation, "implementation")
    return chosen


def _closure(asking: AskSession, entry: TimelineEntry, most: int) -> Closure | int | None:
    """Return what a release closes against the one before; None: there is none, or comparing them takes too much.

    A number: so many models differ, too many to compare them here.
    """
    if entry.before is None:
        return None
    try:
        return asking.ask_from_thread(partial(closure.between, str(entry.before), str(entry.name), most=most))
    except OverBudgetError:
        return None
