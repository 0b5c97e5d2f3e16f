"""What a host states, and the faults in it: of a registration, and of a change of another registry."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from app.domain.things.model import Model
from app.domain.things.restriction import Unknown, check_resolutions, check_restrictions
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import is_release_name
from app.service.compatibility import check_units
from app.wire import compatibility as wire
from app.wire.host import HostDocument


def stated_by(document: HostDocument) -> dict[str, Any]:
    """Return what a host states in plain JSON, without its labels; fields that are empty are left out of units."""
    units = [
        {
            field: content
            for field, content in {
                "id": unit.id,
                "releases": unit.releases,
                "restrict": wire.restrictions(unit.restrict),
                "resolves": unit.resolves,
                "available": unit.available,
            }.items()
            if content or content == 0
        }
        for unit in document.units
    ]
    return {
        "releases": document.releases,
        "restrict": wire.restrictions(document.restrict),
        "resolves": document.resolves,
        "units": units,
    }


def models_of(stated: Mapping[str, Any]) -> Mapping[str, None]:
    """Return the names of the models that a host and its units restrict or resolve, each once."""
    return dict.fromkeys(
        model
        for content in (stated, *stated["units"])
        for field in ("restrict", "resolves")
        for model in content.get(field, ())
    )


def check_host(
    document: HostDocument,
    stated: Mapping[str, Any],
    existing: Mapping[str, Any],
    models: Mapping[str, Model],
    place: Place,
) -> Unknown:
    """Return the unknown names of a host and its units; report all faults.

    existing: what is registered for it. models: those that are known; values are checked against them.
    """
    check_units(document.units, place / "units")
    unknown = Unknown()
    for content, before, content_place in _parts(stated, existing, place):
        for index, release in enumerate(content["releases"]):
            if not is_release_name(release):
                message = f"must be <implementation>@<version>, not {json.dumps(release, ensure_ascii=False)}"
                (content_place / "releases" / index).fault(FaultCode.INVALID_NAME, message)
        for field, check in (("restrict", check_restrictions), ("resolves", check_resolutions)):
            check(content.get(field, {}), models, before.get(field, {}), content_place / field, unknown)
    return unknown


def _parts(
    stated: Mapping[str, Any], existing: Mapping[str, Any], place: Place
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], Place]]:
    """Iterate over a host and its units: what each states, what is registered for it, and its place."""
    units_before = {unit["id"]: unit for unit in existing.get("units", ())}
    yield stated, existing, place
    for index, unit in enumerate(stated["units"]):
        yield unit, units_before.get(unit["id"], {}), place / "units" / index
