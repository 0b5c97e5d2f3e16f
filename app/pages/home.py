"""The home page: a finished verdict, the search, what vendors published last, and the fleet at a glance."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.parameters import Filter
from app.api.session import Asking
from app.hypervisor.domain import used_models
from app.pages.host import Runs
from app.pages.page import PageRoute, page
from app.pages.search import results_page
from app.service import example, fleet
from app.storage import history, listing, search
from app.storage.reader import Reader

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MAX_VENDORS = 12
_MAX_CHANGES = 8
_MAX_KINDS = 5


@router.get("/")
def get_home(
    request: Request,
    asking: Asking,
    q: Annotated[Filter, Query(description="words of a name")] = None,
    group: Filter = None,
) -> Response:
    """Show the home page, or the results of a search; group: the kind of results of which more are shown."""
    text = (q or "").strip()
    if text:
        return asking.ask_from_thread(lambda reader: _results(request, text, group, reader))
    return page(request, "home.html", **asking.ask_from_thread(_glance))


def _results(request: Request, text: str, group: str | None, reader: Reader) -> Response:
    with reader.connection() as connection:
        return results_page(request, connection, text, group, with_hosts=reader.shows_hosts)


def _glance(reader: Reader) -> Mapping[str, Any]:
    """Return what the home page shows; the fleet is None if no host is registered, or the client must not know them."""
    with reader.connection() as connection:
        content: dict[str, Any] = {
            "counts": search.counts(connection),
            "vendors": listing.vendors(connection, None, _MAX_VENDORS),
            "latest": history.published_last(connection, _MAX_CHANGES),
        }
    selection = fleet.select((), reader) if reader.shows_hosts else None
    groups = selection.groups[:_MAX_KINDS] if selection is not None else []
    kinds: Sequence[tuple[fleet.Group, Sequence[Runs]]] = [(group, Runs.of(group.kind.first)) for group in groups]
    return content | {
        "example": example.find(used_models(), reader),
        "selection": selection if selection is not None and selection.all_count else None,
        "kinds": kinds,
    }
