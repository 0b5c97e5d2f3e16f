"""Warnings of hosts that have not reported for a long time: what is registered may no longer be what they run."""

from collections.abc import Iterator

from app.domain.verdict.destination import Destination
from app.domain.verdict.problem import Caution, WarningCode

AT_DESTINATION = Caution(
    WarningCode.HOST_STALE,
    "This host has not reported for a long time, so it may run something else by now. Run profile-registry host report "
    "on it.",
)
AT_SOURCE = Caution(
    WarningCode.HOST_STALE,
    "The host that the VM runs on has not reported for a long time, so what was compared with may be out of date. Run "
    "profile-registry host report on it.",
)


def stale(source: Destination | None, *, is_stale: bool) -> Iterator[Caution]:
    """Iterate over the warnings of a device. source: the registered host that it runs on, None if it names none.

    is_stale: whether the destination has not reported for a long time.
    """
    if source is not None and source.is_stale:
        yield AT_SOURCE
    if is_stale:
        yield AT_DESTINATION
