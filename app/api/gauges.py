"""Gauges of the registry itself, the same whichever worker reports them: the schema, the feed, mirrors, hosts."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Lock

import sqlalchemy as sa
from anyio import move_on_after, to_thread
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app import VERSION
from app.api import observer
from app.storage import database, figures, version
from app.storage.failure import failure_of
from app.storage.host import Staleness

LOOK_SECONDS = 1.0
# A scrape waits this long for a database that does not answer. Prometheus waits for ten seconds by default.
_PATIENCE_SECONDS = 2.0
# Figures that are older are not reported: a gauge that is absent misleads nobody.
_KEPT_SECONDS = 10.0


class Gauges(Collector):
    """Reads figures from the database when they are scraped, at most once every LOOK_SECONDS in each worker."""

    def __init__(self, engine: sa.Engine, staleness: Staleness) -> None:
        self._engine = engine
        self._staleness = staleness
        self._looking = Lock()
        self._figures: figures.Figures | None = None
        self._looked = float("-inf")

    async def refresh(self) -> None:
        """Read the figures anew if they are old; a database that cannot be read is not waited for."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            with move_on_after(_PATIENCE_SECONDS):
                await to_thread.run_sync(self._look, abandon_on_cancel=True)

    def _look(self) -> None:
        # A look that hangs holds one thread, however often the metrics are scraped.
        if not self._looking.acquire(blocking=False):
            return
        try:
            with database.reading(self._engine) as connection:
                self._figures = figures.read(connection, self._staleness)
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            observer.log_failure(failure)
            self._figures = None
        finally:
            self._looked = time.monotonic()
            self._looking.release()

    def collect(self) -> Iterator[Metric]:
        """Iterate over the gauges; those that come from the database are left out while it cannot be read."""
        current = self._figures if time.monotonic() - self._looked < _KEPT_SECONDS else None
        build = {"version": VERSION, "schema": version.revisions()[0]}
        yield _gauge("build_info", "This version, and the revision of the schema that it was made for.", 1, build)
        yield _gauge("database_up", "Whether the database could be read for this report.", int(current is not None))
        if current is None:
            return
        of_database = {"schema": current.schema}
        yield _gauge("database_schema_info", "The revision of the schema of the database.", 1, of_database)
        yield _gauge("feed_seq", "The seq of the last change in the feed.", current.seq)
        yield _gauge("hosts", "Registered hosts.", current.hosts)
        yield _gauge("stale_hosts", "Hosts that have not reported for a long time.", current.stale_hosts)
        seqs = GaugeMetricFamily(
            _name("mirror_seq"), "The last change of a mirrored registry here.", None, ["registry"]
        )
        idle = GaugeMetricFamily(
            _name("mirror_idle_seconds"),
            "Seconds since the last change of a mirrored registry was added here.",
            None,
            ["registry"],
        )
        now = datetime.now(UTC)
        for mirror in current.mirrors:
            seqs.add_metric([mirror.registry], mirror.seq)
            # Another machine's clock can be ahead.
            idle.add_metric([mirror.registry], max(0.0, (now - datetime.fromisoformat(mirror.at)).total_seconds()))
        yield seqs
        yield idle


def _name(name: str) -> str:
    return f"profile_registry_{name}"


def _gauge(name: str, documentation: str, value: float, labels: dict[str, str] | None = None) -> Metric:
    family = GaugeMetricFamily(_name(name), documentation, None, list(labels or {}))
    family.add_metric(list((labels or {}).values()), value)
    return family
