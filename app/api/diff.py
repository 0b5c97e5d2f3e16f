"""Differences: what two releases or two profiles say otherwise of a device model."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError

from app.api.access import Registry
from app.api.answer import json_response
from app.api.known import known_model, known_profile, known_release
from app.api.parameters import narrowing
from app.api.publishing import INVALID, not_found
from app.api.route import Route
from app.api.wire.base import printable
from app.api.wire.diff import Diff
from app.domain import difference
from app.domain.difference import Difference
from app.domain.name import vendor_of
from app.domain.profile import Profile
from app.domain.release import Release
from app.storage.catalog import Standing, digests

router = APIRouter(route_class=Route, tags=["fleets"])

Compared = Annotated[str, Query(max_length=400)]


@router.get(
    "/diff",
    response_model=Diff,
    response_model_exclude_unset=True,
    responses={**not_found("release", "profile", "model"), **INVALID},
)
def get_diff(
    registry: Registry,
    before: Annotated[Compared, Query(alias="from", description="a release, or a profile; at most 400 characters")],
    after: Annotated[Compared, Query(alias="to", description="another one of the same kind; at most 400 characters")],
    model: Annotated[str | None, narrowing("only this device model"), printable] = None,
) -> Response:
    """Return what was added, removed and changed from one to the other, and which direction of migration that closes.

    A migration goes forward from the first to the second. Of profiles all resolved values are compared: a device made
    with one is another hardware than one made with the other.
    """
    return json_response(registry.ask(lambda current: _answer(before, after, model, current)))


def _answer(before: str, after: str, model: str | None, current: Standing) -> dict[str, Any]:
    one, other = pair(before, after, current)
    if model is not None:
        known_model(model, current)
    names = differing(one, other) if model is None else [model]
    found = differences(names, one, other, current)
    models = {name: list(map(_document, each)) for name, each in found.items()}
    return {"from": before, "to": after, "models": models}


def pair(before: str, after: str, current: Standing) -> tuple[Release | Profile, Release | Profile]:
    """Return two releases or two profiles by name; raises the error for what is not there or cannot be compared."""
    if ("@" in before) != ("@" in after):
        error = {
            "type": "value_error",
            "loc": ("query", "to"),
            "msg": "is of another kind than from: a release is compared with a release, a profile with a profile",
        }
        raise RequestValidationError([error])
    find = known_release if "@" in before else known_profile
    return find(before, current), find(after, current)


def differing(one: Release | Profile, other: Release | Profile) -> list[str]:
    """Return the models, by name, of which two releases or two profiles say something, and not the same."""
    sides = [digests(one), digests(other)]
    return sorted(name for name in {*sides[0], *sides[1]} if sides[0].get(name) != sides[1].get(name))


def differences(
    names: Sequence[str], one: Release | Profile, other: Release | Profile, current: Standing
) -> dict[str, list[Difference]]:
    """Return what two releases or two profiles say otherwise of models, by model; those are left out that are alike."""
    current.load((one, other), names)
    found = {name: _differences(name, one, other, current) for name in names}
    return {name: each for name, each in found.items() if each}


def _differences(name: str, one: Release | Profile, other: Release | Profile, current: Standing) -> list[Difference]:
    model = current.model(name)
    if model is None:
        return []
    if isinstance(one, Release) and isinstance(other, Release):
        vendors = (one.name.vendor, other.name.vendor)
        return difference.between_releases(model, vendors, one.sets.get(name), other.sets.get(name))
    if isinstance(one, Profile) and isinstance(other, Profile):
        vendors = (vendor_of(one.name), vendor_of(other.name))
        found = difference.between_profiles(model, vendors, one.values.get(name), other.values.get(name))
        if not any(each.variable for each in found):
            return found
        return difference.without_backend(found, [each.sets[name] for each in current.releases([name])])
    return []


def _document(each: Difference) -> dict[str, Any]:
    return {
        "variable": each.variable,
        "change": each.change.value,
        **({} if each.before is None else {"from": each.before}),
        **({} if each.after is None else {"to": each.after}),
        "message": each.message,
        "closes": {direction.value: extent.value for direction, extent in (each.closes or {}).items()},
    }
