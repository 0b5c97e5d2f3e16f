"""Work for a client that can go away: it ends then, whether it runs or waits."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from anyio import create_task_group
from fastapi import Request

from app.domain.values.budget import AbandonedError

Result = TypeVar("Result")


async def unless_gone(
    request: Request, work: Callable[[], Awaitable[Result]], abandon: Callable[[], None] = lambda: None
) -> Result:
    """Return the result of work, which is cancelled when the client of a request has gone; raises AbandonedError then.

    The body has to be read before. abandon: ends what a cancellation does not reach, such as a thread.
    """
    results: list[Result] = []
    failure: Exception | None = None
    has_ended = False

    async def watch() -> None:
        try:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()
        finally:
            # Also when the request is cancelled, but not when the work has ended: its budget can serve more work.
            if not has_ended:
                abandon()

    async with create_task_group() as tasks:
        tasks.start_soon(watch)
        try:
            results.append(await work())
        except Exception as error:  # noqa: BLE001 (raised below, for a task group would wrap it)
            failure = error
        has_ended = True
        tasks.cancel_scope.cancel()
    if failure is not None:
        try:
            raise failure
        finally:
            # Its traceback has this frame, and with it all that the work has loaded.
            del failure
    if not results:
        raise AbandonedError
    return results[0]
