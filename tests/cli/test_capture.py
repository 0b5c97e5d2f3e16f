"""Captures from elsewhere are read up to stated limits."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.qemu.capture import Capture, CaptureError

CAPTURE: dict[str, Any] = {
    "version": {"major": 1, "minor": 2, "micro": 3},
    "machines": [],
    "types": [{"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}],
    "device-list-properties": {"a": []},
}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (gzip.compress(b" " * 70 * 1024 * 1024, 1), "unpacks to more than 64 MiB"),
        (gzip.compress(b"[" * 100_000, 1), "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (gzip.compress(b"{}" * 1000)[:-9], "cannot be read as a capture"),
        (gzip.compress(b"{}")[:12] + b"\xff" * 20, "cannot be read as a capture"),
        (b"\xff\xfe\x00", "cannot be read as a capture"),
    ],
    ids=["a bomb", "a deep bomb", "deep", "cut", "garbage", "not text"],
)
def test_a_capture_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "capture.json.gz"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=why) as refused:
        Capture.load(path)
    assert "\n" not in str(refused.value)


def test_types_that_are_their_own_ancestors_end(tmp_path: Path) -> None:
    path = tmp_path / "capture.json"
    path.write_text(json.dumps(CAPTURE), encoding="utf-8")
    assert list(Capture.load(path).lineage("a")) == ["a", "b"]
