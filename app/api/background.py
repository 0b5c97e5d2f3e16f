"""What the service does beside answering."""

import gc
from contextlib import suppress

import sqlalchemy as sa
from anyio import CancelScope, sleep, to_thread

from app.api.metrics import count_content_reads
from app.storage.catalog import Catalog
from app.storage.token import Tokens

_NOTING_SECONDS = 1
_SETTLING_SECONDS = 5
_RESTING_SECONDS = 60


async def keep_noting_uses(tokens: Tokens) -> None:
    """Write down every second when tokens were last used; what cannot be written down now is no reason to fail."""
    try:
        while True:
            await sleep(_NOTING_SECONDS)
            with suppress(sa.exc.SQLAlchemyError):
                await to_thread.run_sync(tokens.note_uses)
    finally:
        with CancelScope(shield=True), suppress(sa.exc.SQLAlchemyError):
            await to_thread.run_sync(tokens.note_uses)


async def keep_settling(catalog: Catalog) -> None:
    """Take what lives long out of the garbage collector's sight, whenever the catalog has read more.

    Most of the memory is what the catalog keeps, which holds no cycles; looking through it takes tens of milliseconds,
    again and again, in the middle of answers. It is done when nothing more is read, at the latest after a minute. All
    that lives at the moment is taken out, and what of it has died in cycles is found the next time.
    """
    settled = seen = 0
    rested = 0.0
    while True:
        await sleep(_SETTLING_SECONDS)
        rested += _SETTLING_SECONDS
        read, is_quiet = catalog.read_count, catalog.read_count == seen
        if read != settled and (is_quiet or rested >= _RESTING_SECONDS):
            settled, rested = read, 0.0
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        count_content_reads(read - seen)
        seen = read
