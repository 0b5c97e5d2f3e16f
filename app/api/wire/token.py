"""Tokens on the wire."""

from typing import Annotated

from pydantic import Field

from app.api.wire.base import Shape
from app.domain.token import Role

_TEN_YEARS = 10 * 366 * 24 * 3600


class TokenDocument(Shape):
    """A token that is to be created."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="what the audit calls whoever uses it",
        examples=["vendor-a's pipeline"],
    )
    role: Annotated[Role, Field(strict=False)] = Field(
        description="admin: all; publisher: publish one vendor's names and change their states; "
        "reader: read where reads are closed"
    )
    vendor: str | None = Field(default=None, max_length=255, description="of a publisher, and of none else")
    expires_in: int | None = Field(
        default=None, ge=1, le=_TEN_YEARS, description="seconds from now; null: it does not expire"
    )


class Token(Shape):
    """A token, but for its secret."""

    id: str
    name: str
    role: Annotated[Role, Field(strict=False)]
    vendor: str | None
    created_at: str = Field(description="UTC (ISO 8601), like the others")
    created_by: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None = Field(description="within some seconds; null: never")


class CreatedToken(Token):
    """A token that was just created."""

    dry_run: bool
    token: str | None = Field(
        description="the secret, for `Authorization: Bearer <token>`; it is shown this once and kept nowhere. "
        "Null of a dry run"
    )
