"""The support matrix: which release supports which profile."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from app.api.access import Registry
from app.api.answer import json_response
from app.api.errors import unknown
from app.api.known import known_model, known_profile
from app.api.publishing import INVALID, not_found
from app.api.route import Route
from app.api.wire.problem import problem_document
from app.api.wire.support_matrix import SupportMatrix
from app.domain.document import FaultCode, Place
from app.domain.matrix import Cell, Row, matrix
from app.storage.catalog import Standing

router = APIRouter(route_class=Route, tags=["fleets"])

MAX_CELLS = 100_000
_WEIGHT = re.compile(r"[01](?:\.[0-9]{0,3})?")
Names = Annotated[list[Annotated[str, Query(max_length=400)]] | None, Query()]


@router.get(
    "/support-matrix",
    response_model=SupportMatrix,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
        **not_found("profile", "model", "implementation"),
        **INVALID,
    },
)
def get_support_matrix(
    registry: Registry,
    profile: Annotated[Names, Query(description="only these profiles; may be repeated")] = None,
    model: Annotated[Names, Query(description="only what is said of these models; may be repeated")] = None,
    implementation: Annotated[Names, Query(description="only releases of these; may be repeated")] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Return for each profile and release whether every device of it that the release implements can be there.

    Policy strict: a release that lists profiles has to list it. At most 100,000 cells. In CSV a cell is `yes`,
    `yes 17/20` where the release implements only some of the models, or `no 17/20: <reason>`.
    """
    releases, rows = registry.ask(lambda current: _answer(current, profile, model, implementation))
    if accept is not None and _prefers_csv(accept):
        return Response(_csv(releases, rows), media_type="text/csv")
    content = {"releases": releases, "rows": [_row(each) for each in rows]}
    return json_response(content)


def _answer(
    current: Standing, profiles: list[str] | None, models: list[str] | None, implementations: list[str] | None
) -> tuple[list[str], list[Row]]:
    _check_known(current, profiles, models, implementations)
    chosen = [each for each in current.profiles(models) if profiles is None or each.name in profiles]
    releases = current.releases(models, implementations)
    if len(chosen) * len(releases) > MAX_CELLS:
        at = Place()
        message = f"is of {len(chosen) * len(releases):,} cells, of which {MAX_CELLS:,} may be asked at once"
        at.fault(FaultCode.LIMIT_EXCEEDED, message)
        at.raise_faults()
    return [str(each.name) for each in releases], list(matrix(chosen, releases, current, models or ()))


def _check_known(
    current: Standing, profiles: list[str] | None, models: list[str] | None, implementations: list[str] | None
) -> None:
    """Raise the error for a name that is not in the registry."""
    for profile in profiles or ():
        known_profile(profile, current)
    for model in models or ():
        known_model(model, current)
    for implementation in implementations or ():
        if not current.releases(None, [implementation]):
            raise unknown(implementation, "implementation")


def _prefers_csv(accept: str) -> bool:
    """Return whether text/csv is asked for, and JSON not more so (RFC 9110, 12.5.1); everything else gets JSON."""
    weights: dict[str, float] = {}
    for each in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in each.split(";"))
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
    how_far = "" if cell.accepted == cell.models else f" {cell.accepted}/{cell.models}"
    if cell.compatible:
        return f"yes{how_far}"
    more = f" and {cell.problem_count - 1} more" if cell.problem_count > 1 else ""
    return f"no{how_far}: {cell.problems[0].message}{more}"


def _row(row: Row) -> dict[str, object]:
    return {
        "profile": row.profile,
        "cells": [
            {
                "release": cell.release,
                "compatible": cell.compatible,
                "problems": [problem_document(each) for each in cell.problems],
                "problem_count": cell.problem_count,
                "accepted_models": cell.accepted,
                "refused_models": cell.refused,
                "model_count": cell.models,
            }
            for cell in row.cells
        ],
    }
