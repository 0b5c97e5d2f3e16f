"""The registry as verdicts see it: looked up once, kept until it changes; content is kept by its digest."""

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias, TypeVar

import orjson
import sqlalchemy as sa

from app.domain.change import ChangeKind
from app.domain.model import Model
from app.domain.name import ReleaseName, is_name, is_release_name
from app.domain.profile import Profile, Values
from app.domain.question import Destination
from app.domain.release import Release
from app.domain.variable_set import VariableSet
from app.domain.verdict import Comparisons
from app.storage import change, database, lookup, schema
from app.storage.content import (
    ByDigest,
    ColdError,
    Named,
    SetsOfRelease,
    asking,
    check_may_wait,
    expect_sets,
    is_at_once,
    seen_by_question,
)
from app.storage.host import Fleet, Label
from app.storage.kept import Memory
from app.storage.replica import Databases, ReplicaLostError

MEGABYTES = 128

# About what things take in memory, in bytes (measured).
_TO_JSON = 8
_NAMED_BYTES = 300
_COMPARED_BYTES = 250
# A host takes about a kilobyte; of more, each question reads them.
_MOST_HOSTS_KEPT = 20_000
# So many changes at once are not gone through one by one.
_MOST_FOLLOWED = 500
_OF_RELEASES = frozenset({ChangeKind.RELEASE_PUBLISHED, ChangeKind.RELEASE_EXTENDED, ChangeKind.RELEASE_STATE_CHANGED})
_OF_PROFILES = frozenset({ChangeKind.PROFILE_PUBLISHED, ChangeKind.PROFILE_EXTENDED, ChangeKind.PROFILE_STATE_CHANGED})

Answer = TypeVar("Answer")


class OutdatedError(Exception):
    """The registry has gone on while a question was asked: it is to be asked again."""


class Catalog:
    """Gives the registry as it stands, out of memory where that is possible."""

    def __init__(self, databases: Databases, megabytes: int = MEGABYTES) -> None:
        """megabytes: about how much is kept in memory."""
        self._databases = databases
        bytes_kept = megabytes * 1024 * 1024
        sets: Memory[str, VariableSet] = Memory(bytes_kept // 2 // _TO_JSON)
        values: Memory[str, Values] = Memory(bytes_kept // 8 // _TO_JSON)
        self._sets = ByDigest(databases, schema.variable_set, lookup.stored_set, sets)
        self._values = ByDigest[Values](databases, schema.profile_values, json.loads, values)
        self._named_bytes = bytes_kept // 8
        self._comparisons = Comparisons(bytes_kept // 4 // _COMPARED_BYTES)
        self._lock = Lock()
        self._holding = Lock()
        self._checked = float("-inf")
        self._outdated = 0
        self._standing: Standing | None = None

    @property
    def read_count(self) -> int:
        """How much content was read so far."""
        return self._sets.read_count + self._values.read_count

    def standing(self) -> "Standing":
        """Return the registry as it stands, at most FRESH_SECONDS old."""
        with self._lock:
            if self._standing is None or not self._is_fresh:
                now, outdated = time.monotonic(), self._outdated
                with database.reading(self._databases.primary) as connection:
                    self._standing = self._renewed(connection, self._standing)
                # If this process has added something meanwhile, the next question looks again.
                self._checked = now if outdated == self._outdated else float("-inf")
            return self._standing

    @property
    def _is_fresh(self) -> bool:
        return time.monotonic() - self._checked <= database.FRESH_SECONDS

    def _renewed(self, connection: sa.Connection, standing: "Standing | None") -> "Standing":
        """Return the registry as it stands now: what is known of it already, but for what has changed since."""
        revision, seq = database.revision(connection), change.head(connection)
        self._databases.note(seq)
        if standing is None or seq - standing.seq > _MOST_FOLLOWED:
            return self._begun(revision, seq)
        if (standing.revision, standing.seq) == (revision, seq):
            return standing
        news = _News.since(connection, standing.seq)
        if not news.is_all and revision != standing.revision:
            return self._begun(revision, seq)
        return standing.after(news, revision, seq, connection)

    def _begun(self, revision: int, seq: int) -> "Standing":
        """Return the registry of which no name has been looked up."""
        memory: Memory[_Key, Any] = Memory(self._named_bytes)
        return Standing(revision, seq, self._databases, self._sets, self._values, memory, self._comparisons)

    def ask_at_once(self, question: Callable[["Standing"], Answer]) -> Answer:
        """Return the answer to a question without waiting for anything; raises ColdError where that is not possible."""
        standing = self._standing
        if standing is None or not self._is_fresh:
            raise ColdError
        with asking(standing.reading, at_once=True):
            return question(standing)

    def ask(self, question: Callable[["Standing"], Answer]) -> Answer:
        """Return the answer to a question that sees one revision of the registry throughout."""
        try:
            return self._ask(question)
        except (OutdatedError, ReplicaLostError):
            self.outdate()
        # Under a flood of publications it would never end: now the revision is held on to. One at a time, for that
        # takes a connection for as long as the question lasts, and content another one.
        with self._holding, database.reading(self._databases.primary) as connection:
            begun = self._begun(database.revision(connection), change.head(connection)).holding(connection)
            with asking(begun.reading):
                return question(begun)

    def _ask(self, question: Callable[["Standing"], Answer]) -> Answer:
        standing = self.standing()
        with asking(standing.reading):
            return question(standing)

    def outdate(self) -> None:
        """Look again at the next question: this process has added something."""
        self._outdated += 1
        self._checked = float("-inf")
        self._databases.outdate()


_Key: TypeAlias = tuple[str, ...]
# Reads what has these names, each with how many entries it has.
_Read: TypeAlias = Callable[[sa.Connection, Sequence[str]], Mapping[str, tuple[object, int]]]


@dataclass(frozen=True, slots=True)
class _News:
    """What has changed: by kind, the names concerned. is_all: it explains every new revision."""

    is_all: bool
    models: frozenset[str]
    releases: frozenset[str]
    hosts: frozenset[str]
    has_profiles: bool

    @classmethod
    def since(cls, connection: sa.Connection, seq: int) -> "_News":
        """Read what has changed since a change."""
        rows = change.feed(connection, seq, _MOST_FOLLOWED)
        kinds = {ChangeKind(row.kind) for row in rows}
        releases = frozenset(row.name for row in rows if row.kind in _OF_RELEASES)
        return cls(
            is_all=not kinds.isdisjoint(_OF_RELEASES | _OF_PROFILES),
            models=frozenset(change.models_since(connection, seq)) if releases else frozenset(),
            releases=releases,
            hosts=frozenset(row.name for row in rows if row.kind in change.OF_HOSTS),
            has_profiles=not kinds.isdisjoint(_OF_PROFILES),
        )

    def outdates(self, key: _Key) -> bool:
        """Return whether what is kept under a key may be another now."""
        kind, *names = key
        match kind:
            case "model":
                return names[0] in self.models
            case "release":
                return names[0] in self.releases
            case "releases":
                return bool(self.releases)
            case _:
                # A profile inherits what others gain; with a release, its profiles come.
                return self.has_profiles


class Standing:
    """The registry at one revision; implements the lookups of a verdict. seq: the last change that is in it."""

    def __init__(  # noqa: PLR0917 (what it is made of)
        self,
        revision: int,
        seq: int,
        databases: Databases,
        sets: ByDigest[VariableSet],
        values: ByDigest[Values],
        named: Memory[_Key, Any],
        comparisons: Comparisons,
        held: sa.Connection | None = None,
        fleet: Fleet | None = None,
    ) -> None:
        """held: a connection that sees this revision for as long as it is used. named: what was looked up by name."""
        self.revision = revision
        self.seq = seq
        self.comparisons = comparisons
        self._databases = databases
        self._sets = sets
        self._values = values
        self._named = named
        self._held = held
        self._fleet = fleet

    def after(self, news: _News, revision: int, seq: int, connection: sa.Connection) -> "Standing":
        """Return the registry at a later revision, with what has not changed since."""
        fleet = self._fleet
        if fleet is not None and news.hosts:
            fleet = fleet.renewed(connection, news.hosts)
            fleet = fleet if len(fleet) <= _MOST_HOSTS_KEPT else None
        named = self._named.without(news.outdates) if news.releases or news.has_profiles else self._named
        return self._with(revision, seq, named, None, fleet)

    def holding(self, connection: sa.Connection) -> "Standing":
        """Return the same, read over one connection that sees it."""
        return self._with(self.revision, self.seq, self._named, connection, self._fleet)

    def _with(
        self, revision: int, seq: int, named: Memory[_Key, Any], held: sa.Connection | None, fleet: Fleet | None
    ) -> "Standing":
        return Standing(revision, seq, self._databases, self._sets, self._values, named, self.comparisons, held, fleet)

    @property
    def is_at_once(self) -> bool:
        """Whether the question is to be answered at once: it is not to work long on it."""
        return is_at_once()

    def model(self, name: str) -> Model | None:
        """Return the device model, None if it is not published."""
        found: Model | None = self._seen("model", name, is_name, self._read_models)
        return found

    def release(self, name: str) -> Release | None:
        """Return the release, None if it is not published."""
        found: Release | None = self._seen("release", name, is_release_name, self._read_releases)
        return found

    def profile(self, name: str) -> Profile | None:
        """Return the profile, None if it is not published."""
        found: Profile | None = self._seen("profile", name, is_name, self._read_profiles)
        return found

    def look_up(self, models: Iterable[str] = (), releases: Iterable[str] = (), profiles: Iterable[str] = ()) -> None:
        """Have the question see all that has these names, many at a time instead of one by one."""
        self._see("model", models, is_name, self._read_models)
        self._see("release", releases, is_release_name, self._read_releases)
        self._see("profile", profiles, is_name, self._read_profiles)

    def _seen(self, kind: str, name: str, can_be: Callable[[str], bool], read: _Read) -> Any:
        """Return what has a name; what is not there the question remembers, but nobody else."""
        seen, key = seen_by_question(), (kind, name)
        if key not in seen:
            found = self._named.get(key)
            if found is None:
                found = self._see(kind, [name], can_be, read).get(name)
            seen[key] = found
        return seen[key]

    def _see(self, kind: str, names: Iterable[str], can_be: Callable[[str], bool], read: _Read) -> Mapping[str, object]:
        seen = seen_by_question()
        found = {name: self._named.get((kind, name)) for name in names if (kind, name) not in seen}
        new = [name for name, each in found.items() if each is None and can_be(name)]
        if new:
            with self.reading() as connection:
                for name, (each, size) in read(connection, new).items():
                    found[name] = self._named.put((kind, name), each, size * _NAMED_BYTES)
        seen.update({(kind, name): each for name, each in found.items()})
        return found

    def document(self, key: _Key, read: Callable[[sa.Connection], object | None]) -> bytes | None:
        """Return what is read, in JSON, or what was; the first part of the key says of what kind it is."""
        found: bytes | None = self._named.get(key)
        if found is None:
            with self.reading() as connection:
                document = read(connection)
            if document is not None:
                found = orjson.dumps(document)
                self._named.put(key, found, len(found))
        return found

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees this revision; raises OutdatedError if the registry has gone on since."""
        check_may_wait()
        if self._held is not None:
            yield self._held
            return
        with self._databases.reading() as connection:
            if database.revision(connection) != self.revision:
                raise OutdatedError
            yield connection

    @staticmethod
    def _read_models(connection: sa.Connection, names: Sequence[str]) -> Mapping[str, tuple[Model, int]]:
        found = lookup.models(connection, names)
        return {name: (each, sum(map(len, each.statements.values()))) for name, each in found.items()}

    def _read_releases(self, connection: sa.Connection, names: Sequence[str]) -> Mapping[str, tuple[Release, int]]:
        found = {}
        for stored in lookup.releases(connection, map(ReleaseName.parse, names)):
            own = {profile: Named(digests, self._values) for profile, digests in stored.own_values.items()}
            sets = SetsOfRelease(stored.id, self._sets)
            release = Release(stored.name, sets, stored.profiles, stored.state, own)
            found[str(stored.name)] = (release, _entries(release))
        return found

    def _read_profiles(self, connection: sa.Connection, names: Sequence[str]) -> Mapping[str, tuple[Profile, int]]:
        found = {}
        stored = lookup.profiles(connection, names)
        resolved = lookup.resolved_entries(connection, [each.id for each in stored])
        for each in stored:
            profile = Profile(each.name, Named(resolved[each.id], self._values), each.state)
            found[each.name] = (profile, len(resolved[each.id]))
        return found

    def releases(
        self, models: Sequence[str] | None = None, implementations: Sequence[str] | None = None
    ) -> list[Release]:
        """Return the releases that implement one of the models, of these implementations, in the order published."""
        key = ("releases", json.dumps([models, implementations]))
        names: Sequence[str] | None = self._named.get(key)
        if names is None:
            with self.reading() as connection:
                names = [str(ReleaseName(*each)) for each in lookup.implementing(connection, models, implementations)]
            self._named.put(key, names, (len(names) + 1) * _NAMED_BYTES)
        self.look_up(releases=names)
        found = [release for name in names if (release := self.release(name)) is not None]
        self.load(found, models)
        return found

    def profiles(self, models: Sequence[str] | None = None) -> list[Profile]:
        """Return the profiles that say something about one of the models, the newest first."""
        key = ("profiles", json.dumps(models))
        names: Sequence[str] | None = self._named.get(key)
        if names is None:
            with self.reading() as connection:
                names = [each.name for each in lookup.profiles_naming(connection, models)]
            self._named.put(key, names, (len(names) + 1) * _NAMED_BYTES)
        self.look_up(profiles=names)
        found = [profile for name in names if (profile := self.profile(name)) is not None]
        self.load(found, models)
        return found

    def variable_set(self, digest: str) -> VariableSet:
        """Return the variable set of a digest that is published."""
        return self._sets[digest]

    def load(self, several: Sequence[Release | Profile], models: Collection[str] | None = None) -> None:
        """Have the question see what releases and profiles say of these models, None: of all, instead of one by one."""
        releases = [each for each in several if isinstance(each, Release)]
        profiles = [each.values for each in several if isinstance(each, Profile)]
        self._expect_sets(releases, models)
        self._sets.read(digest for each in releases for digest in _digests(each.sets, models))
        self._values.read(digest for each in profiles for digest in _digests(each, models))
        if models is None:
            models = {model for each in releases for model in each.sets} | {
                model for each in profiles for model in each
            }
        self.look_up(models=models)

    def _expect_sets(self, releases: Iterable[Release], models: Collection[str] | None) -> None:
        """Look up which sets releases have of these models, None: of all, as far as that is not known."""
        new = {
            str(each.name): each
            for each in releases
            if isinstance(each.sets, SetsOfRelease)
            and not each.sets.is_whole
            and (models is None or any(model not in each.sets.known for model in models))
        }
        if new:
            with self.reading() as connection:
                sets = [each.sets for each in new.values() if isinstance(each.sets, SetsOfRelease)]
                expect_sets(connection, sets, models)
            for name, each in new.items():
                self._named.grow(("release", name), _entries(each) * _NAMED_BYTES)

    def hosts(self, names: Sequence[str]) -> dict[str, Destination]:
        """Return registered hosts by name; for one that is not registered a destination of which nothing is known."""
        return self._hosts().named(names) if names else {}

    def all_hosts(self, label: Label | None = None) -> Sequence[Destination]:
        """Return all registered hosts, or those that have a label, by name."""
        return self._hosts().all(label)

    def _hosts(self) -> Fleet:
        if self._fleet is None:
            with self.reading() as connection:
                if change.head(connection) != self.seq:
                    raise OutdatedError
                fleet = Fleet.read(connection)
            if len(fleet) > _MOST_HOSTS_KEPT:
                return fleet
            self._fleet = fleet
        return self._fleet


def _entries(release: Release) -> int:
    """Return how many names and digests are known of a release."""
    known = len(release.sets.known) if isinstance(release.sets, SetsOfRelease) else 0
    return known + len(release.profiles or ()) + sum(map(len, release.own_values.values())) + 1


def digests(one: Release | Profile) -> dict[str, str]:
    """Return the digest of what a release or a profile of the catalog says of each model; no content is read."""
    content = one.sets if isinstance(one, Release) else one.values
    return dict(zip(content, _digests(content, None), strict=True))


def _digests(named: Mapping[str, object], models: Collection[str] | None) -> Iterator[str]:
    return named.digests(models) if isinstance(named, Named | SetsOfRelease) else iter(())
