"""Trusted publishers on the wire."""

from typing import Annotated

from pydantic import AfterValidator, Field

from app.domain.publishing.trusted_publisher import MAX_TOKEN, check_claims, check_issuer
from app.wire.base import DryRun, OpenShape, Shape, printable
from app.wire.token import CreatedToken

_MAX_CLAIMS = 20
_MAX_TEXT = 1024

_Id = Annotated[str, Field(description="the id of the trusted publisher, 12 hexadecimal digits from its content")]
_ClaimName = Annotated[str, Field(min_length=1, max_length=128), printable]
_ClaimValue = Annotated[str, Field(max_length=_MAX_TEXT), printable]


class TrustedPublisherDocument(Shape):
    """A new trusted publisher: which OIDC tokens are exchanged for publisher tokens of a vendor."""

    vendor: str = Field(max_length=255, description="the registered vendor that the pipeline publishes for")
    issuer: Annotated[str, AfterValidator(check_issuer)] = Field(
        max_length=_MAX_TEXT,
        description="the URL of the OIDC issuer, exactly as `iss` in its tokens: https, or http on a loopback host. "
        "The registry reads its keys by OpenID Connect Discovery",
    )
    audience: Annotated[str, printable] = Field(
        min_length=1,
        max_length=_MAX_TEXT,
        description="`aud` of the tokens: the address of this registry, so that no token for something else counts",
    )
    claims: Annotated[dict[_ClaimName, _ClaimValue], AfterValidator(check_claims)] = Field(
        min_length=1,
        max_length=_MAX_CLAIMS,
        description="the claims that a token must have, with exact values; a boolean is written `true` or `false`. One "
        "of `sub`, `repository`, `repository_id`, `project_path` and `project_id` is required",
    )


class TrustedPublisher(OpenShape):
    """A pipeline that can publish for a vendor."""

    id: _Id
    vendor: str = Field(description="the vendor that it publishes for")
    issuer: str = Field(description="the URL of the OIDC issuer")
    audience: str = Field(description="`aud` of its tokens")
    claims: dict[str, str] = Field(description="the claims that its tokens must have, with exact values")
    created_at: str = Field(description="when it was created, in UTC (ISO 8601)")
    created_by: str = Field(description="the name of the token that created it; admin: the operator's token")


class CreatedTrustedPublisher(TrustedPublisher):
    """A trusted publisher that was just created, or that existed."""

    dry_run: DryRun


class ExchangeDocument(Shape):
    """An OIDC token to be exchanged."""

    token: str = Field(
        max_length=MAX_TOKEN,
        description="the OIDC token of the pipeline's run: a signed JWT, at most 16,384 characters",
    )
    vendor: str | None = Field(
        default=None,
        max_length=255,
        description="the vendor to publish for; required only if the token fits trusted publishers of several vendors",
    )


class ExchangedToken(CreatedToken):
    """The publisher token that an OIDC token was exchanged for; it expires after 15 minutes."""

    trusted_publisher: str = Field(description="the id of the trusted publisher that the OIDC token fits")
