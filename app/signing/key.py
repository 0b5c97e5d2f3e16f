"""Named Ed25519 keys, in the text form of signed notes (https://c2sp.org/signed-note)."""

import base64
import binascii
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_KEY_NAME = 255
# Ed25519 keys and seeds have the same size.
_KEY_BYTES = 32
_ID_DIGITS = 8
# The type of the signature, in the forms of keys and in what an id is made of.
_ED25519 = b"\x01"
_PRIVATE = "PRIVATE+KEY+"
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})


class InvalidKeyError(ValueError):
    """A text that is not a key; the message says why, and never contains the text."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key and the name of its holder; as text `<name>+<id>+<base64>`."""

    name: str
    raw: bytes

    @classmethod
    def read(cls, text: str) -> "PublicKey":
        """Read a key from its text; raises InvalidKeyError."""
        if text.startswith(_PRIVATE):
            message = "must be a public key, but is a private one; keep that secret (profile-registry key show FILE)"
            raise InvalidKeyError(message)
        return cls(*_read(text, "<name>+<id>+<base64>"))

    @property
    def id(self) -> str:
        """The id: 8 hexadecimal digits of a digest of the name and the key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).hexdigest()[:_ID_DIGITS]

    @property
    def label(self) -> str:
        """The name with the id, which signatures carry to say which key made them."""
        return f"{self.name}+{self.id}"

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Return whether a signature of a message was made with this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def __str__(self) -> str:
        return f"{self.label}+{base64.b64encode(_ED25519 + self.raw).decode()}"


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """A private key; as text `PRIVATE+KEY+<name>+<id>+<base64>`. It is not shown in tracebacks and logs."""

    name: str
    seed: bytes

    @classmethod
    def create(cls, name: str) -> "PrivateKey":
        """Return a new key; raises InvalidKeyError for a name that a key cannot have."""
        _check_name(name)
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def read(cls, text: str) -> "PrivateKey":
        """Read a key from its text; raises InvalidKeyError."""
        form = f"{_PRIVATE}<name>+<id>+<base64>"
        if not text.startswith(_PRIVATE):
            message = f"must be a private key, {form} (profile-registry key create makes one)"
            raise InvalidKeyError(message)
        return cls(*_read(text.removeprefix(_PRIVATE), form, is_private=True))

    @property
    def public(self) -> PublicKey:
        """The public key that verifies what this key signs."""
        return PublicKey(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message; the same message always has the same signature."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)

    def text(self) -> str:
        """Return the key as text, a secret."""
        return f"{_PRIVATE}{self.public.label}+{base64.b64encode(_ED25519 + self.seed).decode()}"


def _read(text: str, form: str, *, is_private: bool = False) -> tuple[str, bytes]:
    """Return the name and the bytes of a key."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != len(_ED25519) + _KEY_BYTES or not content.startswith(_ED25519):
        message = f"must be an Ed25519 key: {form}"
        raise InvalidKeyError(message)
    _check_name(name)
    raw = content.removeprefix(_ED25519)
    public = PrivateKey(name, raw).public if is_private else PublicKey(name, raw)
    if public.id != key_id:
        message = "must be a whole key, but its id does not match its name and content: a part is missing or altered"
        raise InvalidKeyError(message)
    return name, raw


def _check_name(name: str) -> None:
    is_name = 1 <= len(name) <= MAX_KEY_NAME and "+" not in name
    if not is_name or any(unicodedata.category(character) in _INVISIBLE for character in name):
        message = (
            f"a key's name must have 1 to {MAX_KEY_NAME} characters, without +, white space and control characters"
        )
        raise InvalidKeyError(message)


def read_private_keys(text: str) -> Sequence[PrivateKey]:
    """Read private keys that white space separates; raises InvalidKeyError unless all have one name."""
    keys = [PrivateKey.read(part) for part in text.split()]
    if not keys:
        message = "must contain a private key (profile-registry key create makes one)"
        raise InvalidKeyError(message)
    if len({key.name for key in keys}) > 1:
        message = f"must contain keys of one name, not of {', '.join(sorted({key.name for key in keys}))}"
        raise InvalidKeyError(message)
    return keys
