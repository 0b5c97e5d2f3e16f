"""Forms that are sent: their fields and files, from the address or from a body of bounded size."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from app.api.container import container
from app.api.errors import ApiError
from app.api.route import QuestionRoute

# The parser logs each malformed body; the answer says the same to whoever sent it.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
_MAX_FILES = 1_000
_MAX_FIELDS = 200


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


async def read_form(request: Request) -> Form:
    """Return the form that a request sends: its query, or its body of at most REGISTRY_MAX_QUESTION_BYTES.

    Raises ApiError: 413 for a larger body, 400 for one that is no form.
    """
    if request.method != "POST":
        return Form(_by_name(request.query_params.multi_items()))
    request.scope["max_body_bytes"] = QuestionRoute.max_body_bytes(container(request).settings)
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
        raise ApiError(HTTPStatus.BAD_REQUEST, "malformed-form", message) from None
    return Form(_by_name(fields), files)


def _by_name(items: Sequence[tuple[str, str]]) -> Mapping[str, Sequence[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in items:
        fields.setdefault(name, []).append(value)
    return fields


SentForm = Annotated[Form, Depends(read_form)]
