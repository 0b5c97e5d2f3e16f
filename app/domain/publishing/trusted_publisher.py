"""Trusted publishers: pipelines of a vendor whose OIDC tokens are exchanged for publisher tokens."""

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, NoReturn
from urllib.parse import urlsplit

from app.domain.values.canonical import canonical_json
from app.domain.values.document import FaultCode, Place

# Asymmetric ones only: with `none` or HS256, anybody who knows the public key could sign.
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"})
# The clocks of the issuer and of the registry can differ by this much.
LEEWAY_SECONDS = 30
MAX_TOKEN = 16_384
# GitLab's tokens live as long as the job can run, which is a month at most.
MAX_LIFETIME_SECONDS = 31 * 24 * 3600
# The publisher token that an OIDC token is exchanged for.
TOKEN_SECONDS = 15 * 60
_LATEST_SECONDS = 253_402_300_799  # the end of the year 9999
_ID_DIGITS = 12
_MAX_SHOWN = 100
_MAX_SOURCE = 100
_MAX_RUN = 60
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
# Claims that the registry checks itself, so that no trusted publisher can require values of them.
_CHECKED = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})
# Claims that name one project. A public issuer signs tokens for everybody: without one of these, any project would do.
_IDENTIFYING = ("sub", "repository", "repository_id", "project_path", "project_id")
# What the audit shows of an OIDC token.
_AUDITED = (
    *_IDENTIFYING, "ref", "sha", "environment", "workflow_ref", "ci_config_ref_uri", "run_id", "run_attempt",
    "pipeline_id", "job_id", "actor", "user_login",
)  # fmt: skip


class RefusalCode(StrEnum):
    """Why an OIDC token is refused; the strings are part of the interface and never change."""

    UNKNOWN_ISSUER = "unknown-issuer"
    UNSUPPORTED_ALGORITHM = "unsupported-algorithm"
    UNKNOWN_KEY = "unknown-key"
    INVALID_SIGNATURE = "invalid-signature"
    EXPIRED = "token-expired"
    NOT_YET_VALID = "token-not-yet-valid"
    WRONG_AUDIENCE = "wrong-audience"
    CLAIMS_DIFFER = "claims-not-trusted"
    REPLAYED = "token-replayed"


class RefusedTokenError(Exception):
    """An OIDC token that is not exchanged; code: the first reason, the message states all."""

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_issuer(url: str) -> str:
    """Return the URL of an issuer; raises ValueError if it is not one, or if its keys would travel without TLS."""
    message = "must be an https URL without user, query and fragment (http only on a loopback host)"
    parts = urlsplit(url)
    if parts.port == 0 or parts.query or parts.fragment or parts.username is not None or not parts.hostname:
        raise ValueError(message)
    if "?" in url or "#" in url or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(message)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(url)):
        raise ValueError(message)
    return url


def is_loopback(url: str) -> bool:
    """Return whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_same_origin(url: str, issuer: str) -> bool:
    """Return whether a URL has the scheme, host and port of an issuer."""
    try:
        one, other = urlsplit(url), urlsplit(issuer)
        parts = (one.scheme, one.hostname, one.port, one.username)
    except ValueError:
        return False
    return parts == (other.scheme, other.hostname, other.port, None)


def check_claims(claims: Mapping[str, str]) -> Mapping[str, str]:
    """Return the claims that a trusted publisher requires; raises ValueError if any project could have them."""
    checked = sorted(_CHECKED & claims.keys())
    if checked:
        message = f"must not name {', '.join(checked)}: the registry always checks them"
        raise ValueError(message)
    if not any(name in claims for name in _IDENTIFYING):
        message = f"must name one project: one of {', '.join(_IDENTIFYING)}; otherwise any project would be trusted"
        raise ValueError(message)
    return claims


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedPublisher:
    """A pipeline that can publish for a vendor.

    issuer: the URL of the OIDC issuer, exactly as in its tokens. audience: for whom its tokens must be. claims: the
    claims that they must have, with exact values.
    """

    vendor: str
    issuer: str
    audience: str
    claims: Mapping[str, str]

    @property
    def id(self) -> str:
        """Return the id, which is made from the content: equal trusted publishers are one."""
        content = canonical_json([self.vendor, self.issuer, self.audience, dict(self.claims)])
        return sha256(content.encode()).hexdigest()[:_ID_DIGITS]


@dataclass(frozen=True, slots=True)
class OidcToken:
    """An OIDC token as it was received: whether its issuer signed it is not known yet."""

    text: str
    algorithm: str
    key_id: str | None
    claims: Mapping[str, Any]

    @classmethod
    def read(cls, text: str, place: Place) -> "OidcToken":
        """Return the token in its compact form (RFC 7515, 7519).

        Raises InvalidDocumentError with all faults, or RefusedTokenError for an algorithm that is not allowed.
        """
        segments = text.split(".")
        if len(segments) != 3 or not all(map(_SEGMENT.fullmatch, segments[:2])):  # noqa: PLR2004 (RFC 7515, 3.1)
            place.fault(FaultCode.INVALID_VALUE, "must be a signed JWT: three parts in base64url, separated by dots")
            place.raise_faults()
        header, claims = (_json_object(segment) for segment in segments[:2])
        if header is None or claims is None:
            place.fault(FaultCode.INVALID_VALUE, "must be a signed JWT: header and claims are JSON objects")
            place.raise_faults()
        assert header is not None  # noqa: S101 (a fault otherwise)
        assert claims is not None  # noqa: S101 (a fault otherwise)
        _check_header(header, place)
        _check_claims(claims, place)
        place.raise_faults()
        algorithm = header["alg"]
        if algorithm not in ALGORITHMS:
            allowed = ", ".join(sorted(ALGORITHMS))
            message = f"The token is signed with {_shown(algorithm)}; allowed: {allowed}."
            raise RefusedTokenError(RefusalCode.UNSUPPORTED_ALGORITHM, message)
        return cls(text, algorithm, header.get("kid"), claims)

    @property
    def issuer(self) -> str:
        """Return the issuer that the token names."""
        return str(self.claims["iss"])

    @property
    def expires_at(self) -> float:
        """Return when the token expires, in seconds since 1970."""
        return float(self.claims["exp"])

    @property
    def digest(self) -> str:
        """Return the digest of what is signed.

        The signature is left out: some algorithms have several valid signatures of one token.
        """
        return sha256(self.text.rpartition(".")[0].encode()).hexdigest()

    @property
    def source(self) -> str:
        """Return what the token says that it was issued for: the repository, the project, or the subject."""
        return self._first(("repository", "project_path", "sub"), _MAX_SOURCE) or "unnamed project"

    @property
    def run(self) -> str:
        """Return the run that the token was issued for: of GitHub or GitLab, otherwise the id of the token."""
        return self._first(("run_id", "pipeline_id", "jti"), _MAX_RUN) or self.digest[:_ID_DIGITS]

    @property
    def audited(self) -> Mapping[str, str]:
        """Return what the audit shows of the claims."""
        texts = {name: _text(self.claims.get(name)) for name in _AUDITED}
        return {name: _printable(text)[:_MAX_SHOWN] for name, text in texts.items() if text is not None}

    def _first(self, names: Sequence[str], limit: int) -> str:
        texts = (_text(self.claims.get(name)) for name in names)
        return _printable(next((text for text in texts if text), ""))[:limit]

    def differing(self, publisher: TrustedPublisher) -> Sequence[str]:
        """Return the names of the claims whose values are not those that a trusted publisher requires."""
        return [name for name, value in sorted(publisher.claims.items()) if _text(self.claims.get(name)) != value]

    def is_for(self, audience: str) -> bool:
        """Return whether the token is for an audience."""
        audiences = self.claims["aud"]
        return audience in ([audiences] if isinstance(audiences, str) else audiences)


def _json_object(segment: str) -> dict[str, Any] | None:
    """Return the JSON object in base64url, None if there is none."""
    try:
        text = urlsafe_b64decode(segment + "=" * (-len(segment) % 4)).decode()
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
        # A lone surrogate cannot be stored or shown.
        canonical_json(document).encode()
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        message = "duplicate name"
        raise ValueError(message)
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _check_header(header: Mapping[str, Any], place: Place) -> None:
    if not isinstance(header.get("alg"), str):
        place.fault(FaultCode.INVALID_VALUE, "the header must name its algorithm: alg must be a string")
    if not isinstance(header.get("kid"), str | None):
        place.fault(FaultCode.INVALID_VALUE, "kid in the header must be a string")
    if "crit" in header:
        place.fault(FaultCode.INVALID_VALUE, "the header must not have crit: the registry knows no extensions")


def _check_claims(claims: Mapping[str, Any], place: Place) -> None:
    if not isinstance(claims.get("iss"), str):
        place.fault(FaultCode.INVALID_VALUE, "the claim iss must be a string")
    audiences = claims.get("aud")
    if not isinstance(audiences, str) and not (
        isinstance(audiences, list) and all(isinstance(audience, str) for audience in audiences)
    ):
        place.fault(FaultCode.INVALID_VALUE, "the claim aud must be a string or an array of strings")
    times = {name: claims.get(name) for name in ("exp", "iat", "nbf") if name != "nbf" or "nbf" in claims}
    wrong = [name for name, time in times.items() if not _is_time(time)]
    for name in wrong:
        place.fault(FaultCode.INVALID_VALUE, f"the claim {name} must be a number of seconds since 1970")
    if not wrong and claims["exp"] - claims["iat"] > MAX_LIFETIME_SECONDS:
        days = MAX_LIFETIME_SECONDS // (24 * 3600)
        place.fault(FaultCode.INVALID_VALUE, f"the token must be valid for at most {days} days: exp is later")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST_SECONDS


def _text(value: object) -> str | None:
    """Return the value of a claim as a trusted publisher states it, None for an array or an object."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _shown(value: object) -> str:
    """Return a value of a token for a message: short, and without control characters."""
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def check_known(issuer: str, publishers: Collection[TrustedPublisher], vendor: str | None) -> None:
    """Raise RefusedTokenError if no trusted publisher (of a vendor, if one is named) has the issuer of a token.

    publishers: those that have it. Checked before anything else, so that nobody can name an issuer to be asked for
    keys.
    """
    if not any(vendor in {None, publisher.vendor} for publisher in publishers):
        whose = "No vendor" if vendor is None else vendor
        verb = "has a" if vendor is None else "has no"
        message = f"{whose} {verb} trusted publisher with the issuer {_shown(issuer)}. An admin can create one."
        raise RefusedTokenError(RefusalCode.UNKNOWN_ISSUER, message)


def publisher_of(
    token: OidcToken, publishers: Collection[TrustedPublisher], vendor: str | None, now: float, place: Place
) -> TrustedPublisher:
    """Return the trusted publisher that a token comes from; the one with the most claims if several fit.

    publishers: those with the issuer of the token. vendor: whose they must be, None for any. now: in seconds since
    1970. Raises RefusedTokenError with all reasons, InvalidDocumentError if it fits several vendors and none is named.
    """
    check_known(token.issuer, publishers, vendor)
    reasons = list(_reasons_of_time(token, now))
    candidates = [publisher for publisher in publishers if vendor in {None, publisher.vendor}]
    in_audience = [publisher for publisher in candidates if token.is_for(publisher.audience)]
    if not in_audience:
        message = (
            f"It is for the audience {_shown(token.claims['aud'])}, which no trusted publisher with its issuer has."
        )
        reasons.append((RefusalCode.WRONG_AUDIENCE, message))
    # The claims are named also for another audience, so that all that has to be corrected is known at once.
    nearest = min((token.differing(publisher) for publisher in in_audience or candidates), key=len)
    if nearest:
        # The values that are required are not shown: anybody can have a token of a public issuer.
        values = ", ".join(
            f"{name}={_shown(token.claims[name])}" if name in token.claims else f"no {name}" for name in nearest
        )
        reasons.append((RefusalCode.CLAIMS_DIFFER, f"It has {values}, which no trusted publisher requires."))
    if reasons:
        messages = " ".join(message for _, message in reasons)
        raise RefusedTokenError(reasons[0][0], f"The token is not trusted. {messages}")
    fitting = [publisher for publisher in in_audience if not token.differing(publisher)]
    vendors = sorted({publisher.vendor for publisher in fitting})
    if len(vendors) > 1:
        message = f"is missing: the token fits trusted publishers of {', '.join(vendors)}; name one of them"
        (place / "vendor").fault(FaultCode.MISSING_FIELD, message)
        place.raise_faults()
    return max(fitting, key=lambda publisher: (len(publisher.claims), publisher.id))


def _reasons_of_time(token: OidcToken, now: float) -> Sequence[tuple[RefusalCode, str]]:
    if token.expires_at <= now - LEEWAY_SECONDS:
        seconds = f"{now - token.expires_at:,.0f}"
        return [(RefusalCode.EXPIRED, f"It expired {seconds} seconds ago: request a new one.")]
    begins = max(float(token.claims["iat"]), float(token.claims.get("nbf", 0)))
    if begins > now + LEEWAY_SECONDS:
        message = f"It is valid only in {begins - now:,.0f} seconds: check the clocks of the issuer and the registry."
        return [(RefusalCode.NOT_YET_VALID, message)]
    return []


def token_name(publisher: TrustedPublisher, token: OidcToken) -> str:
    """Return the name of a publisher token, which the audit shows: what was built, which run, who trusts it."""
    return f"{token.source} run {token.run}, trusted publisher {publisher.id}"
