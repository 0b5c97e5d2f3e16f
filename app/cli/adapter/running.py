"""Adapters that run until they are stopped: their log, and the signals that end them."""

import logging
import signal
import sys
from threading import Event
from types import FrameType


def log_to_standard_error() -> None:
    """Write what adapters log to standard error, one line each; what their libraries log is left out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("app")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def until_signal(*others: Event) -> Event:
    """Return an event that SIGTERM and SIGINT set, and then set the others, which end waits."""
    stop = Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        for event in (stop, *others):
            event.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return stop
