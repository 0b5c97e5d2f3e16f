"""All pages, in one place."""

from http import HTTPStatus

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from app.api.errors import ApiError
from app.pages import ask, diff, home, lists, model, page, profile, release, support_matrix, vendor
from app.pages.page import PageRoute, root_of

_nothing = APIRouter(route_class=PageRoute, include_in_schema=False)


@_nothing.get("/ui")
@_nothing.get("/ui/")
async def get_beginning(request: Request) -> Response:
    """Send home who leaves the rest of an address out."""
    return RedirectResponse(f"{root_of(request)}/", HTTPStatus.SEE_OTHER)


@_nothing.get("/ui/{path:path}")
async def get_nothing(path: str) -> None:
    """Answer that there is no such page."""
    raise ApiError(HTTPStatus.NOT_FOUND, "not-found", f"there is no page /ui/{path}")


def add_pages(app: FastAPI) -> None:
    """Serve the web pages beside the API."""
    page.add_static_files(app)
    for module in (home, lists, vendor, model, release, profile, diff, support_matrix, ask):
        app.include_router(module.router)
    app.include_router(_nothing)
