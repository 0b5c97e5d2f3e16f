"""The page Support matrix: profiles and releases as a heat map; each cell links to its reasons."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.parameters import Filter, narrowing
from app.api.session import Asking
from app.domain.engine.acceptance import Acceptance
from app.domain.fleet.support_matrix import Cell, refusals_at, support_matrix
from app.domain.values.name import ReleaseName
from app.domain.verdict.problem import ProblemCode
from app.pages.page import PageRoute, long_page, pasted
from app.service.known import UnknownNameError, known_model, known_profile, known_release
from app.storage import lookup
from app.storage.reader import Reader
from app.wire.base import printable

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_INSTEAD = "Choose a model or an implementation."
_ROWS = 100
_COLUMNS = 24
_AT_ONCE = 10
_MAX_OPTIONS = 200
_RETIRED = frozenset({ProblemCode.RELEASE_RETIRED, ProblemCode.PROFILE_RETIRED})
_OF_STATES = _RETIRED | {ProblemCode.PROFILE_NOT_LISTED}


@router.get("/ui/support-matrix")
def get_support_matrix_page(
    request: Request,
    asking: Asking,
    implementation: Filter = None,
    model: Filter = None,
    row: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    column: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Response:
    """Show which releases support which profiles, newest first.

    implementation: only its releases. model: judge only this model. row, column: how many to skip.
    """
    implementation, model = pasted(implementation), pasted(model)
    profiles, releases, implementations = asking.ask_from_thread(
        lambda reader: _names(reader, model, implementation), _INSTEAD
    )
    rows, columns = profiles[row : row + _ROWS], releases[column : column + _COLUMNS]

    def parts() -> Iterator[Mapping[str, object]]:
        acceptance = Acceptance()
        for start in range(0, len(rows), _AT_ONCE):
            batch = rows[start : start + _AT_ONCE]
            for shown in asking.ask_from_thread(partial(_rows, batch, columns, model, acceptance), _INSTEAD):
                yield {"row": shown}

    return long_page(
        request,
        "support_matrix.html",
        "support_matrix_row.html",
        parts(),
        releases=columns,
        release_count=len(releases),
        profile_count=len(profiles),
        implementations=implementations[:_MAX_OPTIONS],
        implementation=implementation,
        model=model,
        row=row,
        column=column,
        rows=len(rows),
        steps=(_ROWS, _COLUMNS),
    )


def _names(
    reader: Reader, model: str | None, implementation: str | None
) -> tuple[Sequence[str], Sequence[ReleaseName], Sequence[str]]:
    """Return the profiles and the releases to show, and the implementations to choose from."""
    models = None if model is None else [model]
    if model is not None:
        known_model(model, reader.snapshot(models=[model], of_models=()))
    with reader.connection() as connection:
        # With an implementation chosen, leave out profiles that name none of its models.
        named = models if implementation is None or models else lookup.implemented(connection, implementation)
        profiles = [profile.name for profile in lookup.profiles_naming(connection, named)]
        releases = [ReleaseName(*row) for row in lookup.implementing(connection, models)][::-1]
    implementations = sorted({release.implementation for release in releases})
    if implementation is not None and implementation not in implementations:
        raise UnknownNameError(implementation, "implementation")
    chosen = [release for release in releases if implementation in {None, release.implementation}]
    return profiles, chosen, implementations


def _rows(
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
    rows = support_matrix(snapshot.known_profiles(), snapshot.known_releases(), snapshot, acceptance, models)
    return [{"profile": row.profile, "cells": [(cell, _heat(cell)) for cell in row.cells]} for row in rows]


def _heat(cell: Cell) -> str:
    """Return the CSS class of a cell.

    `all`, `some`: supported for all, or for some models of the profile. `no-little`: the release refuses less than half
    of the models that it implements; `no-much`: it refuses more, or the profile as a whole. `none`: it implements none
    of the models, such as a release of another vendor.
    """
    implemented = cell.accepted + cell.refused
    if cell.compatible:
        return "all" if cell.accepted == cell.models else "some"
    codes = {problem.code for problem in cell.problems}
    if not implemented and not codes.intersection(_RETIRED):
        return "none"
    if codes.intersection(_OF_STATES):
        return "no-much"
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
