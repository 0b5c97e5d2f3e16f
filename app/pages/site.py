"""Add all pages to the application."""

from http import HTTPStatus

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from app.api.error_code import ErrorCode
from app.api.errors import ApiError, root_of
from app.pages import (
    ask,
    change,
    diff,
    docs,
    drain,
    fleet_map,
    home,
    host,
    lists,
    model,
    page,
    profile,
    publish,
    release,
    support_matrix,
    token,
    vendor,
)
from app.pages import help as help_pages
from app.pages.page import PageRoute

_nothing = APIRouter(route_class=PageRoute, include_in_schema=False)


@_nothing.get("/ui")
@_nothing.get("/ui/")
async def get_beginning(request: Request) -> Response:
    """Redirect to the home page."""
    return RedirectResponse(f"{root_of(request.scope)}/", HTTPStatus.SEE_OTHER)


@_nothing.get("/ui/{path:path}")
async def get_nothing(path: str) -> None:
    """Answer 404 for an unknown page."""
    raise ApiError(HTTPStatus.NOT_FOUND, ErrorCode.NOT_FOUND, f"there is no page /ui/{path}")


def add_pages(app: FastAPI) -> None:
    """Serve the web pages."""
    page.add_static_files(app)
    app.add_middleware(page.ErrorPages)
    for module in (
        home,
        lists,
        host,
        fleet_map,
        vendor,
        model,
        release,
        profile,
        diff,
        support_matrix,
        ask,
        drain,
        publish,
        help_pages,
        change,
        token,
        docs,
    ):
        app.include_router(module.router)
    app.include_router(_nothing)
