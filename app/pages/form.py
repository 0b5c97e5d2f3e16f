"""Forms that are sent: their fields and files, from the address or from a body of bounded size."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from app.api.container import container
from app.api.error_code import ErrorCode
from app.api.errors import ApiError
from app.api.identity import check_admin
from app.api.route import QuestionRoute
from app.domain.publishing.token import Identity

# The parser logs each malformed body; the answer says the same to whoever sent it.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
_MAX_FILES = 1_000
_MAX_FIELDS = 200
# Forms that change something are small.
_MAX_ADMIN_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class Form:
    """What a form has sent. fields: the values by name, in order. files: by the name of the file, not empty ones."""

    fields: Mapping[str, Sequence[str]]
    files: Sequence[tuple[str, bytes]] = ()

    def first(self, name: str) -> str:
        """Return the first value of a field without surrounding blanks, empty if there is none."""
        return next(iter(self.fields.get(name, ())), "").strip()

    def text(self, name: str) -> str:
        """Return the values of a field as they are, one after the other."""
        return "\n".join(self.fields.get(name, ()))

    def lines(self, name: str) -> list[str]:
        """Return the lines of a field that are not blank, without surrounding blanks."""
        return [line.strip() for text in self.fields.get(name, ()) for line in text.splitlines() if line.strip()]


async def read_form(request: Request, max_bytes: int | None = None) -> Form:
    """Return the form that a request sends: its query, or its body; max_bytes: None: as of a question.

    Raises ApiError: 413 for a larger body, 400 for one that is no form.
    """
    if request.method != "POST":
        return Form(_by_name(request.query_params.multi_items()))
    limit = QuestionRoute.max_body_bytes(container(request).settings)
    request.scope["max_body_bytes"] = limit if max_bytes is None else max_bytes
    charset = parse_options_header(request.headers.get("content-type"))[1].get(b"charset", b"utf-8")
    if charset.lower() not in {b"utf-8", b"utf8"}:
        message = "the body is not a form: its charset must be UTF-8"
        raise ApiError(HTTPStatus.BAD_REQUEST, ErrorCode.MALFORMED_FORM, message)
    # The whole body first: this enforces the limit.
    body = await request.body()
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, bytes]] = []
    try:
        async with request.form(max_files=_MAX_FILES, max_fields=_MAX_FIELDS, max_part_size=max(1, len(body))) as form:
            for name, value in form.multi_items():
                if not isinstance(value, UploadFile):
                    fields.append((name, value))
                elif content := await value.read():
                    files.append((value.filename or name, content))
    except HTTPException as error:
        message = f"the body is not a form: {error.detail}"
        raise ApiError(HTTPStatus.BAD_REQUEST, ErrorCode.MALFORMED_FORM, message) from None
    return Form(_by_name(fields), files)


def _by_name(items: Sequence[tuple[str, str]]) -> Mapping[str, Sequence[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in items:
        fields.setdefault(name, []).append(value)
    return fields


async def _sent(request: Request) -> Form:
    return await read_form(request)


SentForm = Annotated[Form, Depends(_sent)]


def is_own(request: Request, *, may_be_unsaid: bool = False) -> bool:
    """Return whether a page of this registry sent a request, as its browser states.

    A browser sends a password that it keeps with every request, also with those of other sites' forms. It sets both
    headers itself, and no page can change them. Over plain HTTP there is no Sec-Fetch-Site. may_be_unsaid: the answer
    where a client states neither, such as curl.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return may_be_unsaid
    try:
        return urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower() != ""
    except ValueError:
        return False


def check_own(request: Request, *, may_be_unsaid: bool = False) -> None:
    """Raise 403 for a form that a page of another site has sent."""
    if not is_own(request, may_be_unsaid=may_be_unsaid):
        message = "The form was not sent from a page of this registry."
        raise ApiError(HTTPStatus.FORBIDDEN, ErrorCode.CROSS_SITE, message)


async def _own_form(request: Request, _: Annotated[Identity, Depends(check_admin)]) -> dict[str, str]:
    """Return the fields of an admin's form that are not empty; raises ApiError: 401, 403, and as read_form."""
    check_own(request)
    form = await read_form(request, _MAX_ADMIN_BYTES)
    return {name: values[0] for name, values in form.fields.items() if values[0]}


# Ask for it before the session that writes: what is refused must not wait for a turn to write.
AdminForm = Annotated[dict[str, str], Depends(_own_form)]
