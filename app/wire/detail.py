"""How much an answer contains (DESIGN 6)."""

from enum import StrEnum


class Detail(StrEnum):
    """How much an answer contains."""

    VERDICT = "verdict"
    PROBLEMS = "problems"
    FULL = "full"
    SUMMARY = "summary"
