"""The difference of two releases or two profiles, to look at."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.access import Registry
from app.api.diff import differences, differing, pair
from app.api.known import known_model
from app.api.parameters import Filter
from app.domain.difference import Difference
from app.domain.name import ReleaseName
from app.pages.page import PageRoute, long_page, page, pasted
from app.storage import lookup
from app.storage.catalog import Standing

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MOST_OFFERED = 200
_MODELS = 100
_AT_ONCE = 10


@router.get("/ui/diff")
def get_diff_page(  # noqa: PLR0913 (what is looked at)
    request: Request,
    registry: Registry,
    before: Annotated[Filter, Query(alias="from")] = None,
    after: Annotated[Filter, Query(alias="to")] = None,
    model: Filter = None,
    *,
    closing: bool = False,
    row: Annotated[int, Query(ge=0, le=2**31 - 1, description="how many models are passed over")] = 0,
) -> Response:
    """Show what was added, removed and changed; closing: only what closes a direction of migration."""
    before, after, model = pasted(before) or "", pasted(after) or "", pasted(model)
    if not (before and after):
        offered = registry.ask(_offered)
        return page(request, "diff_form.html", before=before, after=after, model=model, offered=offered)
    names = registry.ask(lambda current: _differing(before, after, model, current))
    shown = [each for each in names if each == model] if model else names[row : row + _MODELS]
    ahead = iter(shown)

    def parts() -> Iterator[Mapping[str, object]]:
        while some := list(islice(ahead, _AT_ONCE)):
            found = registry.ask(partial(_found, before, after, some))
            for name, each in found.items():
                if listed := [one for one in each if one.closes or not closing]:
                    yield {"name": name, "differences": listed}

    return long_page(
        request,
        "diff.html",
        "diff_model.html",
        parts(),
        before=before,
        after=after,
        model=model,
        closing=closing,
        count=len(names),
        row=row,
        shown=len(shown),
        step=_MODELS,
    )


def _differing(before: str, after: str, model: str | None, current: Standing) -> Sequence[str]:
    if model is not None:
        known_model(model, current)
    return differing(*pair(before, after, current))


def _found(before: str, after: str, models: Sequence[str], current: Standing) -> Mapping[str, Sequence[Difference]]:
    return differences(models, *pair(before, after, current), current)


def _offered(current: Standing) -> Sequence[str]:
    """Return releases and profiles to choose from, the newest first."""
    with current.reading() as connection:
        releases = lookup.implementing(connection, None)[::-1]
        profiles = lookup.profiles_naming(connection)
    return [*(str(ReleaseName(*each)) for each in releases[:_MOST_OFFERED]), *(each.name for each in profiles)][
        : 2 * _MOST_OFFERED
    ]
