"""Issuers of OIDC tokens: their keys, found by OpenID Connect Discovery, and the check of signatures."""

import json
import logging
import time
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
from anyio import Lock, fail_after, to_thread
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from app.domain.publishing.trusted_publisher import (
    ALGORITHMS,
    OidcToken,
    RefusalCode,
    RefusedTokenError,
    is_loopback,
    is_same_origin,
)

_LOGGER = logging.getLogger("registry.issuer")
# Keys are read again after this time, so that a key that its issuer withdrew is not used for long.
_FRESH_SECONDS = 600.0
# While the issuer does not answer, keys that were read before count for this long.
_STALE_SECONDS = 3600.0
# Between two attempts to read the keys of an issuer: anybody can send tokens that name an unknown key.
RETRY_SECONDS = 10
_DEADLINE_SECONDS = 5.0
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 100
_MAX_ISSUERS = 100
# Shorter keys are not safe, longer ones make each check slow.
_RSA_BITS = range(2048, 8193)
_DISCOVERY = "/.well-known/openid-configuration"

_Key = RSAKey | ECKey


class IssuerError(Exception):
    """The keys of an issuer cannot be read; the same token can be accepted later."""


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """An OIDC token that its issuer signed. Only `Issuers.verify` makes one."""

    token: OidcToken


@dataclass(slots=True)
class _Keys:
    """The keys of an issuer as they were read last. Times are on the monotonic clock."""

    lock: Lock = field(default_factory=Lock)
    keys: Sequence[_Key] = ()
    read_at: float = float("-inf")
    tried_at: float = float("-inf")
    failure: str | None = None

    def fitting(self, token: OidcToken, max_age: float) -> Sequence[_Key]:
        """Return the keys that a token can be signed with: the one that it names, otherwise all."""
        if time.monotonic() - self.read_at > max_age:
            return ()
        return [key for key in self.keys if token.key_id is None or key.kid == token.key_id]


class Issuers:
    """The issuers that one worker has asked for keys. It asks only those that the caller names: check them first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Keys] = OrderedDict()

    async def verify(self, token: OidcToken) -> VerifiedToken:
        """Check that the issuer that a token names has signed it.

        The caller has checked that an admin trusts this issuer: it is asked for its keys over the network. Raises
        RefusedTokenError, and IssuerError if the issuer cannot be asked.
        """
        keys = await self._keys(token)
        if not keys:
            message = "The key that the token names is not among its issuer's keys."
            raise RefusedTokenError(RefusalCode.UNKNOWN_KEY, message)
        if not any(_is_signed(token, key) for key in keys):
            message = "The signature of the token is not valid: it was altered, or another issuer signed it."
            raise RefusedTokenError(RefusalCode.INVALID_SIGNATURE, message)
        return VerifiedToken(token)

    async def _keys(self, token: OidcToken) -> Sequence[_Key]:
        """Return the keys that a token can be signed with; reads them again if they are old, or if there is none."""
        known = self._entry(token.issuer)
        if fitting := known.fitting(token, _FRESH_SECONDS):
            return fitting
        # One request reads the keys, and the others wait for it.
        async with known.lock:
            if not known.fitting(token, _FRESH_SECONDS) and time.monotonic() - known.tried_at >= RETRY_SECONDS:
                await _read(token.issuer, known)
        fitting = known.fitting(token, _STALE_SECONDS)
        if not fitting and known.failure is not None:
            raise IssuerError(known.failure)
        return fitting

    def _entry(self, issuer: str) -> _Keys:
        entry = self._known.setdefault(issuer, _Keys())
        self._known.move_to_end(issuer)
        if len(self._known) > _MAX_ISSUERS:
            self._known.popitem(last=False)
        return entry


async def _read(issuer: str, known: _Keys) -> None:
    """Read the keys of an issuer; note why, if that is not possible."""
    known.tried_at = time.monotonic()
    try:
        with fail_after(_DEADLINE_SECONDS):
            known.keys = await _read_keys(issuer)
    except TimeoutError:
        known.failure = f"it did not answer within {_DEADLINE_SECONDS:g} seconds"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        known.failure = f"it cannot be reached: {error}"
    except IssuerError as error:
        known.failure = str(error)
    else:
        known.failure = None
        known.read_at = time.monotonic()
    if known.failure is not None:
        _LOGGER.warning("the keys of the issuer %s cannot be read: %s", issuer, known.failure)


async def _read_keys(issuer: str) -> Sequence[_Key]:
    # Proxies of the environment are for other hosts. A client takes a moment to make: it reads all root certificates.
    new_client = partial(httpx.AsyncClient, timeout=_DEADLINE_SECONDS, trust_env=not is_loopback(issuer))
    async with await to_thread.run_sync(new_client) as client:
        # OpenID Connect Discovery 1.0, sections 4.1 and 4.3: the document names its issuer, exactly.
        configuration = await _json_at(f"{issuer.rstrip('/')}{_DISCOVERY}", client)
        if configuration.get("issuer") != issuer:
            message = f"{_DISCOVERY} there is about another issuer"
            raise IssuerError(message)
        address = configuration.get("jwks_uri")
        if not isinstance(address, str) or not is_same_origin(address, issuer):
            message = f"jwks_uri in {_DISCOVERY} must have the scheme, host and port of the issuer"
            raise IssuerError(message)
        documents = (await _json_at(address, client)).get("keys")
    if not isinstance(documents, list) or len(documents) > _MAX_KEYS:
        message = f"its key set must be an array of at most {_MAX_KEYS} keys"
        raise IssuerError(message)
    return [key for document in documents if (key := _key(document)) is not None]


async def _json_at(address: str, client: httpx.AsyncClient) -> dict[str, Any]:
    """Return the JSON object at an address; redirects are not followed."""
    # Uncompressed: a small answer could otherwise become a large one.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    body = bytearray()
    async with client.stream("GET", address, headers=headers) as response:
        if response.status_code != httpx.codes.OK:
            message = f"{address} answered {response.status_code}"
            raise IssuerError(message)
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > _MAX_BYTES:
                message = f"{address} answered more than {_MAX_BYTES:,} bytes"
                raise IssuerError(message)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        message = f"{address} did not answer with a JSON object"
        raise IssuerError(message)
    return document


def _key(document: object) -> _Key | None:
    """Return the public key in a JWK (RFC 7517), None for one that signs no token that is accepted."""
    if not isinstance(document, dict) or document.get("use", "sig") != "sig":
        return None
    try:
        match document.get("kty"):
            case "RSA":
                # Only the public members are taken.
                size = int.from_bytes(_decoded(document["n"])).bit_length()
                return RSAKey.import_key(_public(document, "n", "e")) if size in _RSA_BITS else None
            case "EC":
                return ECKey.import_key(_public(document, "crv", "x", "y"))
            case _:
                return None
    # A key that cannot be read must not make the others useless.
    except (JoseError, ValueError, TypeError, KeyError, Base64Error):
        return None


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _public(document: dict[str, Any], *members: str) -> dict[str, Any]:
    names = ("kty", "kid", "alg", *members)
    return {name: document[name] for name in names if name in document}


def _is_signed(token: OidcToken, key: _Key) -> bool:
    """Return whether a key has signed a token, with the algorithm that the token names."""
    if key.alg not in {None, token.algorithm}:
        return False
    # Header parameters that are not known are ignored (RFC 7515, 4); OidcToken refuses `crit`.
    registry = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = len(token.text)
    try:
        jws.deserialize_compact(token.text, key, registry=registry)
    except (JoseError, ValueError, TypeError):
        return False
    return True
