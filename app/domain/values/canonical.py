"""Canonical JSON and digests (DESIGN 2): equal content has one text and one digest."""

import json
import re
from hashlib import sha256

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical_json(document: object) -> str:
    """Return UTF-8 JSON with sorted keys, no spaces and exact integers."""
    return _encode(document)


def digest(canonical: str) -> str:
    """Return `sha256:<hex>` of a canonical JSON text."""
    return f"sha256:{sha256(canonical.encode()).hexdigest()}"


def is_digest(text: str) -> bool:
    """Return whether a text has the form of a digest."""
    return _DIGEST.fullmatch(text) is not None
