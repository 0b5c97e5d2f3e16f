"""JSON documents, as the commands read and write them."""

import sys
from pathlib import Path
from typing import Any

import orjson

STANDARD_INPUT = "-"


def read(file: str) -> bytes:
    """Return the content of a file, or of standard input; raises OSError."""
    return sys.stdin.buffer.read() if file == STANDARD_INPUT else Path(file).read_bytes()


def parsed(text: bytes | str) -> Any:
    """Return a document; raises json.JSONDecodeError, a ValueError."""
    return orjson.loads(text)


def line(document: object) -> str:
    """Return a document as JSON on one line."""
    return orjson.dumps(document).decode()


def indented(document: object) -> str:
    """Return a document as JSON with indented lines."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
