"""Signatures: the signed head of the feed, the registry's keys, vendors' keys, and signed publications."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Request, Response
from fastapi.responses import PlainTextResponse

from app.api import examples
from app.api.answer import json_response, lasting_response
from app.api.container import container
from app.api.error_code import ErrorCode
from app.api.errors import ApiError
from app.api.identity import check_reader
from app.api.parameters import AnyVendor, Digest, NewVendor
from app.api.responses import ADMINISTRATION, BODY_ERRORS, INVALID, UNKNOWN_VENDOR, error_response, not_found
from app.api.route import Route
from app.api.session import Administering, Probing, Reading
from app.domain.values.canonical import is_digest
from app.domain.values.document import Place
from app.domain.values.name import is_vendor
from app.service.known import UnknownNameError
from app.signing.checkpoint import Checkpoint
from app.storage import change, listing, signature
from app.wire.reading import InPieces
from app.wire.signature import Envelope, RegisteredKey, RegistryKeys, VendorKey, VendorKeyDocument

router = APIRouter(route_class=Route, tags=["signatures"])

KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{8}$", description="the id of the key, 8 hexadecimal digits")]


@router.get(
    "/checkpoint",
    response_class=PlainTextResponse,
    responses={
        200: {"description": "the checkpoint", "content": {"text/plain": {"schema": {"type": "string"}}}},
        404: error_response("`unsigned`: the registry has no key to sign with"),
        **INVALID,
    },
    # The database that is written: a replica may lag behind a head that the client has seen.
    dependencies=[Depends(check_reader)],
)
def get_checkpoint(request: Request, reading: Probing) -> Response:
    """Return the signed head of the feed, in the form of https://c2sp.org/tlog-checkpoint.

    The lines are the origin, the `seq` of the last change, and its `link` in base64; after a blank line, a signature
    of each key. An empty feed has the hash of the id of the registry instead of a link.
    """
    keys = container(request).settings.signing_keys
    if not keys:
        message = "This registry does not sign its feed: it has no key (REGISTRY_SIGNING_KEY)."
        raise ApiError(HTTPStatus.NOT_FOUND, ErrorCode.UNSIGNED, message)
    position = change.position(reading)
    return PlainTextResponse(Checkpoint.of(keys[0].name, position.seq, position.link).signed(keys))


@router.get("/keys", response_model=RegistryKeys, responses=INVALID)
def list_keys(request: Request, reading: Reading) -> dict[str, Any]:
    """List the keys that the registry signs its feed with.

    Do not trust a key because this operation names it: ask the operator, and pin it (`--trust`).
    """
    keys = container(request).settings.signing_keys
    return {
        "registry": change.registry_id(reading),
        "origin": keys[0].name if keys else None,
        "keys": [{"id": key.public.id, "key": str(key.public)} for key in keys],
    }


@router.put(
    "/vendors/{vendor}/keys/{key_id}",
    status_code=201,
    response_model=RegisteredKey,
    responses={
        200: {"model": RegisteredKey, "description": "the key was registered already"},
        **BODY_ERRORS,
        **ADMINISTRATION,
        **UNKNOWN_VENDOR,
    },
)
def put_vendor_key(
    vendor: NewVendor,
    key_id: KeyId,
    document: Annotated[
        VendorKeyDocument, InPieces(), Body(openapi_examples=examples.example("a key", examples.VENDOR_KEY))
    ],
    session: Administering,
) -> Response:
    """Register a key with which a vendor signs its publications.

    Its name is the vendor's, or begins with it and a slash. Register a new key before the old one is revoked: until
    then both are valid. A revoked key cannot be registered again.
    """
    place = Place()
    key = signature.read_key(vendor, key_id, document.key, place / "key")
    is_new = signature.register_key(session.writing, vendor, key, place / "key")
    stored = next(entry for entry in signature.keys(session.writing.connection, [vendor]) if entry.key.id == key_id)
    content = {**_document(stored), "dry_run": session.dry_run}
    return json_response(content, HTTPStatus.CREATED if is_new else HTTPStatus.OK)


@router.get("/vendors/{vendor}/keys", response_model=list[VendorKey], responses={**not_found("vendor"), **INVALID})
def list_vendor_keys(vendor: AnyVendor, reading: Reading) -> list[Any]:
    """List the keys of a vendor by the time registered, also those revoked."""
    if not is_vendor(vendor) or listing.vendor(reading, vendor) is None:
        raise UnknownNameError(vendor, "vendor")
    return [_document(entry) for entry in signature.keys(reading, [vendor])]


@router.delete(
    "/vendors/{vendor}/keys/{key_id}",
    status_code=204,
    responses={**not_found("key"), **INVALID, **ADMINISTRATION},
)
def revoke_vendor_key(vendor: AnyVendor, key_id: KeyId, session: Administering) -> None:
    """Revoke a key of a vendor, for good. What was published before stays signed."""
    if not is_vendor(vendor) or not signature.revoke_key(session.writing, vendor, key_id):
        raise UnknownNameError(key_id, "key")


@router.get("/signatures/{digest}", response_model=Envelope, responses={**not_found("signature"), **INVALID})
def get_signature(digest: Digest, reading: Reading) -> Response:
    """Return a signed publication as a DSSE envelope. The content of a digest never changes."""
    document = signature.envelope_document(reading, digest) if is_digest(digest) else None
    if document is None:
        raise UnknownNameError(digest, "signature")
    return lasting_response(document, digest)


def _document(entry: signature.VendorKey) -> dict[str, Any]:
    return {
        "vendor": entry.vendor,
        "id": entry.key.id,
        "key": str(entry.key),
        "at": entry.at,
        "revoked_at": entry.revoked_at,
    }
