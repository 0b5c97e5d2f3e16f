"""The catalog: the registry in memory. It follows the feed, and gives each question a reader of one revision."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, TypeVar

import sqlalchemy as sa

from app.domain.engine.memo import Memo
from app.domain.fleet.kind import read_kind
from app.domain.publishing.change import ChangeKind
from app.domain.things.profile import Values
from app.domain.things.snapshot import Snapshot
from app.domain.things.variable_set import VariableSet
from app.domain.values import budget
from app.domain.verdict.destination import Destination
from app.storage import change, database, lookup, schema
from app.storage.content import ColdError, Contents
from app.storage.database import Position
from app.storage.failure import AWAY, failure_of
from app.storage.fleet import count_stale
from app.storage.host import Staleness, are_filed, file_hosts
from app.storage.look import Look
from app.storage.memory import Memory
from app.storage.reader import FleetAccess, Key, Names, OutdatedError, Reader, UnfiledError
from app.storage.replica import Databases, ReplicaLostError

MEGABYTES = 128

# Parsed content takes about this many times the memory of its JSON (measured).
_TO_JSON = 8
# What the engine remembers takes about this many bytes for each variable (measured).
_MEMO_BYTES = 250
# The remembered snapshots take this many bytes; their content is in memory anyway.
_SNAPSHOTS = 4 * 1024 * 1024
# A short question soon fits between two publications. A long one would not, and would be asked in vain.
_TRIES = 3
# How many hosts are stale is counted again after this time, and after this many times the time that counting takes.
_STALE_SECONDS = 1.0
_STALE_TIMES = 20
_NEVER_STALE = Staleness(0)
# The database counts as away for this time after a look that failed; then the next question waits for a look.
_AWAY_SECONDS = 2.0
_FEW_STEPS = 20_000
# Beyond this many changes, rebuild instead of following them one by one.
_MAX_FOLLOWED = 500
_OF_RELEASES = frozenset(
    {
        ChangeKind.RELEASE_PUBLISHED,
        ChangeKind.RELEASE_EXTENDED,
        ChangeKind.RELEASE_STATE_CHANGED,
        ChangeKind.ERRATUM_PUBLISHED,
        ChangeKind.ERRATUM_WITHDRAWN,
    }
)
_OF_PROFILES = frozenset({ChangeKind.PROFILE_PUBLISHED, ChangeKind.PROFILE_EXTENDED, ChangeKind.PROFILE_STATE_CHANGED})

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Sight:
    """When the database was last seen: by the monotonic clock, and as answers say it.

    written: how often this process had written before.
    """

    began: float
    at: str
    written: int


class Catalog:
    """The registry as it stands, from memory where possible."""

    def __init__(
        self,
        databases: Databases,
        megabytes: int = MEGABYTES,
        staleness: Staleness = _NEVER_STALE,
        away_seconds: float = 0,
    ) -> None:
        """megabytes: the approximate size of what is kept in memory.

        away_seconds: how long questions are answered from memory while the database is away.
        """
        self._away_seconds = away_seconds
        self._away_noted = float("-inf")
        self._sight = _Sight(float("-inf"), "", 0)
        self._written = 0
        self._look = Look(self._renew)
        self._staleness = staleness
        self._stale = (0, "")
        self._stale_until = float("-inf")
        self._databases = databases
        capacity = megabytes * 1024 * 1024
        sets: Memory[str, VariableSet] = Memory(capacity // 2 // _TO_JSON)
        values: Memory[str, Values] = Memory(capacity // 8 // _TO_JSON)
        self._sets = Contents[VariableSet](databases, schema.variable_set, lookup.stored_set, sets)
        self._values = Contents[Values](databases, schema.profile_values, json.loads, values)
        self._kinds = Contents[Destination](
            databases, schema.host_kind, read_kind, Memory[str, Destination](capacity // 16 // _TO_JSON)
        )
        self._named_capacity = capacity // 8
        self._selections_capacity = capacity // 16
        self._memo_capacity = capacity // 4 // _MEMO_BYTES
        self._memo = Memo(self._memo_capacity)
        self._pushed_out: dict[Contents[Any], int] = {self._sets: 0, self._values: 0}
        self._lock = Lock()
        self._holding = Lock()
        self._checked = float("-inf")
        self._outdated = 0
        # How often this process had outdated the view when the last look began.
        self._looked = 0
        self._view: View | None = None

    @property
    def read_count(self) -> int:
        """How many pieces of content were read so far."""
        return self._sets.read_count + self._values.read_count

    def view(self) -> "View":
        """Return the registry as it stands, at most FRESH_SECONDS old."""
        outdated = self._outdated
        with self._lock:
            if self._view is None or not self._is_fresh:
                self._wait_for_look()
                if self._looked < outdated:
                    # That look began before this process added something.
                    self._wait_for_look()
            assert self._view is not None  # noqa: S101 (a look sets it)
            return self._view

    @property
    def _is_fresh(self) -> bool:
        return time.monotonic() - self._checked <= database.FRESH_SECONDS

    def _wait_for_look(self) -> None:
        try:
            self._look.wait()
        except Exception as error:
            self.note(error)
            raise

    def _renew(self) -> None:
        """Bring the view up to date."""
        now, outdated = time.monotonic(), self._outdated
        sight = _Sight(now, database.now(), self._written)
        try:
            with database.reading(self._databases.primary, quickly=True) as connection:
                view = self._renewed(connection, self._view, now)
                # Reports that change nothing are not in the feed.
                if view is not self._view or now > self._stale_until:
                    view = self._with_stale(view, connection)
                # A report to the version before is not in the feed, either.
                if view.are_filed is not (is_filed := are_filed(connection)):
                    view = replace(view, are_filed=is_filed)
            self._view = view
        except Exception as error:
            self.note(error)
            raise
        # If this process has added something in the meantime, the next question checks again.
        self._checked = now if outdated == self._outdated else float("-inf")
        self._looked = outdated
        self._sight, self._away_noted = sight, float("-inf")

    def note(self, error: BaseException) -> None:
        """Note what an error says about whether the database is away."""
        failure = failure_of(error)
        if failure is not None and failure.cause in AWAY:
            self._away_noted = time.monotonic()

    @property
    def _is_away(self) -> bool:
        """Whether the database was away a moment ago."""
        if self._away_noted == float("-inf"):
            return False
        return time.monotonic() - self._away_noted <= _AWAY_SECONDS or self._look.is_running

    def _look_again(self) -> None:
        """Begin a look, unless one goes on or has just failed."""
        if time.monotonic() - self._away_noted > database.FRESH_SECONDS:
            self._look.begin()

    def check_away(self) -> None:
        """Look at a database that was away a moment ago; raises its failure, at once while an earlier look hangs."""
        if self._is_away:
            self._wait_for_look()

    def as_of(self) -> str | None:
        """Return when the database was last seen, if it is away and memory can still answer, else None; look again.

        Memory cannot answer if this process has written since: then it is known to be old.
        """
        sight = self._sight
        if not self._is_away:
            return None
        self._look_again()
        is_kept = time.monotonic() - sight.began <= self._away_seconds and sight.written == self._written
        return sight.at if is_kept else None

    def away_for(self) -> float:
        """Return for how many seconds the database has not been seen, 0 unless it is away; if so, look again."""
        if not self._is_away or self._view is None:
            return 0.0
        self._look_again()
        return time.monotonic() - self._sight.began

    def _renewed(self, connection: sa.Connection, view: "View | None", began: float) -> "View":
        """Return the current view: the given one without what has changed since; began: when the look began."""
        revision, position = database.revision(connection), change.position(connection)
        self._databases.note(position, began)
        if view is None:
            return self._empty(revision, position)
        if (view.revision, view.position) == (revision, position):
            return view
        if not change.has(connection, view.position):
            # The registry was set back: to a backup, or to a standby that lagged behind (DESIGN 8).
            return self._empty(revision, position)
        news = News.since(connection, view.position.seq, position.seq)
        if news is None or (not news.explains_revision and revision != view.revision):
            return self._empty(revision, position)
        return view.after(news, revision, position)

    def _with_stale(self, view: "View", connection: sa.Connection) -> "View":
        """Count the stale hosts; return the view, without its selections if the number has changed."""
        began = time.monotonic()
        stale = count_stale(connection, self._staleness)
        now = time.monotonic()
        self._stale_until = now + max(_STALE_SECONDS, _STALE_TIMES * (now - began))
        if stale == self._stale:
            return view
        self._stale = stale
        return replace(view, selections=Memory(self._selections_capacity))

    def _empty(self, revision: int, position: Position) -> "View":
        """Return a view in which no name has been looked up."""
        named: Memory[Key, Any] = Memory(self._named_capacity)
        return View(revision, position, named, Memory(_SNAPSHOTS), Memory(self._selections_capacity))

    def reader(
        self, view: "View", *, can_wait: bool = True, held: sa.Connection | None = None, as_of: str | None = None
    ) -> Reader:
        """Return what loads for one question. can_wait: False: from memory alone, in no time. held: the connection.

        as_of: from memory alone, as the registry was then.
        """
        reads = can_wait and as_of is None
        self._forget_pushed_out(view)
        return Reader(
            view.position,
            view.named,
            view.snapshots,
            self._sets,
            self._values,
            self._kinds,
            self._memo,
            self._connection(view.is_at, held) if reads else None,
            FleetAccess(
                self._staleness,
                view.selections,
                view.are_filed,
                self._connection(view.has_hosts_of, held) if reads else None,
            ),
            can_wait=can_wait,
            as_of=as_of,
        )

    def _forget_pushed_out(self, view: "View") -> None:
        """Begin a new memo, and forget snapshots, once much content was pushed out: they keep that content alive.

        It would not be found again, either, because the memo knows content by its identity.
        """
        for content in (self._sets, self._values):
            if content.pushed_out - self._pushed_out[content] > content.capacity // 2:
                self._pushed_out = {one: one.pushed_out for one in self._pushed_out}
                self._memo = Memo(self._memo_capacity)
                view.snapshots.clear()

    def _connection(
        self, is_at: Callable[[sa.Connection], bool], held: sa.Connection | None
    ) -> Callable[[], AbstractContextManager[sa.Connection]]:
        """Return what opens a connection that sees a view; it raises OutdatedError if there is none.

        is_at: whether a connection sees the view.
        """

        @contextmanager
        def connection() -> Iterator[sa.Connection]:
            if held is not None:
                yield held
                return
            with self._databases.reading() as opened:
                if is_at(opened):
                    yield opened
                    return
                if opened.engine is self._databases.primary:
                    raise OutdatedError
            # The replica has the changes of the feed, and not yet how hosts are filed.
            with database.reading(self._databases.primary) as opened:
                if not is_at(opened):
                    raise OutdatedError
                yield opened

        return connection

    def ask_at_once(self, question: Callable[[Reader], Answer], *, can_be_old: bool = False) -> Answer:
        """Answer a question from memory, without waiting for anything; raises ColdError where that is not possible.

        can_be_old: while the database is away, as it was when it was last seen.
        """
        view = self._view
        if view is None:
            raise ColdError
        if self._is_fresh:
            return question(self.reader(view, can_wait=False))
        if not can_be_old:
            raise ColdError
        return self._ask_memory(question, can_wait=False)

    def _ask_memory(self, question: Callable[[Reader], Answer], *, can_wait: bool) -> Answer:
        """Answer a question as of when the database was last seen; raises ColdError where that is not possible."""
        view, as_of = self._view, self.as_of()
        if view is None or as_of is None:
            raise ColdError
        return question(self.reader(view, can_wait=can_wait, as_of=as_of))

    def ask(self, question: Callable[[Reader], Answer], *, can_be_old: bool = False) -> Answer:
        """Answer a question; it sees one revision of the registry throughout.

        can_be_old: while the database is away, as it was when it was last seen.
        """
        if can_be_old and not self._is_fresh:
            with suppress(ColdError):
                return self._ask_memory(question, can_wait=True)
            budget.restart()
        try:
            return self._ask(question)
        except Exception as error:
            self.note(error)
            if not can_be_old:
                raise
            budget.restart()
            try:
                return self._ask_memory(question, can_wait=True)
            except ColdError:
                raise error from None

    def _ask(self, question: Callable[[Reader], Answer]) -> Answer:
        """Answer a question with the registry as it stands."""
        for _ in range(_TRIES):
            try:
                return question(self.reader(self.view()))
            except UnfiledError:
                self._file_hosts()
            except (OutdatedError, ReplicaLostError):
                self.recheck()
            if budget.restart() > _FEW_STEPS:
                break
        budget.hurry()
        # Under a flood of publications asking again would never end, so the revision is held by a connection. One
        # question at a time: it keeps that connection until it ends, and takes another one for content.
        try:
            return self._ask_held(question)
        except UnfiledError:
            self._file_hosts()
            return self._ask_held(question)

    def _ask_held(self, question: Callable[[Reader], Answer]) -> Answer:
        with self._holding, database.reading(self._databases.primary) as connection:
            view = self._empty(database.revision(connection), change.position(connection))
            view.are_filed = are_filed(connection)
            return question(self.reader(view, held=connection))

    def _file_hosts(self) -> None:
        """File the hosts that the version before has registered; raises FailureError if others do not let it write."""
        with database.writing(self._databases.primary, "the registry") as writing:
            file_hosts(writing.connection)
        self.recheck()

    def outdate(self) -> None:
        """Check again at the next question: this process has added something."""
        self._written += 1
        self.recheck()

    def recheck(self) -> None:
        """Check again at the next question."""
        self._outdated += 1
        self._checked = float("-inf")
        self._databases.outdate()


@dataclass(slots=True)
class View:
    """The registry at one revision: what was looked up of it by name, and what was selected of the registered hosts.

    position: the last change that is in it. are_filed: whether all hosts are filed (decision 0014).
    """

    revision: int
    position: Position
    named: Memory[Key, Any]
    snapshots: Memory[Names, Snapshot]
    selections: Memory[Key, Any]
    are_filed: bool = True

    def after(self, news: "News", revision: int, position: Position) -> "View":
        """Return the view of a later revision, which keeps what has not changed since."""
        named = self.named.without(news.outdates) if news.releases or news.has_profiles else self.named
        selections: Memory[Key, Any] = Memory(self.selections.capacity) if news.has_hosts else self.selections
        snapshots: Memory[Names, Snapshot] = self.snapshots if named is self.named else Memory(_SNAPSHOTS)
        return View(revision, position, named, snapshots, selections, self.are_filed)

    def is_at(self, connection: sa.Connection) -> bool:
        """Return whether a connection sees what is published in this view; hosts may have changed since."""
        return database.revision(connection) == self.revision and change.has(connection, self.position)

    def has_hosts_of(self, connection: sa.Connection) -> bool:
        """Return whether a connection sees the hosts of this view, and how they are filed.

        That hosts were filed is in no feed. So a replica can lack it.
        """
        return change.position(connection) == self.position and (not self.are_filed or are_filed(connection))


@dataclass(frozen=True, slots=True)
class News:
    """The names that have changed, by kind. explains_revision: the changes account for every new revision."""

    explains_revision: bool
    models: frozenset[str]
    releases: frozenset[str]
    has_hosts: bool
    has_profiles: bool

    @classmethod
    def since(cls, connection: sa.Connection, seq: int, last: int) -> "News | None":
        """Read the changes after one, up to the last one; None: they are too many to be followed."""
        rows = change.without_hosts(connection, seq, _MAX_FOLLOWED + 1)
        if len(rows) > _MAX_FOLLOWED:
            return None
        kinds = {ChangeKind(row.kind) for row in rows}
        releases = frozenset(row.name for row in rows if row.kind in _OF_RELEASES)
        return cls(
            explains_revision=not kinds.isdisjoint(_OF_RELEASES | _OF_PROFILES),
            models=frozenset(change.models_since(connection, seq)) if releases else frozenset(),
            releases=releases,
            # The feed has no gaps, so all other changes are those of hosts.
            has_hosts=len(rows) < last - seq,
            has_profiles=not kinds.isdisjoint(_OF_PROFILES),
        )

    def outdates(self, key: Key) -> bool:
        """Return whether the entry under a key can have changed."""
        kind, *names = key
        match kind:
            case "model":
                return names[0] in self.models
            case "release":
                return names[0] in self.releases
            case "releases" | "closure":
                # A release can also state off values, which count in every comparison of the model.
                return bool(self.releases)
            case _:
                # A profile inherits what others gain; profiles also come with releases.
                return self.has_profiles
