"""The policies of a question (DESIGN 5, step 8)."""

from enum import StrEnum


class Policy(StrEnum):
    """How a verdict treats profiles: `strict` wants the destination to list the device's profile."""

    STRICT = "strict"
    PERMISSIVE = "permissive"
