"""Values of variables: exact bools, 64-bit ints and strings, in JSON or as a command line writes them."""

import re
from enum import StrEnum
from typing import TypeAlias

Value: TypeAlias = bool | int | str

INT_MIN = -(2**63)
INT_MAX = 2**64 - 1
MAX_TEXT = 4096
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,19})|0x[0-9a-fA-F]{1,32}")
_BOOLS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


class InvalidValueError(ValueError):
    """Something that is no value of the type asked for; the message says why."""


class Type(StrEnum):
    """The type of a variable's values."""

    BOOL = "bool"
    INT = "int"
    STR = "str"

    @classmethod
    def of(cls, value: Value) -> "Type":
        """Return the type of a value as JSON gives it."""
        if isinstance(value, bool):
            return cls.BOOL
        return cls.INT if isinstance(value, int) else cls.STR

    def read(self, written: object) -> Value:
        """Return the value that is written in JSON or in the words of a command line; raises InvalidValueError.

        `on true yes` and `off false no` are bools, `4`, `0x10` and `-1` are ints; a float is never an int.
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
    message = "is no bool: true or false, or as a command line writes it: on off true false yes no"
    raise InvalidValueError(message)


def read_int(written: object) -> int:
    """Return an int of the whole signed and unsigned 64-bit range; raises InvalidValueError."""
    number: int | None = None
    if isinstance(written, int) and not isinstance(written, bool):
        number = written
    elif isinstance(written, str) and _INT.fullmatch(written):
        number = int(written, 0)
    if number is None:
        message = "is no int: 4, or as a command line writes it: 4, 0x10, -1"
        raise InvalidValueError(message)
    if not INT_MIN <= number <= INT_MAX:
        message = "is outside the 64-bit range, -2^63 to 2^64-1"
        raise InvalidValueError(message)
    return number


def _read_str(written: object) -> str:
    if not isinstance(written, str):
        message = "is no str"
        raise InvalidValueError(message)
    if len(written) > MAX_TEXT:
        message = f"is longer than {MAX_TEXT} characters"
        raise InvalidValueError(message)
    if "\0" in written:
        message = "has a NUL character, which no command line can carry"
        raise InvalidValueError(message)
    return written


def same(one: Value | None, other: Value | None) -> bool:
    """Return whether two values are equal and of one type: `true` is never 1."""
    return one == other and type(one) is type(other)


def shown(value: Value | None) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return '""' if value == "" else str(value)
