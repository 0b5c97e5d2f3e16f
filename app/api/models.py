"""Device models: who implements them, and what their variables are."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter

from app.api import paging
from app.api.access import Reading
from app.api.errors import unknown
from app.api.parameters import AnyName, OfVendor, narrowing
from app.api.publishing import INVALID, not_found
from app.api.route import Route
from app.api.wire.base import Page, printable
from app.api.wire.model import ListedModel, StoredModel
from app.domain.model import Statement
from app.domain.name import ReleaseName, is_name
from app.storage import listing, lookup

router = APIRouter(route_class=Route, tags=["models"])


@router.get("/models", response_model=Page[ListedModel], responses=INVALID)
def list_models(
    reading: Reading,
    at: paging.ByName,
    vendor: OfVendor = None,
    q: Annotated[str | None, narrowing("a part of the name, in any case"), printable] = None,
) -> dict[str, Any]:
    """List the device models by name."""
    page = listing.models(reading, {"vendor": vendor, "q": q}, at.after, at.limit)
    items = [{"model": name, "vendor": by, "release_count": count} for name, by, count in page.rows]
    return paging.answer(page, items)


@router.get(
    "/models/{model:path}",
    response_model=StoredModel,
    response_model_exclude_unset=True,
    responses={**not_found("model"), **INVALID},
)
def get_model(model: AnyName, reading: Reading) -> dict[str, Any]:
    """Return a device model with the releases that implement it and its variables with type and off value."""
    found = lookup.models(reading, [model]).get(model) if is_name(model) else None
    if found is None:
        raise unknown(model, "model")
    own = found.statements.get(found.vendor, {})
    others = {
        vendor: _stated({name: each for name, each in statements.items() if name not in own})
        for vendor, statements in sorted(found.statements.items())
        if vendor != found.vendor
    }
    return {
        "model": model,
        "vendor": found.vendor,
        "releases": [str(ReleaseName(*each)) for each in lookup.implementing(reading, [model])],
        "variables": _stated(own),
        "other_variables": {vendor: stated for vendor, stated in others.items() if stated},
    }


def _stated(statements: Mapping[str, Statement]) -> dict[str, dict[str, Any]]:
    return {
        name: {"type": each.type.value, **({} if each.off_value is None else {"off_value": each.off_value})}
        for name, each in sorted(statements.items())
    }
