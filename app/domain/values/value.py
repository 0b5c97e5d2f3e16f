"""Values of variables (DESIGN 3): exact bools, 64-bit ints and strings, in JSON or in a command line's notation."""

import re
from enum import StrEnum
from typing import TypeAlias

from app.domain.values.document import MAX_QUOTED, must_be

Value: TypeAlias = bool | int | str

INT_MIN = -(2**63)
INT_MAX = 2**64 - 1
MAX_TEXT = 4096
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,19})|0x[0-9a-fA-F]{1,32}")
_BOOLS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


class InvalidValueError(ValueError):
    """A value that is not of the type; the message says what it must be."""


class Type(StrEnum):
    """The type of a variable's values."""

    BOOL = "bool"
    INT = "int"
    STR = "str"

    @classmethod
    def of(cls, value: Value) -> "Type":
        """Return the type of a JSON value."""
        if isinstance(value, bool):
            return cls.BOOL
        return cls.INT if isinstance(value, int) else cls.STR

    def read(self, written: object) -> Value:
        """Return the value of a JSON value or of a string in a command line's notation; raises InvalidValueError.

        `on true yes` and `off false no` are bools; `4`, `0x10` and `-1` are ints. A float is never an int.
        """
        if self is Type.BOOL:
            return _read_bool(written)
        if self is Type.INT:
            return read_int(written)
        return _read_str(written)


def _read_bool(written: object) -> bool:
    if isinstance(written, bool):
        return written
    if isinstance(written, str) and written in _BOOLS:
        return _BOOLS[written]
    raise InvalidValueError(_must_be("true or false (on a command line also on, off, yes or no)", written))


def read_int(written: object) -> int:
    """Return an int of the whole signed and unsigned 64-bit range; raises InvalidValueError."""
    number: int | None = None
    if isinstance(written, int) and not isinstance(written, bool):
        number = written
    elif isinstance(written, str) and _INT.fullmatch(written):
        number = int(written, 0)
    if number is None:
        raise InvalidValueError(_must_be("an integer, such as 4, 0x10 or -1", written))
    if not INT_MIN <= number <= INT_MAX:
        message = f"must be in the 64-bit range, -2^63 to 2^64-1, not {str(number)[:MAX_QUOTED]}"
        raise InvalidValueError(message)
    return number


def _read_str(written: object) -> str:
    if not isinstance(written, str):
        raise InvalidValueError(must_be("a string", written))
    if len(written) > MAX_TEXT:
        message = f"must have at most {MAX_TEXT:,} characters, not {len(written):,}"
        raise InvalidValueError(message)
    if "\0" in written:
        message = "must not have a NUL character, which no command line can carry"
        raise InvalidValueError(message)
    return written


def _must_be(wanted: str, written: object) -> str:
    """Return the message for a value that is not what is wanted: it quotes a string, and names the type of the rest."""
    if isinstance(written, str):
        return f'must be {wanted}, not "{written[:MAX_QUOTED]}"'
    return must_be(wanted, written)


def same(one: Value | None, other: Value | None) -> bool:
    """Return whether two values are equal and of one type: `true` is never 1."""
    return one == other and type(one) is type(other)


def shown(value: Value | None) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return '""' if value == "" else str(value)
