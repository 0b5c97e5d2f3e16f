"""Device models, with their releases and variables."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter

from app.api import paging
from app.api.parameters import AnyName, OfVendor, narrowing
from app.api.responses import INVALID, not_found
from app.api.route import Route
from app.api.session import Reading
from app.domain.things.model import Statement
from app.domain.values.name import ReleaseName, is_name
from app.service.known import UnknownNameError
from app.storage import listing, lookup
from app.wire.base import Page, printable
from app.wire.model import ListedModel, StoredModel

router = APIRouter(route_class=Route, tags=["models"])


@router.get("/models", response_model=Page[ListedModel], responses=INVALID)
def list_models(
    reading: Reading,
    at: paging.ByName,
    vendor: OfVendor = None,
    q: Annotated[
        str | None, narrowing("parts of the name, separated by blanks, in any order, upper or lower case"), printable
    ] = None,
) -> dict[str, Any]:
    """List the device models by name."""
    page = listing.models(reading, {"vendor": vendor, "q": q}, at.after, at.limit)
    items = [{"model": name, "vendor": owner, "release_count": count} for name, owner, count in page.rows]
    return paging.answer(page, items)


@router.get(
    "/models/{model:path}",
    response_model=StoredModel,
    response_model_exclude_unset=True,
    responses={**not_found("model"), **INVALID},
)
def get_model(model: AnyName, reading: Reading) -> dict[str, Any]:
    """Return a device model: the releases that implement it, and its variables with type and off value."""
    stored = lookup.models(reading, [model]).get(model) if is_name(model) else None
    if stored is None:
        raise UnknownNameError(model, "model")
    own = stored.statements.get(stored.vendor, {})
    others = {
        vendor: _stated({name: statement for name, statement in statements.items() if name not in own})
        for vendor, statements in sorted(stored.statements.items())
        if vendor != stored.vendor
    }
    return {
        "model": model,
        "vendor": stored.vendor,
        "releases": [str(ReleaseName(*row)) for row in lookup.implementing(reading, [model])],
        "variables": _stated(own),
        "other_variables": {vendor: stated for vendor, stated in others.items() if stated},
    }


def _stated(statements: Mapping[str, Statement]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "type": statement.type.value,
            **({} if statement.off_value is None else {"off_value": statement.off_value}),
            **({} if statement.stands_for is None else {"stands_for": statement.stands_for.document()}),
        }
        for name, statement in sorted(statements.items())
    }
