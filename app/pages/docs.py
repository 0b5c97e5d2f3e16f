"""The documentation of the API: Swagger UI, with the styles of the pages."""

from fastapi import APIRouter, Request, Response

from app.api.documentation import UI_PATH
from app.pages.page import PageRoute, page

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# Swagger UI reads the document, sends what its reader tries out, and has its icons in its style sheet.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@router.get("/docs")
def get_docs(request: Request) -> Response:
    """Show the operations of the API, which can be tried out."""
    answer = page(request, "docs.html", ui=UI_PATH)
    answer.headers["Content-Security-Policy"] = _POLICY
    return answer
