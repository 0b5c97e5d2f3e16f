"""The support matrix: which releases support which profiles."""

import csv
import io
import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from app.api.answer import json_response
from app.api.responses import OVER_BUDGET, not_found
from app.api.route import Route
from app.api.session import Asking
from app.domain.fleet.support_matrix import Cell, Row
from app.service import support_matrix as service
from app.service.document import problem_document
from app.storage.reader import Reader
from app.wire.support_matrix import SupportMatrix

router = APIRouter(route_class=Route, tags=["fleets"])

_INSTEAD = "Name a profile, a model or an implementation."
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
async def get_support_matrix(
    session: Asking,
    profile: Annotated[Names, Query(description="only this profile; can be repeated")] = None,
    model: Annotated[Names, Query(description="judge only this device model; can be repeated")] = None,
    implementation: Annotated[Names, Query(description="only releases of this implementation; can be repeated")] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Return for each profile and release whether the release accepts the profile for every model that it implements.

    The policy is strict: a release with a list of profiles has to list the profile. The matrix has at most 100,000
    cells. In CSV (`Accept: text/csv`) a cell is `yes`, `yes 17/20` if the release implements only some of the models,
    or `no 17/20: <reason>`.
    """
    is_csv = accept is not None and _prefers_csv(accept)
    return await session.ask_or_recall(partial(_answer, profile, model, implementation, is_csv), _INSTEAD)


def _answer(
    profiles: Sequence[str] | None,
    models: Sequence[str] | None,
    implementations: Sequence[str] | None,
    is_csv: bool,  # noqa: FBT001 (given by position to partial)
    reader: Reader,
) -> Response:
    matrix = service.find(profiles, models, implementations, reader)
    if is_csv:
        return Response(_csv(matrix.releases, matrix.rows), media_type="text/csv")
    rows = [_row(row) for row in matrix.rows]
    return json_response({"releases": matrix.releases, "rows": rows, **matrix.basis})


def _prefers_csv(accept: str) -> bool:
    """Return whether the client prefers text/csv to JSON (RFC 9110, 12.5.1)."""
    weights: dict[str, float] = {}
    for choice in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in choice.split(";"))
        weight = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        weights[kind] = float(weight) if _WEIGHT.fullmatch(weight) else 0.0
    return weights.get("text/csv", 0) > max(weights.get(kind, 0) for kind in ("application/json", "application/*"))


def _csv(releases: Sequence[str], rows: Sequence[Row]) -> str:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["profile", *releases])
    table.writerows([row.profile, *(_shown(cell) for cell in row.cells)] for row in rows)
    return text.getvalue()


def _shown(cell: Cell) -> str:
    ratio = "" if cell.accepted == cell.models else f" {cell.accepted}/{cell.models}"
    if cell.compatible:
        return f"yes{ratio}"
    more = f" (and {cell.problem_count - 1} more)" if cell.problem_count > 1 else ""
    return f"no{ratio}: {cell.problems[0].message}{more}"


def _row(row: Row) -> dict[str, object]:
    return {
        "profile": row.profile,
        "cells": [
            {
                "release": cell.column,
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
