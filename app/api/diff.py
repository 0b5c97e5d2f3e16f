"""Differences between two releases or two profiles, by device model."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.answer import json_response
from app.api.parameters import narrowing
from app.api.responses import OVER_BUDGET, not_found
from app.api.route import Route
from app.api.session import Asking
from app.service import diff as service
from app.wire.base import printable
from app.wire.diff import Diff

router = APIRouter(route_class=Route, tags=["fleets"])

_INSTEAD = "Name a model."
Compared = Annotated[str, Query(max_length=400)]


@router.get(
    "/diff",
    response_model=Diff,
    response_model_exclude_unset=True,
    responses={**not_found("release", "profile", "model"), **OVER_BUDGET},
)
async def get_diff(
    session: Asking,
    before: Annotated[Compared, Query(alias="from", description="a release or a profile; at most 400 characters")],
    after: Annotated[
        Compared,
        Query(alias="to", description="another release or profile, of the same kind as `from`; at most 400 characters"),
    ],
    model: Annotated[str | None, narrowing("only this device model"), printable] = None,
) -> Response:
    """Compare two releases or two profiles: what was added, removed and changed, and what that means for migration.

    A difference can close a direction of migration; forward is `from` to `to`. Profiles are compared with all their
    inherited values, because devices that were created with different values are different hardware.
    """
    return await session.ask_or_recall(
        lambda reader: json_response(service.compare(before, after, model, reader)), _INSTEAD
    )
