"""Tasks that run while the service answers."""

import gc

from anyio import CancelScope, sleep, to_thread

from app.api import observer
from app.api.container import Container
from app.api.metrics import count_content_reads
from app.storage.catalog import Catalog
from app.storage.failure import failure_of
from app.storage.token import Tokens

_NOTING_SECONDS = 1
_MEASURING_SECONDS = 1
_CHECK_SECONDS = 5
_MAX_WAIT_SECONDS = 60


async def keep_noting_uses(tokens: Tokens) -> None:
    """Store every second when tokens were last used; a failure of the database is logged, and otherwise ignored."""
    try:
        while True:
            await sleep(_NOTING_SECONDS)
            await _note_uses(tokens)
    finally:
        with CancelScope(shield=True):
            await _note_uses(tokens)


async def _note_uses(tokens: Tokens) -> None:
    try:
        await to_thread.run_sync(tokens.note_uses)
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        observer.log_failure(failure)


async def keep_measuring(shared: Container) -> None:
    """Set the gauges of this worker every second, because any other worker can be the one that reports them."""
    while True:
        shared.measure()
        await sleep(_MEASURING_SECONDS)


async def keep_freezing(catalog: Catalog) -> None:
    """Freeze long-lived objects once loading has stopped, so that the garbage collector does not visit them.

    Most of the memory belongs to the catalog, which has no reference cycles; visiting it takes tens of milliseconds in
    the middle of answers. Objects are frozen when no more content is loaded, at the latest after a minute. Frozen
    objects that have died in cycles are collected the next time.
    """
    frozen_at = seen = 0
    elapsed = 0.0
    while True:
        await sleep(_CHECK_SECONDS)
        elapsed += _CHECK_SECONDS
        count = catalog.read_count
        if count != frozen_at and (count == seen or elapsed >= _MAX_WAIT_SECONDS):
            frozen_at, elapsed = count, 0.0
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        count_content_reads(count - seen)
        seen = count
