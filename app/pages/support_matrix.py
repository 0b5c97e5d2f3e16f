"""The support matrix to look at: profiles and releases as a heat map, each cell leading to its reasons."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.access import Registry
from app.api.errors import unknown
from app.api.known import known_model, known_profile, known_release
from app.api.parameters import Filter, narrowing
from app.api.wire.base import printable
from app.domain.matrix import Acceptance, Cell, matrix
from app.domain.name import ReleaseName
from app.domain.problem import ProblemCode
from app.pages.page import PageRoute, long_page, pasted
from app.storage import lookup
from app.storage.catalog import Standing

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_ROWS = 100
_COLUMNS = 24
_AT_ONCE = 10
_MOST_OFFERED = 200
_RETIRED = frozenset({ProblemCode.RELEASE_RETIRED, ProblemCode.PROFILE_RETIRED})
_OF_STATES = _RETIRED | {ProblemCode.PROFILE_NOT_LISTED}


@router.get("/ui/support-matrix")
def get_support_matrix_page(
    request: Request,
    registry: Registry,
    implementation: Filter = None,
    model: Filter = None,
    row: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    column: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Response:
    """Show which release supports which profile, the newest first.

    implementation: only its releases; model: only what is said of it. row, column: how many are passed over.
    """
    implementation, model = pasted(implementation), pasted(model)
    profiles, releases, implementations = registry.ask(lambda current: _names(current, model, implementation))
    rows, columns = profiles[row : row + _ROWS], releases[column : column + _COLUMNS]

    def parts() -> Iterator[Mapping[str, object]]:
        accepted: dict[Standing, Acceptance] = {}
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            for each in registry.ask(partial(_rows, some, columns, model, accepted)):
                yield {"row": each}

    return long_page(
        request,
        "support_matrix.html",
        "support_matrix_row.html",
        parts(),
        releases=columns,
        release_count=len(releases),
        profile_count=len(profiles),
        implementations=implementations[:_MOST_OFFERED],
        implementation=implementation,
        model=model,
        row=row,
        column=column,
        rows=len(rows),
        steps=(_ROWS, _COLUMNS),
    )


def _names(
    current: Standing, model: str | None, implementation: str | None
) -> tuple[Sequence[str], Sequence[ReleaseName], Sequence[str]]:
    """Return the profiles and the releases to be shown, and the implementations to choose from."""
    models = None if model is None else [model]
    if model is not None:
        known_model(model, current)
    with current.reading() as connection:
        # Of an implementation chosen, what speaks of none of its models is of no interest.
        spoken_of = models if implementation is None or models else lookup.implemented(connection, implementation)
        profiles = [each.name for each in lookup.profiles_naming(connection, spoken_of)]
        releases = [ReleaseName(*each) for each in lookup.implementing(connection, models)][::-1]
    implementations = sorted({each.implementation for each in releases})
    if implementation is not None and implementation not in implementations:
        raise unknown(implementation, "implementation")
    return profiles, [each for each in releases if implementation in {None, each.implementation}], implementations


def _rows(
    profiles: Sequence[str],
    releases: Sequence[ReleaseName],
    model: str | None,
    accepted: dict[Standing, Acceptance],
    current: Standing,
) -> list[Mapping[str, object]]:
    """Return some rows; accepted: what rows before them have shown of the same registry."""
    current.look_up(releases=map(str, releases), profiles=profiles)
    found = [release for each in releases if (release := current.release(str(each))) is not None]
    speaking = [profile for each in profiles if (profile := current.profile(each)) is not None]
    models = [] if model is None else [model]
    current.load([*found, *speaking], models or {name for profile in speaking for name in profile.values})
    acceptance = accepted.setdefault(current, Acceptance(current))
    return [
        {"profile": row.profile, "cells": [(cell, _heat(cell)) for cell in row.cells]}
        for row in matrix(speaking, found, current, models, acceptance)
    ]


def _heat(cell: Cell) -> str:
    """Return how the cell looks.

    `all` or `some` of the models that the profile speaks of; `no-little` where less than half of those that the release
    implements are refused, else `no-much`; `none` where it implements none, such as another vendor's.
    """
    implemented = cell.accepted + cell.refused
    if cell.compatible:
        return "all" if cell.accepted == cell.models else "some"
    codes = {each.code for each in cell.problems}
    if not implemented and not codes.intersection(_RETIRED):
        return "none"
    if codes.intersection(_OF_STATES):
        return "no-much"
    return "no-little" if cell.accepted * 2 > implemented else "no-much"


@router.get("/ui/support-matrix/reasons")
def get_reasons_page(
    request: Request,
    registry: Registry,
    profile: Annotated[str, narrowing("the profile"), printable],
    release: Annotated[str, narrowing("the release"), printable],
    model: Filter = None,
) -> Response:
    """Show why a release supports a profile or does not, model by model."""
    registry.ask(lambda current: _check_known(current, profile, release, model or None))

    def parts() -> Iterator[Mapping[str, object]]:
        yield registry.ask(lambda current: _reasons(current, profile, release, model or None))

    return long_page(
        request,
        "reasons.html",
        "reasons_told.html",
        parts(),
        profile=profile,
        release=release,
        model=model or None,
    )


def _check_known(current: Standing, profile: str, release: str, model: str | None) -> None:
    known_profile(profile, current)
    known_release(release, current)
    if model is not None:
        known_model(model, current)


def _reasons(current: Standing, profile: str, release: str, model: str | None) -> Mapping[str, object]:
    found, there = known_profile(profile, current), known_release(release, current)
    asked = [] if model is None else [model]
    models = asked or sorted(found.values)
    current.load([found, there], models)
    acceptance = Acceptance(current)
    ((cell,),) = (row.cells for row in matrix([found], [there], current, asked, acceptance))
    speaking = [name for name in models if name in found.values]
    why = {name: acceptance.problems(found, name, there) for name in speaking if name in there.sets}
    missing = [name for name in speaking if name not in why]
    return {
        "cell": cell,
        "refused": {name: each for name, each in why.items() if each},
        "accepted": [name for name, each in why.items() if not each],
        "missing": missing,
        # What is about no model alone.
        "whole": [each for each in cell.problems if each.code in _OF_STATES or not why],
    }
