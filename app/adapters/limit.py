"""A limit for all that a function does, whatever it waits for."""

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


class LateError(TimeoutError):
    """A function has not returned within its limit."""


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """Return what a function returns, and raise what it raises; raises LateError if it takes longer than its limit.

    It runs in a thread of its own, so that neither a name server that hangs nor an answer that comes a byte at a time
    makes the caller wait. A function that is late goes on until the process ends.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 (the caller raises it)
            errors.append(error)

    thread = Thread(target=run, name="device-profile question", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        message = f"no answer within {seconds:g} seconds"
        raise LateError(message)
    return results[0]
