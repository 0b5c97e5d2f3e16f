"""The registry as verdicts see it: looked up once, kept while nothing is added; content is kept by digest for ever."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from threading import Lock
from typing import Generic, TypeVar

import sqlalchemy as sa

from app.domain.model import Model
from app.domain.name import ReleaseName, is_name, is_release_name
from app.domain.profile import Profile, Values
from app.domain.question import Destination
from app.domain.release import Release
from app.domain.variable_set import VariableSet
from app.storage import change, database, lookup, own_values, schema
from app.storage.host import Hosts, Label

# What another process publishes is seen at most this much later (the promise is one second).
FRESH_SECONDS = 0.5

Content = TypeVar("Content")
Found = TypeVar("Found")
Answer = TypeVar("Answer")


class OutdatedError(Exception):
    """The registry has gone on while a question was asked: it is to be asked again."""


class _ByDigest(Generic[Content]):
    """Content read once for each digest."""

    def __init__(self, engine: sa.Engine, read: Callable[[sa.Connection, list[str]], dict[str, Content]]) -> None:
        self._engine = engine
        self._read = read
        self._kept: dict[str, Content] = {}

    def read(self, digests: Iterable[str]) -> None:
        """Read what is not kept yet, all at once."""
        new = [digest for digest in dict.fromkeys(digests) if digest not in self._kept]
        if new:
            with database.reading(self._engine) as connection:
                for digest, content in self._read(connection, new).items():
                    # The first one read stays: others know it by identity.
                    self._kept.setdefault(digest, content)

    def __getitem__(self, digest: str) -> Content:
        if digest not in self._kept:
            self.read([digest])
        return self._kept[digest]


class _Named(Mapping[str, Content]):
    """Content by model, of which only the digests are known until it is asked for."""

    def __init__(self, digests: Mapping[str, str], content: _ByDigest[Content]) -> None:
        self._digests = digests
        self._content = content

    def digests(self, models: Collection[str] | None) -> Iterator[str]:
        """Iterate over the digests of what is known of these models, None: of all."""
        yield from (digest for model, digest in self._digests.items() if models is None or model in models)

    def __getitem__(self, model: str) -> Content:
        return self._content[self._digests[model]]

    def __contains__(self, model: object) -> bool:
        return model in self._digests

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


class Catalog:
    """Gives the registry as it stands."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._sets = _ByDigest(engine, lookup.variable_sets)
        self._values: _ByDigest[Values] = _ByDigest(engine, lookup.profile_values)
        self._lock = Lock()
        self._holding = Lock()
        self._checked = float("-inf")
        self._standing: Standing | None = None

    def standing(self) -> "Standing":
        """Return the registry as it stands, at most FRESH_SECONDS old."""
        with self._lock:
            now = time.monotonic()
            if self._standing is None or now - self._checked > FRESH_SECONDS:
                with database.reading(self._engine) as connection:
                    revision, seq = database.revision(connection), change.head(connection)
                if self._standing is None or self._standing.revision != revision:
                    self._standing = Standing(revision, seq, self._engine, self._sets, self._values)
                elif self._standing.seq != seq:
                    self._standing = self._standing.at(seq)
                self._checked = now
            return self._standing

    def ask(self, question: Callable[["Standing"], Answer]) -> Answer:
        """Return the answer to a question that sees one revision of the registry throughout."""
        try:
            return question(self.standing())
        except OutdatedError:
            self.outdate()
        # Under a flood of publications it would never end: now the revision is held on to. One at a time, for that
        # takes a connection for as long as the question lasts, and content another one.
        with self._holding, database.reading(self._engine) as connection:
            revision, seq = database.revision(connection), change.head(connection)
            return question(Standing(revision, seq, self._engine, self._sets, self._values, connection))

    def outdate(self) -> None:
        """Look again at the next question: this process has added something."""
        self._checked = float("-inf")


class Standing:
    """The registry at one revision; implements the lookups of a verdict. seq: the last change that is in it."""

    def __init__(
        self,
        revision: int,
        seq: int,
        engine: sa.Engine,
        sets: _ByDigest[VariableSet],
        values: _ByDigest[Values],
        held: sa.Connection | None = None,
    ) -> None:
        """held: a connection that sees this revision for as long as it is used."""
        self.revision = revision
        self.seq = seq
        self._engine = engine
        self._sets = sets
        self._values = values
        self._held = held
        self._models: dict[str, Model] = {}
        self._releases: dict[str, Release] = {}
        self._profiles: dict[str, Profile] = {}

    def at(self, seq: int) -> "Standing":
        """Return the same revision, after changes of which no verdict looks anything up here: hosts."""
        later = copy(self)
        later.seq = seq
        return later

    def model(self, name: str) -> Model | None:
        """Return the device model, None if it is not published."""
        return self._look_up(
            self._models, name, is_name, lambda connection: lookup.models(connection, [name]).get(name)
        )

    def release(self, name: str) -> Release | None:
        """Return the release, None if it is not published."""
        return self._look_up(
            self._releases, name, is_release_name, lambda connection: self._read_release(connection, name)
        )

    def _look_up(
        self,
        kept: dict[str, Found],
        name: str,
        can_be: Callable[[str], bool],
        read: Callable[[sa.Connection], Found | None],
    ) -> Found | None:
        """Return what is kept or read; what is not there is not kept, so that no question can fill the memory."""
        found = kept.get(name)
        if found is None and can_be(name):
            with self._reading() as connection:
                found = read(connection)
            if found is not None:
                kept[name] = found
        return found

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees this revision; raises OutdatedError if the registry has gone on since."""
        if self._held is not None:
            yield self._held
            return
        with database.reading(self._engine) as connection:
            if database.revision(connection) != self.revision:
                raise OutdatedError
            yield connection

    def _read_release(self, connection: sa.Connection, text: str) -> Release | None:
        name = ReleaseName.parse(text)
        release_id = lookup.release_id(connection, name.implementation, name.version)
        if release_id is None:
            return None
        sets = _Named(lookup.release_models(connection, release_id), self._sets)
        state = lookup.release_state(connection, release_id)
        own = {
            profile: _Named(digests, self._values)
            for profile, digests in own_values.of_release(connection, release_id).items()
        }
        return Release(name, sets, lookup.listed_profiles(connection, release_id), state, own)

    def profile(self, name: str) -> Profile | None:
        """Return the profile, None if it is not published."""
        return self._look_up(self._profiles, name, is_name, lambda connection: self._read_profile(connection, name))

    def _read_profile(self, connection: sa.Connection, name: str) -> Profile | None:
        profile_id = lookup.ids(connection, schema.profile, [name]).get(name)
        if profile_id is None:
            return None
        digests = lookup.resolved_entries(connection, [profile_id])[profile_id]
        return Profile(name, _Named(digests, self._values), lookup.profile_state(connection, profile_id))

    def releases(
        self, models: Sequence[str] | None = None, implementations: Sequence[str] | None = None
    ) -> list[Release]:
        """Return the releases that implement one of the models, of these implementations, in the order published."""
        with self._reading() as connection:
            names = [str(ReleaseName(*each)) for each in lookup.implementing(connection, models, implementations)]
        found = [release for name in names if (release := self.release(name)) is not None]
        self.load(found, models)
        return found

    def profiles(self, models: Sequence[str] | None = None) -> list[Profile]:
        """Return the profiles that say something about one of the models, the newest first."""
        with self._reading() as connection:
            named = lookup.profiles_naming(connection, models)
            new = [each for each in named if each.name not in self._profiles]
            resolved = lookup.resolved_entries(connection, [each.id for each in new])
        for each in new:
            self._profiles[each.name] = Profile(each.name, _Named(resolved[each.id], self._values), each.state)
        found = [self._profiles[each.name] for each in named]
        self.load(found, models)
        return found

    def load(self, several: Iterable[Release | Profile], models: Collection[str] | None = None) -> None:
        """Read what releases and profiles say of these models, None: of all, at once instead of one by one."""
        sets: list[str] = []
        values: list[str] = []
        for each in several:
            if isinstance(each, Release):
                sets += _digests(each.sets, models)
            else:
                values += _digests(each.values, models)
        self._sets.read(sets)
        self._values.read(values)

    def hosts(self, names: Sequence[str]) -> dict[str, Destination]:
        """Return registered hosts by name; for one that is not registered a destination of which nothing is known."""
        with database.reading(self._engine) as connection:
            return Hosts(connection).named(names)

    def all_hosts(self, label: Label | None = None) -> list[Destination]:
        """Return all registered hosts, or those that have a label, by name."""
        with database.reading(self._engine) as connection:
            return Hosts(connection).all(label)


def _digests(named: Mapping[str, object], models: Collection[str] | None) -> Iterator[str]:
    if isinstance(named, _Named):
        yield from named.digests(models)
