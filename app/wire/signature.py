"""Keys, signatures and signed publications on the wire."""

from typing import Annotated

from pydantic import Field

from app.wire.base import OpenShape, Shape

_EXAMPLE_KEY = "vendor-a.com/2026+f42d6e6a+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
KeyText = Annotated[
    str,
    Field(
        max_length=1000,
        description="the public key as a line of text, `<name>+<id>+<base64>` (https://c2sp.org/signed-note, Ed25519)",
        examples=[_EXAMPLE_KEY],
    ),
]
KeyLabel = Annotated[str, Field(description="a key: `<name>+<id>`")]


class RegistryKey(OpenShape):
    """A key that the registry signs with."""

    id: str = Field(description="8 hexadecimal digits")
    key: KeyText


class RegistryKeys(OpenShape):
    """The keys that the registry signs its feed with."""

    registry: str = Field(description="the id of the registry")
    origin: str | None = Field(description="the name of its keys, the first line of its checkpoints; null: unsigned")
    keys: list[RegistryKey] = Field(description="all of them sign; empty: the registry is unsigned")


class VendorKeyDocument(Shape):
    """A key with which a vendor signs."""

    key: KeyText


class VendorKey(OpenShape):
    """A key of a vendor."""

    vendor: str = Field(description="the vendor")
    id: str = Field(description="8 hexadecimal digits")
    key: KeyText
    at: str = Field(description="when it was registered, in UTC (ISO 8601)")
    revoked_at: str | None = Field(
        description="when it was revoked, in UTC (ISO 8601): it verifies only what was published before; null: it is "
        "not revoked"
    )


class RegisteredKey(VendorKey):
    """The result of registering a key."""

    dry_run: bool = Field(description="true: this is what would happen, and nothing was stored")


class EnvelopeSignature(Shape):
    """A signature of an envelope."""

    keyid: KeyLabel
    sig: str = Field(description="the Ed25519 signature of the payload and its type (DSSE's PAE), in base64")


class EnvelopeDocument(Shape):
    """A signed publication: a DSSE envelope instead of the document."""

    payload_type: str = Field(
        alias="payloadType",
        description="`application/vnd.device-profile-registry.release+json` or the same with `profile`",
    )
    payload: str = Field(
        description='the canonical JSON of `{"name", "document"}` in base64; faults in it have pointers below /payload'
    )
    signatures: list[EnvelopeSignature] = Field(description="1 to 16 signatures, each with another key")


class Envelope(OpenShape):
    """A signed publication, with the signatures that were verified."""

    payload_type: str = Field(alias="payloadType", description="the kind of the payload")
    payload: str = Field(description='the canonical JSON of `{"name", "document"}` in base64')
    signatures: list[EnvelopeSignature] = Field(description="the signatures that were verified when it was published")


class Signature(OpenShape):
    """A signed publication of an entry."""

    digest: str = Field(description="the digest of the envelope: GET /signatures/{digest}")
    at: str = Field(description="when it was published and verified, in UTC (ISO 8601)")
    keys: list[KeyLabel] = Field(description="the keys that have signed it, valid at that time")
    models: list[str] = Field(description="the device models of the entry that the signatures cover")
