"""The page Support matrix: profiles and releases as a heat map; each cell links to its reasons."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request, Response

from app.api.parameters import Filter, narrowing
from app.api.session import Asking
from app.domain.engine.acceptance import Acceptance
from app.domain.fleet.support_matrix import Cell, errata_concerning, refusals_at, support_matrix
from app.domain.values.name import ReleaseName, newest_first, version_order
from app.domain.verdict.problem import ProblemCode
from app.pages.page import PageRoute, long_page, pasted
from app.service.known import UnknownNameError, known_model, known_profile, known_release
from app.storage import lookup, mark
from app.storage.mark import Mark
from app.storage.reader import Reader
from app.wire.base import printable

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# What the parameter `implementation` says for all of them; no implementation can be called so.
ALL = "all"
_INSTEAD = "Choose a model or an implementation."
_ROWS = 100
_COLUMNS = 24
_AT_ONCE = 10
_MAX_OPTIONS = 200
_RETIRED = frozenset({ProblemCode.RELEASE_RETIRED, ProblemCode.PROFILE_RETIRED})
_OF_STATES = _RETIRED | {ProblemCode.PROFILE_NOT_LISTED}


@dataclass(frozen=True, slots=True)
class Axes:
    """The profiles and releases of the page, and the implementations to choose from.

    chosen: the implementation, None: all of them.
    """

    profiles: Sequence[str]
    releases: Sequence[ReleaseName]
    implementations: Sequence[str]
    chosen: str | None


@router.get("/ui/support-matrix")
def get_support_matrix_page(  # noqa: PLR0913 (the parameters of the page)
    request: Request,
    asking: Asking,
    implementation: Filter = None,
    model: Filter = None,
    profile: Filter = None,
    *,
    row: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    column: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Response:
    """Show which releases support which profiles, the newest version first.

    implementation: only its releases; `all`: of all; without one, of that which published last, and with a profile of
    all. model: judge only this model. profile: only this profile. row, column: how many to skip.
    """
    implementation, model, profile = pasted(implementation), pasted(model), pasted(profile)
    axes = asking.ask_from_thread(lambda reader: _axes(reader, model, implementation, profile), _INSTEAD)
    rows, columns = axes.profiles[row : row + _ROWS], axes.releases[column : column + _COLUMNS]
    marks = asking.ask_from_thread(partial(_marks, columns))

    def parts() -> Iterator[Mapping[str, object]]:
        acceptance = Acceptance()
        for start in range(0, len(rows), _AT_ONCE):
            batch = rows[start : start + _AT_ONCE]
            for shown in asking.ask_from_thread(partial(matrix_rows, batch, columns, model, acceptance), _INSTEAD):
                yield {"row": shown}

    return long_page(
        request,
        "support_matrix.html",
        "support_matrix_row.html",
        parts(),
        releases=columns,
        marks=marks,
        release_count=len(axes.releases),
        profile_count=len(axes.profiles),
        implementations=axes.implementations[:_MAX_OPTIONS],
        chosen=axes.chosen,
        # What the links of the page repeat.
        filters={"implementation": axes.chosen or ALL, "model": model, "profile": profile},
        model=model,
        profile=profile,
        row=row,
        column=column,
        rows=len(rows),
        steps=(_ROWS, _COLUMNS),
    )


def _axes(reader: Reader, model: str | None, implementation: str | None, profile: str | None) -> Axes:
    models = None if model is None else [model]
    snapshot = reader.snapshot(models=models or (), profiles=[profile] if profile else (), of_models=())
    if model is not None:
        known_model(model, snapshot)
    if profile is not None:
        known_profile(profile, snapshot)
        models = models or reader.named_models([profile])
    with reader.connection() as connection:
        published = [ReleaseName(*row) for row in lookup.implementing(connection, models)][::-1]
        implementations = list(dict.fromkeys(release.implementation for release in published))
        if implementation is None and profile is None:
            chosen = lookup.newest_with_profile(connection, models) or next(iter(implementations), None)
        else:
            chosen = None if implementation in {None, ALL} else implementation
        if chosen is not None and chosen not in implementations:
            raise UnknownNameError(chosen, "implementation")
        # With an implementation chosen, leave out profiles that name none of its models.
        named = models if chosen is None or models else lookup.implemented(connection, chosen)
        stored = lookup.profiles_naming(connection, named) if profile is None else []
        stored = stored or lookup.profiles(connection, [profile] if profile else ())
    names = [entry.name for entry in stored]
    releases = [release for release in published if chosen in {None, release.implementation}]
    return Axes(sorted(names, key=newest_first), _ordered(releases), implementations, chosen)


def _ordered(releases: Sequence[ReleaseName]) -> list[ReleaseName]:
    """Return releases by implementation in the order given, the newest version of each first."""
    places = {name: place for place, name in enumerate(dict.fromkeys(release.implementation for release in releases))}
    newest = sorted(releases, key=lambda release: version_order(release.version), reverse=True)
    return sorted(newest, key=lambda release: places[release.implementation])


def _marks(releases: Sequence[ReleaseName], reader: Reader) -> Mapping[str, Mark]:
    with reader.connection() as connection:
        return mark.release_marks(connection, releases)


def matrix_rows(
    profiles: Sequence[str],
    releases: Sequence[ReleaseName],
    model: str | None,
    acceptance: Acceptance,
    reader: Reader,
) -> list[Mapping[str, object]]:
    """Return rows; acceptance: remembers the verdicts of earlier rows."""
    models = [] if model is None else [model]
    named = models or reader.named_models(profiles)
    snapshot = reader.snapshot(models=named, releases=map(str, releases), profiles=profiles, of_models=named)
    known = snapshot.known_profiles()
    rows = support_matrix(known, snapshot.known_releases(), snapshot, acceptance, models)
    return [
        {"profile": row.profile, "state": profile.state, "cells": [(cell, heat(cell)) for cell in row.cells]}
        for profile, row in zip(known, rows, strict=True)
    ]


class ReleaseOfProfile(NamedTuple):
    """The verdict of a release on a profile.

    lists: whether it lists the profile, None: it has no list. mark: with the errata that concern the profile alone.
    """

    name: ReleaseName
    cell: Cell
    heat: str
    lists: bool | None
    mark: Mark
    errata: Sequence[str]


def releases_of_profile(
    profile: str, model: str | None, limit: int, reader: Reader
) -> tuple[Sequence[ReleaseOfProfile], int]:
    """Return the first releases of the row of a profile in the matrix of all implementations, and how many there are.

    model: judge only this model.
    """
    names = _axes(reader, model, ALL, profile).releases
    marks = _marks(names[:limit], reader)
    models = [] if model is None else [model]
    named = models or reader.named_models([profile])
    releases = [str(name) for name in names[:limit]]
    snapshot = reader.snapshot(models=named, releases=releases, profiles=[profile], of_models=named)
    known, named_profile = snapshot.known_releases(), known_profile(profile, snapshot)
    (row,) = support_matrix([named_profile], known, snapshot, Acceptance(), models)
    verdicts = []
    for release, cell in zip(known, row.cells, strict=True):
        lists = None if release.profiles is None else profile in release.profiles
        errata = [erratum.id for erratum in errata_concerning(named_profile, release, snapshot)]
        own_mark = replace(marks[str(release.name)], errata=len(errata))
        verdicts.append(ReleaseOfProfile(release.name, cell, heat(cell), lists, own_mark, errata))
    return verdicts, len(names)


def heat(cell: Cell) -> str:
    """Return the CSS class of a cell.

    `all`, `some`: supported for all, or for some models of the profile. `retired`: the release or the profile is
    retired. `unlisted`: the release does not list the profile. `no-little`: the release refuses less than half of the
    models that it implements; `no-much`: it refuses more. `none`: it implements none of the models, such as a release
    of another vendor.
    """
    implemented = cell.accepted + cell.refused
    if cell.compatible:
        return "all" if cell.accepted == cell.models else "some"
    codes = {problem.code for problem in cell.problems}
    if codes.intersection(_RETIRED):
        return "retired"
    if not implemented:
        return "none"
    if ProblemCode.PROFILE_NOT_LISTED in codes:
        return "unlisted"
    return "no-little" if cell.accepted * 2 > implemented else "no-much"


@router.get("/ui/support-matrix/reasons")
def get_reasons_page(
    request: Request,
    asking: Asking,
    profile: Annotated[str, narrowing("the profile"), printable],
    release: Annotated[str, narrowing("the release"), printable],
    model: Filter = None,
) -> Response:
    """Show model by model why a release does or does not support a profile."""
    asking.ask_from_thread(lambda reader: _check_known(reader, profile, release, model or None))

    def parts() -> Iterator[Mapping[str, object]]:
        yield asking.ask_from_thread(lambda reader: _reasons(reader, profile, release, model or None), "Name a model.")

    return long_page(
        request,
        "reasons.html",
        "reasons_told.html",
        parts(),
        profile=profile,
        release=release,
        model=model or None,
    )


def _check_known(reader: Reader, profile: str, release: str, model: str | None) -> None:
    models = [] if model is None else [model]
    snapshot = reader.snapshot(models=models, releases=[release], profiles=[profile], of_models=())
    known_profile(profile, snapshot)
    known_release(release, snapshot)
    for name in models:
        known_model(name, snapshot)


def _reasons(reader: Reader, profile: str, release: str, model: str | None) -> Mapping[str, object]:
    asked = [] if model is None else [model]
    models = asked or sorted(reader.digests(profile) or ())
    snapshot = reader.snapshot(models=models, releases=[release], profiles=[profile], of_models=models)
    named_profile, named_release = known_profile(profile, snapshot), known_release(release, snapshot)
    acceptance = Acceptance()
    ((cell,),) = (row.cells for row in support_matrix([named_profile], [named_release], snapshot, acceptance, asked))
    named = [name for name in models if name in named_profile.values]
    refusals = {
        name: refusals_at(named_profile, name, named_release, snapshot, acceptance)
        for name in named
        if name in named_release.sets
    }
    return {
        "cell": cell,
        "refused": {name: problems for name, problems in refusals.items() if problems},
        "accepted": [name for name, problems in refusals.items() if not problems],
        "missing": [name for name in named if name not in refusals],
        # Problems with the release or the profile as a whole.
        "whole": [problem for problem in cell.problems if problem.code in _OF_STATES or not refusals],
    }
