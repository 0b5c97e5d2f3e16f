"""Tokens on the wire."""

from typing import Annotated

from pydantic import Field

from app.api.wire.base import DryRun, Shape
from app.domain.token import Role

_TEN_YEARS = 10 * 366 * 24 * 3600


class TokenDocument(Shape):
    """A token that is to be created."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="what the audit calls whoever uses it, 1 to 100 characters",
        examples=["vendor-a's pipeline"],
    )
    role: Annotated[Role, Field(strict=False)] = Field(
        description="admin: all; publisher: publish one vendor's names and change their states; "
        "reader: read where reads are closed"
    )
    vendor: str | None = Field(
        default=None,
        max_length=255,
        description="the vendor that a publisher publishes for, registered before; none of other roles",
    )
    expires_in: int | None = Field(
        default=None, ge=1, le=_TEN_YEARS, description="seconds from now, at most ten years; null: it does not expire"
    )


class Token(Shape):
    """A token, but for its secret."""

    id: str = Field(description="12 hexadecimal digits")
    name: str = Field(description="what the audit calls whoever uses it")
    role: Annotated[Role, Field(strict=False)] = Field(description="what it may do: admin, publisher or reader")
    vendor: str | None = Field(description="the vendor that a publisher publishes for; null of other roles")
    created_at: str = Field(description="UTC (ISO 8601), like the others")
    created_by: str = Field(description="the name of the token that created it; admin: the operator's own")
    expires_at: str | None = Field(description="null: never")
    revoked_at: str | None = Field(description="null: it is not")
    last_used_at: str | None = Field(description="within some seconds; null: never")


class CreatedToken(Token):
    """A token that was just created."""

    dry_run: DryRun
    token: str | None = Field(
        description="the secret, for `Authorization: Bearer <token>`; it is shown this once and kept nowhere. "
        "Null of a dry run"
    )
