"""The page Diff: the differences between two releases or two profiles."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.parameters import Filter
from app.api.session import Asking
from app.domain.publishing.outcome import MadeOtherwise
from app.domain.values.name import ReleaseName
from app.domain.values.value import Value
from app.pages.page import PageRoute, long_page, page, pasted
from app.service import diff
from app.storage import lookup
from app.storage.reader import Reader

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_INSTEAD = "Name a model."
_MAX_CHOICES = 200
_MODELS = 100
_AT_ONCE = 10


@router.get("/ui/diff")
def get_diff_page(  # noqa: PLR0913 (the parameters of the page)
    request: Request,
    asking: Asking,
    before: Annotated[Filter, Query(alias="from")] = None,
    after: Annotated[Filter, Query(alias="to")] = None,
    model: Filter = None,
    *,
    closing: bool = False,
    row: Annotated[int, Query(ge=0, le=2**31 - 1, description="the number of models to skip")] = 0,
) -> Response:
    """Show the differences; closing: only those that close a direction of migration."""
    before, after, model = pasted(before) or "", pasted(after) or "", pasted(model)
    if not (before and after):
        choices = asking.ask_from_thread(_choices)
        return page(request, "diff_form.html", before=before, after=after, model=model, choices=choices)
    names = asking.ask_from_thread(partial(diff.differing, before, after, model), _INSTEAD)
    shown = [name for name in names if name == model] if model else names[row : row + _MODELS]
    no_longer_listed, made_otherwise = asking.ask_from_thread(partial(diff.of_listed_profiles, before, after), _INSTEAD)
    remaining = iter(shown)

    def parts() -> Iterator[Mapping[str, object]]:
        while batch := list(islice(remaining, _AT_ONCE)):
            by_model = asking.ask_from_thread(partial(diff.differences, batch, before, after), _INSTEAD)
            for name, differences in by_model.items():
                if listed := [difference for difference in differences if difference.closes or not closing]:
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
        no_longer_listed=no_longer_listed,
        made_otherwise=_by_variable(made_otherwise),
    )


def _by_variable(
    made_otherwise: Sequence[MadeOtherwise],
) -> Mapping[tuple[str, Value | None, Value | None], tuple[Sequence[str], int]]:
    """Return the models, and the number of profiles, by variable and the values of both releases."""
    changes: dict[tuple[str, Value | None, Value | None], list[MadeOtherwise]] = {}
    for entry in made_otherwise:
        for name, (before, after) in entry.values.items():
            changes.setdefault((name, before, after), []).append(entry)
    return {
        change: (sorted({entry.model for entry in entries}), len({entry.profile for entry in entries}))
        for change, entries in sorted(changes.items(), key=lambda item: item[0][0])
    }


def _choices(reader: Reader) -> Sequence[str]:
    """Return releases and profiles to choose from, newest first."""
    with reader.connection() as connection:
        releases = lookup.implementing(connection, None)[::-1]
        profiles = lookup.profiles_naming(connection)
    names = [str(ReleaseName(*row)) for row in releases[:_MAX_CHOICES]]
    return [*names, *(profile.name for profile in profiles)][: 2 * _MAX_CHOICES]
