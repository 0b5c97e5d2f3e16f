"""Urgent work: publications, and short questions of clients with a token. Long work of others gives way to it.

Python runs one thread at a time. A publication runs many statements, and after each one it waits until the threads that
compute let it go on; so those of clients without a token sleep most of the time while something urgent goes on.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

_PAUSE_SECONDS = 0.005


class Urgency:
    """What is urgent in one worker process; counted on its event loop."""

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def urgent(self, *, is_urgent: bool = True) -> Iterator[None]:
        """Count work as urgent, if it is."""
        self._count += is_urgent
        try:
            yield
        finally:
            self._count -= is_urgent

    def give_way(self) -> None:
        """Sleep a little if something urgent goes on; called in a thread, every millisecond or so."""
        if self._count:
            time.sleep(_PAUSE_SECONDS)
