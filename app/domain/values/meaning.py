"""The meaning of a code: tables of them are the source of the help pages and of the documentation."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code means. cure: what helps. example: a message with this code."""

    sentence: str
    cure: str
    example: str
