"""Canonical JSON and digests are those of the published test vectors, which other programs can check, too."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.domain.values.canonical import canonical_json, digest

_VECTORS = Path(__file__).parents[2] / "docs" / "pages" / "decisions" / "canonical-vectors.json"


@pytest.mark.parametrize("vector", json.loads(_VECTORS.read_text()), ids=lambda vector: vector["name"])
def test_a_vector_has_its_text_and_its_digest(vector: dict[str, Any]) -> None:
    canonical = canonical_json(vector["document"])
    assert canonical == vector["canonical"]
    assert digest(canonical) == vector["digest"]
