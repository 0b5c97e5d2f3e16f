"""What the service does beside answering."""

import gc
from contextlib import suppress

import sqlalchemy as sa
from anyio import CancelScope, sleep, to_thread

from app.storage.catalog import Catalog
from app.storage.token import Tokens

_NOTING_SECONDS = 1
_SETTLING_SECONDS = 5


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
    """Take what the catalog has read out of the garbage collector's sight.

    It holds no cycles, goes when it is forgotten, and is most of the memory: looking through it takes tens of
    milliseconds, again and again, in the middle of answers.
    """
    settled = -1
    while True:
        if catalog.read_count != settled:
            settled = catalog.read_count
            gc.collect(1)
            gc.freeze()
        await sleep(_SETTLING_SECONDS)
