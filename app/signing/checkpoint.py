"""Checkpoints: the signed head of a feed (https://c2sp.org/tlog-checkpoint), and whether a feed leads to it.

The tree size is the seq of the last change. The root hash is its link, which vouches for all changes before it.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from app.signing.key import PrivateKey, PublicKey

MAX_NOTE = 64 * 1024
_MAX_SIGNATURES = 100
_ID_BYTES = 4
_SHA256 = "sha256:"
_SEQ = re.compile(r"0|[1-9][0-9]{0,9}")
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<content>[A-Za-z0-9+/]+={0,2})")
# The same as in the domain, which the client has to do without; a test compares them.
LINKED = ("seq", "part_of", "at", "by", "kind", "name", "digest", "detail", "document_digest")


class UntrustedError(ValueError):
    """A feed or its head that does not verify against the trusted keys; the message says why."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a feed: origin is the name of the keys that sign it, seq that of the last change, root its link.

    In an empty feed seq is 0, and the root is the hash of the id of the registry.
    """

    origin: str
    seq: int
    root: bytes

    @classmethod
    def of(cls, origin: str, seq: int, link: str) -> "Checkpoint":
        """Return the checkpoint of a feed's head."""
        return cls(origin, seq, root_of(link))

    @property
    def link(self) -> str:
        """The link of the last change, if there is one."""
        return f"{_SHA256}{self.root.hex()}"

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.seq}\n{base64.b64encode(self.root).decode()}\n"

    def signed(self, keys: Iterable[PrivateKey]) -> str:
        """Return the checkpoint as a note that all keys have signed."""
        return f"{self.text}\n{''.join(_signature_line(key, self.text) for key in keys)}"


def root_of(link: str) -> bytes:
    """Return the root hash for a link; for the id of a registry, which has no digest, the hash of the id itself."""
    return bytes.fromhex(link.removeprefix(_SHA256)) if link.startswith(_SHA256) else sha256(link.encode()).digest()


def _signature_line(key: PrivateKey, text: str) -> str:
    content = bytes.fromhex(key.public.id) + key.sign(text.encode())
    return f"— {key.name} {base64.b64encode(content).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint with its signatures, none of them verified: (name and id of the key, signature).

    text: what is signed; it can have more lines than the checkpoint, which say nothing here.
    """

    checkpoint: Checkpoint
    text: str
    signatures: Sequence[tuple[str, bytes]]

    @classmethod
    def read(cls, text: str) -> "Note":
        """Read a note; raises UntrustedError if it is not a signed checkpoint."""
        body, separator, lines = text.rpartition("\n\n")
        parts = body.split("\n")
        is_note = separator and len(text) <= MAX_NOTE and lines.endswith("\n") and all(parts)
        if not is_note or len(parts) < 3 or not _SEQ.fullmatch(parts[1]):  # noqa: PLR2004 (origin, size, root)
            raise UntrustedError(_MALFORMED)
        signatures = [_read_signature(line) for line in lines.removesuffix("\n").split("\n")]
        root = _decoded(parts[2])
        if len(signatures) > _MAX_SIGNATURES or root is None or len(root) != sha256().digest_size:
            raise UntrustedError(_MALFORMED)
        return cls(Checkpoint(parts[0], int(parts[1]), root), f"{body}\n", signatures)

    @property
    def signers(self) -> str:
        """The keys that signed it, as it says itself, for messages."""
        return ", ".join(label for label, _ in self.signatures[:4])

    def verified(self, trusted: Iterable[PublicKey]) -> Checkpoint:
        """Return the checkpoint if a trusted key has signed it; raises UntrustedError.

        Signatures of other keys are ignored. One of a trusted key that does not verify refuses the whole note.
        """
        keys = {key.label: key for key in trusted}
        known = [(keys[label], signature) for label, signature in self.signatures if label in keys]
        if not known:
            message = f"it is signed by {self.signers}, not by a trusted key ({', '.join(sorted(keys))})"
            raise UntrustedError(message)
        for key, signature in known:
            if not key.has_signed(self.text.encode(), signature):
                message = f"the signature of {key.label} does not match the head of the feed: one of them was altered"
                raise UntrustedError(message)
        origin = self.checkpoint.origin
        if all(key.name != origin for key, _ in known):
            message = f"its origin is {origin}, but the trusted keys sign for {known[0][0].name}"
            raise UntrustedError(message)
        return self.checkpoint


_MALFORMED = "its signature is not a signed checkpoint (https://c2sp.org/tlog-checkpoint)"


def _read_signature(line: str) -> tuple[str, bytes]:
    match = _SIGNATURE.fullmatch(line)
    content = _decoded(match["content"]) if match else None
    if match is None or content is None or len(content) <= _ID_BYTES:
        raise UntrustedError(_MALFORMED)
    return f"{match['name']}+{content[:_ID_BYTES].hex()}", content[_ID_BYTES:]


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def link_after(link: str, entry: Mapping[str, Any]) -> str:
    """Return the link of a change, given the link before it."""
    fields = {"before": link, **{field: entry.get(field) for field in LINKED}}
    canonical = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{_SHA256}{sha256(canonical.encode()).hexdigest()}"


def check_history(seq: int, link: str, entries: Iterable[Mapping[str, Any]], checkpoint: Checkpoint) -> None:
    """Check that the entries of a feed after seq lead from its link to a checkpoint; raises UntrustedError.

    Nothing of a feed counts before this: a feed that was altered and linked anew never leads to the signed head.
    """
    if seq > checkpoint.seq:
        message = f"its signed head, change {checkpoint.seq}, is older than change {seq}, which was seen before"
        raise UntrustedError(message)
    for entry in entries:
        if seq == checkpoint.seq:
            break
        try:
            following = link_after(link, entry)
        except (ValueError, TypeError, RecursionError):
            following = ""
        if entry.get("seq") != seq + 1 or entry.get("link") != following:
            message = f"change {seq + 1} does not follow from change {seq}: it was altered, exchanged or left out"
            raise UntrustedError(message)
        seq, link = seq + 1, following
    if seq != checkpoint.seq or root_of(link) != checkpoint.root:
        message = (
            f"its changes do not lead to its signed head, change {checkpoint.seq}: the feed was altered, "
            f"or the registry was restored from a backup and has changed since"
        )
        raise UntrustedError(message)
