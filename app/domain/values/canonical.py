"""Canonical JSON and digests (DESIGN 2): equal content has one text and one digest."""

import json
from hashlib import sha256

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical_json(document: object) -> str:
    """Return UTF-8 JSON with sorted keys, no spaces and exact integers."""
    return _encode(document)


def digest(canonical: str) -> str:
    """Return `sha256:<hex>` of a canonical JSON text."""
    return f"sha256:{sha256(canonical.encode()).hexdigest()}"
