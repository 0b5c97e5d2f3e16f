"""The page Diff: the differences between two releases or two profiles, their summary first."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request, Response

from app.api.parameters import Filter
from app.api.session import Asking
from app.domain.fleet.difference import Closed, Difference, DifferenceKind, Direction, Extent
from app.domain.fleet.difference_summary import closed_by, kind_of, shared_differences, summary
from app.domain.publishing.outcome import MadeOtherwise
from app.domain.values.budget import OverBudgetError
from app.domain.values.name import ReleaseName, is_release_name, newest_first
from app.domain.values.value import Value
from app.pages.page import PageRoute, long_page, page, pasted
from app.service import diff
from app.storage import lookup, mark
from app.storage.mark import Mark
from app.storage.reader import Reader

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_INSTEAD = "Name a model."
_MAX_CHOICES = 200
# The models of one page; the others are on the next ones.
_MODELS = 300
_AT_ONCE = 20
# Further differences that models share are folded, and beyond the most left out: they are in the models, too.
_SHARED = 10
_MOST_SHARED = 200


class ModelDiff(NamedTuple):
    """The differences of a model, and the directions that they close together."""

    name: str
    differences: Sequence[Difference]
    closes: Closed


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
    marks = asking.ask_from_thread(partial(_marks, [before, after]))

    def parts() -> Iterator[Mapping[str, object]]:
        no_longer_listed, made_otherwise = asking.ask_from_thread(
            partial(diff.of_listed_profiles, before, after, model), _INSTEAD
        )
        profiles = {"no_longer_listed": sorted(no_longer_listed, key=newest_first)}
        of_profiles = {**profiles, "made_otherwise": _by_variable(made_otherwise)}
        wanted = names if model is None else [model]
        differences: dict[str, list[Difference]] = {}
        try:
            for start in range(0, len(wanted), _AT_ONCE):
                batch = wanted[start : start + _AT_ONCE]
                differences |= asking.ask_from_thread(partial(diff.differences, batch, before, after), _INSTEAD)
        except OverBudgetError:
            yield {"uncompared": wanted, **of_profiles}
            return
        yield _shown(differences, row, closing=closing) | of_profiles

    return long_page(
        request,
        "diff.html",
        "diff_part.html",
        parts(),
        before=before,
        after=after,
        model=model,
        closing=closing,
        row=row,
        step=_MODELS,
        marks=marks,
    )


def _shown(differences: Mapping[str, Sequence[Difference]], row: int, *, closing: bool) -> dict[str, object]:
    """Return what the page shows of the differences by model; closing: only those that close a direction."""
    listed = {
        name: [entry for entry in entries if entry.closes or not closing] for name, entries in differences.items()
    }
    by_kind: dict[DifferenceKind, list[ModelDiff]] = {kind: [] for kind in DifferenceKind}
    for name, entries in listed.items():
        if entries:
            by_kind[kind_of(entries)].append(ModelDiff(name, entries, closed_by(entries)))
    changed = by_kind[DifferenceKind.CHANGED]
    entries_of_changed = shared_differences({entry.name: entry.differences for entry in changed})
    shared = sorted(
        (entry for entry in entries_of_changed if len(entry.models) > 1),
        key=lambda entry: (-len(entry.models), entry.weight),
    )
    alone = {entry.models[0] for entry in entries_of_changed if len(entry.models) == 1}
    changed.sort(key=lambda entry: entry.name not in alone)
    on_page = changed[row : row + _MODELS]
    return {
        "summary": summary(differences),
        "directions": tuple(Direction),
        "extents": tuple(Extent),
        "shared": (shared[:_SHARED], shared[_SHARED:_MOST_SHARED]),
        "with_own": [entry for entry in on_page if entry.name in alone],
        "with_shared": [entry for entry in on_page if entry.name not in alone],
        "changed_count": len(changed),
        "shown_count": len(on_page),
        "added": [entry.name for entry in by_kind[DifferenceKind.ADDED]],
        "removed": [entry.name for entry in by_kind[DifferenceKind.REMOVED]],
    }


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


def _marks(names: Sequence[str], reader: Reader) -> Mapping[str, Mark]:
    """Return the marks of releases or profiles by name."""
    releases = [ReleaseName.parse(name) for name in names if is_release_name(name)]
    with reader.connection() as connection:
        profiles = lookup.profiles(connection, names)
        return {
            **mark.release_marks(connection, releases),
            **{profile.name: Mark(profile.state) for profile in profiles},
        }


def _choices(reader: Reader) -> Sequence[str]:
    """Return releases and profiles to choose from, newest first."""
    with reader.connection() as connection:
        releases = lookup.implementing(connection, None)[::-1]
        profiles = lookup.profiles_naming(connection)
    names = [str(ReleaseName(*row)) for row in releases[:_MAX_CHOICES]]
    return [*names, *(profile.name for profile in profiles)][: 2 * _MAX_CHOICES]
