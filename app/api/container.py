"""What all requests share: settings, databases, the catalog, tokens, and the limits of waiting."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import sqlalchemy as sa
from anyio import CapacityLimiter, Lock, to_thread
from fastapi import Request

from app.api import metrics
from app.api.client import Client
from app.api.gauges import Gauges
from app.api.issuer import Issuers
from app.api.share import Shares
from app.api.stopping import Stopping
from app.api.urgency import Urgency
from app.settings import Settings
from app.storage import change, database, readiness
from app.storage.catalog import Catalog
from app.storage.database import Limits, Position, create_engine
from app.storage.failure import Failure
from app.storage.host import Staleness
from app.storage.look import Look
from app.storage.replica import Databases
from app.storage.token import Tokens

# Requests that wait for their turn to write take none of the threads that answer.
_MAX_WAITING = 200
_MAX_ASKING_SHORTLY = 8
# What must never wait for a page has threads of its own.
_MAX_CHECKING = 8
_MAX_ENDING = 8
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Container:
    """The parts of the running service; each application has one."""

    settings: Settings
    databases: Databases
    catalog: Catalog
    tokens: Tokens

    @classmethod
    def of(cls, settings: Settings) -> "Container":
        """Return the parts that settings ask for; raises ValueError for a database URL that is invalid."""
        databases = _databases(settings)
        catalog = Catalog(databases, settings.memory_megabytes, _staleness(settings), settings.database_away_seconds)
        return cls(settings, databases, catalog, Tokens(databases.primary))

    @property
    def staleness(self) -> Staleness:
        """When a host that does not report counts as stale."""
        return _staleness(self.settings)

    @property
    def primary(self) -> sa.Engine:
        """The database that is written."""
        return self.databases.primary

    # These belong to the event loop that runs, so they are made with the first request.

    @cached_property
    def shares(self) -> Shares:
        """How much of the service each client uses."""
        return Shares(self.settings)

    @cached_property
    def stopping(self) -> Stopping:
        """Whether the process is about to end, and the requests that it has to end before."""
        return Stopping()

    @cached_property
    def readiness(self) -> Look[Failure | None]:
        """Looks whether the database can be read, and why it cannot be written."""
        return Look(partial(readiness.check, self.primary))

    @cached_property
    def asking(self) -> CapacityLimiter:
        """The threads in which long questions are answered."""
        return CapacityLimiter(self.settings.questions_at_once)

    @cached_property
    def asking_shortly(self) -> CapacityLimiter:
        """The threads in which short questions wait for the database."""
        return CapacityLimiter(_MAX_ASKING_SHORTLY)

    @cached_property
    def checking(self) -> CapacityLimiter:
        """The threads in which tokens are looked up and readiness is checked."""
        return CapacityLimiter(_MAX_CHECKING)

    @cached_property
    def documenting(self) -> CapacityLimiter:
        """The thread in which the OpenAPI document is generated: of many that ask for it, the first waits for it."""
        return CapacityLimiter(1)

    @cached_property
    def ending(self) -> CapacityLimiter:
        """The threads in which transactions end."""
        return CapacityLimiter(_MAX_ENDING)

    @cached_property
    def urgency(self) -> Urgency:
        """What long work of clients without a token gives way to."""
        return Urgency()

    def give_way(self, client: Client) -> Callable[[], None] | None:
        """Return what the work of a client calls now and then, None if it does not have to give way."""
        return None if client.has_token else self.urgency.give_way

    @cached_property
    def waiting_to_write(self) -> CapacityLimiter:
        """The threads in which requests wait for their turn to write."""
        return CapacityLimiter(_MAX_WAITING)

    @cached_property
    def head(self) -> "Head":
        """The end of the feed, for all requests that wait for it."""
        return Head(self.primary)

    @cached_property
    def gauges(self) -> Gauges:
        """The gauges of the registry itself."""
        return Gauges(self.primary, self.staleness)

    def measure(self) -> None:
        """Set the gauges of this worker."""
        for name, pool in self.databases.pools():
            metrics.set_pool(name, pool.size(), pool.checkedout())
        metrics.set_away(self.catalog.away_for())
        metrics.set_long_requests(self.shares.questions, self.shares.streams)

    @cached_property
    def issuers(self) -> Issuers:
        """The keys of the issuers of OIDC tokens."""
        return Issuers()

    @property
    def reads_need_token(self) -> bool:
        """Whether the operator has closed reading to the public."""
        return self.settings.read == "token"

    @property
    def answers_differ(self) -> bool:
        """Whether a client with a token can read more than one without."""
        return "token" in {self.settings.read, self.settings.read_drafts, self.settings.read_hosts}


class Head:
    """The end of the feed: one look every LOOK_SECONDS serves all requests that wait for it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._position: Position | None = None
        self._looked = float("-inf")

    async def is_other_than(self, position: Position, read_at: float) -> bool:
        """Return whether the feed has gone on since a position, or was set back; at most LOOK_SECONDS late.

        read_at: when the position was read, by the monotonic clock.
        """
        async with self._lock:
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                looked = time.monotonic()
                self._position = await to_thread.run_sync(self._look)
                self._looked = looked
        # What was seen before the position was read says nothing about it.
        return self._looked > read_at and self._position != position

    def _look(self) -> Position:
        with database.reading(self._engine) as connection:
            return change.position(connection)


def _staleness(settings: Settings) -> Staleness:
    return Staleness(settings.host_stale_hours)


def container(request: Request) -> Container:
    """Return what the requests of an application share."""
    shared: Container = request.app.state.container
    return shared


def _databases(settings: Settings) -> Databases:
    limits = Limits(settings.database_lock_seconds, settings.database_statement_seconds, settings.database_idle_seconds)
    primary, *replica = [
        create_engine(url, pool_size=settings.database_pool_size, prepares=settings.database_prepares, limits=limits)
        for url in (settings.database_url, settings.database_replica_url)
        if url is not None
    ]
    return Databases(primary, *replica)
