"""Tokens on the wire."""

from typing import Annotated

from pydantic import Field

from app.domain.publishing.token import Role
from app.wire.base import DryRun, OpenShape, Shape

_TEN_YEARS = 10 * 366 * 24 * 3600


class TokenDocument(Shape):
    """A new token."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="the name of its user in the audit, 1 to 100 characters",
        examples=["vendor-a's pipeline"],
    )
    role: Annotated[Role, Field(strict=False)] = Field(
        description="admin: write everything; publisher: publish names of one vendor and change their states; "
        "reader: read where reading needs a token"
    )
    vendor: str | None = Field(
        default=None,
        max_length=255,
        description="the registered vendor that a publisher publishes for; only for the role publisher",
    )
    expires_in: int | None = Field(
        default=None, ge=1, le=_TEN_YEARS, description="seconds until it expires, at most ten years; null: never"
    )


class Token(OpenShape):
    """A token without its secret."""

    id: str = Field(description="the id of the token, 12 hexadecimal digits")
    name: str = Field(description="the name of its user in the audit")
    role: Annotated[Role, Field(strict=False)] = Field(description="what it allows: admin, publisher or reader")
    vendor: str | None = Field(description="the vendor that a publisher publishes for; null for other roles")
    created_at: str = Field(description="when it was created, in UTC (ISO 8601)")
    created_by: str = Field(description="the name of the token that created it; admin: the operator's token")
    expires_at: str | None = Field(description="when it expires, in UTC (ISO 8601); null: never")
    revoked_at: str | None = Field(description="when it was revoked, in UTC (ISO 8601); null: not revoked")
    last_used_at: str | None = Field(
        description="when it was last used, in UTC (ISO 8601), to within some seconds; null: never"
    )


class OwnToken(OpenShape):
    """The token that a request is sent with."""

    id: str | None = Field(description="the id of the token, 12 hexadecimal digits; null: the operator's, a setting")
    name: str = Field(description="the name of its user in the audit")
    role: Annotated[Role, Field(strict=False)] = Field(description="what it allows: admin, publisher or reader")
    vendor: str | None = Field(description="the vendor that a publisher publishes for; null for other roles")
    created_at: str | None = Field(description="when it was created, in UTC (ISO 8601); null: the operator's")
    created_by: str | None = Field(description="the name of the token that created it; null: the operator's")
    expires_at: str | None = Field(description="when it expires, in UTC (ISO 8601); null: never")


class CreatedToken(Token):
    """A token that was just created."""

    dry_run: DryRun
    token: str | None = Field(
        description="the secret, for `Authorization: Bearer <token>`; it is shown only in this answer and not stored. "
        "Null with `dry_run`"
    )
