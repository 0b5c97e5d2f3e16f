"""Inventories: what many hosts run, registered in one transaction."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import sqlalchemy as sa
from anyio import to_thread
from fastapi import APIRouter, Body, Request, Response

from app.api import examples
from app.api.answer import json_response
from app.api.body import read_in_turn
from app.api.responses import BODY_ERRORS, UNAUTHORIZED
from app.api.route import LargeRoute
from app.api.session import Registering, RegisterSession
from app.service import inventory
from app.storage import change
from app.storage.database import Position, Writing
from app.storage.host import put_hosts
from app.wire.base import AsDocumented
from app.wire.host import Inventory, InventoryResult

router = APIRouter(route_class=LargeRoute, tags=["hosts"])


@router.post("/hosts", response_model=InventoryResult, responses={**BODY_ERRORS, **UNAUTHORIZED})
async def post_inventory(
    document: Annotated[
        object,
        AsDocumented(Inventory),
        Body(openapi_examples=examples.example("the hosts of two racks", examples.INVENTORY)),
    ],
    request: Request,
    session: Registering,
) -> Response:
    """Register many hosts in one transaction: all of them, or none if there is a fault.

    Hosts that state the same as before cost no write, but for the time of their report now and then (`reported_at`).
    """
    read = await read_in_turn(request, partial(inventory.read, document))
    # Checked before the turn to write, so that others can write meanwhile.
    async with session.reading() as connection:
        checked = await to_thread.run_sync(_check, read, connection)
    async with session.writing() as writing:
        return await to_thread.run_sync(_write, read, checked, session, writing)


def _check(read: inventory.InventoryDocument, connection: sa.Connection) -> tuple[Position, Mapping[str, Any]]:
    """Return the position of the registry, and what the inventory names that it does not have."""
    return change.position(connection), inventory.check(read, connection)


def _write(
    read: inventory.InventoryDocument,
    checked: tuple[Position, Mapping[str, Any]],
    session: RegisterSession,
    writing: Writing,
) -> Response:
    position, unknown = checked
    if change.position(writing.connection) != position:
        _, unknown = _check(read, writing.connection)
    result = put_hosts(
        writing,
        read.registrations,
        forget_others=read.forget_others,
        noted_since=session.staleness.noted_since,
    )
    return json_response({**asdict(result), "dry_run": session.dry_run, **unknown})
