"""The page of a release: its models and its list of profiles."""

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.session import Reading
from app.domain.values.name import ReleaseName, is_release_name
from app.pages.page import PageRoute, page
from app.service.erratum import errata_documents
from app.service.implementation import implementation_document
from app.service.known import UnknownNameError
from app.service.release import release_document

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/ui/releases/{release:path}")
def get_release_page(release: str, request: Request, reading: Reading) -> Response:
    """Show a release, with links to the previous and the next one."""
    name = ReleaseName.parse(release) if is_release_name(release) else None
    document = release_document(reading, name) if name else None
    implementation = implementation_document(reading, name.implementation) if name else None
    if document is None or implementation is None:
        raise UnknownNameError(release, "release")
    before, after = _neighbours(release, implementation)
    return page(
        request,
        "release.html",
        release=document,
        implementation=implementation,
        before=before,
        after=after,
        known_broken=errata_documents(reading, release=name),
    )


def _neighbours(release: str, implementation: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the releases with the next lower and the next higher version."""
    ordered = implementation["releases"]
    place = ordered.index(release)
    return (ordered[place - 1] if place else None), (ordered[place + 1] if place + 1 < len(ordered) else None)
