"""The support matrix: which releases, or which kinds of hosts, support which profiles."""

import csv
import io
import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.exceptions import RequestValidationError

from app.api.answer import json_response
from app.api.parameters import Labels
from app.api.responses import OVER_BUDGET, not_found
from app.api.route import Route
from app.api.session import Asking
from app.domain.fleet.group import Group
from app.domain.fleet.support_matrix import Cell, Row
from app.service import support_matrix as service
from app.service.document import problem_document
from app.service.support_matrix import Matrix
from app.storage.reader import Reader
from app.wire.compatibility import MAX_DESTINATIONS, Id
from app.wire.support_matrix import SupportMatrix

router = APIRouter(route_class=Route, tags=["fleets"])

_FEWER_RELEASES = "Name a profile, a model or an implementation."
_FEWER_HOSTS = "Name a profile or a model, name fewer hosts, or narrow them by labels."
_WEIGHT = re.compile(r"[01](?:\.[0-9]{0,3})?")
Names = Annotated[list[Annotated[str, Query(max_length=400)]] | None, Query()]


@router.get(
    "/support-matrix",
    response_model=SupportMatrix,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
        **not_found("profile", "model", "implementation"),
        **OVER_BUDGET,
    },
)
async def get_support_matrix(  # noqa: PLR0913, PLR0917 (the parameters of the matrix)
    session: Asking,
    profile: Annotated[Names, Query(description="only this profile; can be repeated")] = None,
    model: Annotated[Names, Query(description="judge only this device model; can be repeated")] = None,
    implementation: Annotated[Names, Query(description="only releases of this implementation; can be repeated")] = None,
    host: Annotated[
        list[Id] | None,
        Query(
            max_length=MAX_DESTINATIONS,
            description="kinds of hosts as columns, not releases: the kind of this registered host; can be repeated, "
            f"at most {MAX_DESTINATIONS:,} times; not together with `implementation`",
        ),
    ] = None,
    label: Labels = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Return for each profile and release whether the release accepts the profile for every model that it implements.

    The policy is strict: a release with a list of profiles has to list the profile. The matrix has at most 100,000
    cells. In CSV (`Accept: text/csv`) a cell is `yes`, `yes 17/20` if the release implements only some of the models,
    or `no 17/20: <reason>`.

    With `host` or `label`, the columns are the kinds of these registered hosts: a cell is the verdict on new devices
    with the profile on such a host, with what it restricts and resolves. A host that is not registered, and conditions
    that no host meets, are a column whose cells have the problem `unknown-host`.
    """
    is_csv = accept is not None and _prefers_csv(accept)
    if not host and not label:
        find, instead = partial(service.find, profile, model, implementation), _FEWER_RELEASES
    elif implementation:
        message = "must not be given together with host or label, because the columns are then kinds of hosts"
        raise RequestValidationError([{"type": "value_error", "loc": ("query", "implementation"), "msg": message}])
    else:
        find, instead = partial(service.find_at_hosts, profile, model, host or [], label or []), _FEWER_HOSTS
    return await session.ask_or_recall(partial(_answer, find, is_csv), instead)


def _answer(
    find: Callable[[Reader], Matrix],
    is_csv: bool,  # noqa: FBT001 (given by position to partial)
    reader: Reader,
) -> Response:
    matrix = find(reader)
    if is_csv:
        return Response(_csv(matrix), media_type="text/csv")
    columns = "kind" if matrix.kinds else "release"
    content = {
        "releases": matrix.releases,
        "kinds": [_kind(group, matrix.unknown_releases) for group in matrix.kinds],
        "rows": [_row(row, columns) for row in matrix.rows],
    }
    return json_response({**content, **matrix.basis})


def _prefers_csv(accept: str) -> bool:
    """Return whether the client prefers text/csv to JSON (RFC 9110, 12.5.1)."""
    weights: dict[str, float] = {}
    for choice in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in choice.split(";"))
        weight = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        weights[kind] = float(weight) if _WEIGHT.fullmatch(weight) else 0.0
    return weights.get("text/csv", 0) > max(weights.get(kind, 0) for kind in ("application/json", "application/*"))


def _csv(matrix: Matrix) -> str:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["profile", *matrix.releases, *map(_heading, matrix.kinds)])
    table.writerows([row.profile, *(_shown(cell) for cell in row.cells)] for row in matrix.rows)
    return text.getvalue()


def _heading(group: Group) -> str:
    """Return the heading of a kind in CSV: the digest, then the number of the hosts and the first one."""
    if group.first.problem is not None:
        return group.first.problem.message
    hosts = "1 host" if group.count == 1 else f"{group.count:,} hosts"
    return f"{group.digest} ({hosts}: {group.examples[0].name}{'' if group.count == 1 else ', …'})"


def _shown(cell: Cell) -> str:
    ratio = "" if cell.accepted == cell.models else f" {cell.accepted}/{cell.models}"
    if cell.compatible:
        return f"yes{ratio}"
    more = f" (and {cell.problem_count - 1} more)" if cell.problem_count > 1 else ""
    return f"no{ratio}: {cell.problems[0].message}{more}"


def _kind(group: Group, unknown: AbstractSet[str]) -> dict[str, object]:
    releases = group.first.all_releases()
    return {
        "kind": group.digest,
        "count": group.count,
        "releases": releases,
        "unknown_releases": [release for release in releases if release in unknown],
        "examples": [example.name for example in group.examples],
    }


def _row(row: Row, columns: str) -> dict[str, object]:
    """Return a row; columns: the field that names the column of a cell."""
    return {
        "profile": row.profile,
        "cells": [
            {
                columns: cell.column,
                "compatible": cell.compatible,
                "problems": [problem_document(problem) for problem in cell.problems],
                "problem_count": cell.problem_count,
                "accepted_models": cell.accepted,
                "refused_models": cell.refused,
                "model_count": cell.models,
            }
            for cell in row.cells
        ],
    }
