"""How much the long tests do: a part of it by default, all of it with LONG=1 (`make test-long`)."""

import os

IS_LONG = os.environ.get("LONG") == "1"


def full(count: int, *, short: int) -> int:
    """Return a count of a long test, which is marked `long`: short by default, the whole count with LONG=1."""
    return count if IS_LONG else short
