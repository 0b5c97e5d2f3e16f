"""The reader: loads what one question names into a snapshot, from memory where possible."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import orjson
import sqlalchemy as sa

from app.domain.engine.memo import Memo
from app.domain.fleet.kind import read_kind
from app.domain.things.erratum import Erratum, understood
from app.domain.things.model import Model
from app.domain.things.profile import Profile, Values
from app.domain.things.release import Release
from app.domain.things.snapshot import Loaded, Snapshot
from app.domain.things.variable_set import VariableSet
from app.domain.values.budget import spend
from app.domain.values.document import Place
from app.domain.values.name import ReleaseName, is_name, is_release_name
from app.domain.values.state import State
from app.domain.verdict.destination import Destination
from app.domain.verdict.problem import Problem, ProblemCode
from app.storage import fleet, lookup, schema
from app.storage.content import ColdError, Contents
from app.storage.database import Position
from app.storage.fleet import Member, Selected, Selections
from app.storage.host import Label, Staleness
from app.storage.memory import Memory

# Each name or digest takes about this many bytes (measured).
_NAMED_BYTES = 300
# A host that was asked about takes about this many; its kind is kept elsewhere.
_HOST_BYTES = 1_000
# The hosts of a question that names more are not remembered: it would push out all others.
_MAX_REMEMBERED = 1_000
# A snapshot of more names is not remembered.
_MAX_REMEMBERED_NAMES = 200
# An erratum takes about this many times the memory of a name.
_TO_ERRATUM = 10

Key: TypeAlias = tuple[str, ...]
# Of models, releases and profiles; and the models of which content is loaded.
Names: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...] | None]
Content = TypeVar("Content")
Entry = TypeVar("Entry")
# Reads the entries under these names, each with the number of names and digests in it.
_Read: TypeAlias = Callable[[sa.Connection, Sequence[str]], Mapping[str, tuple[Any, int]]]


@dataclass(slots=True)
class ReleaseEntry:
    """A release as memory holds it: names and digests, no content.

    errata: by model, as documents; they are not withdrawn. understood: the same as rules, each with the set of which it
    has the types.
    sets: the digest of its set of each model that was asked for, None if it does not implement the model.
    is_whole: sets has all its models.
    """

    id: int
    name: ReleaseName
    profiles: frozenset[str] | None
    state: State
    own_values: Mapping[str, Mapping[str, str]]
    aliases: Mapping[str, str]
    errata: Mapping[str, Sequence[Mapping[str, Any]]]
    sets: dict[str, str | None] = field(default_factory=dict)
    is_whole: bool = False
    understood: dict[str, tuple[VariableSet, Sequence[Erratum]]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many names and digests it has."""
        own = sum(map(len, self.own_values.values())) + _TO_ERRATUM * sum(map(len, self.errata.values()))
        return len(self.sets) + len(self.profiles or ()) + len(self.aliases) + own + 1


@dataclass(frozen=True, slots=True)
class ProfileEntry:
    """A profile as memory holds it: the digests of its resolved values by model."""

    name: str
    state: State
    values: Mapping[str, str]


class OutdatedError(Exception):
    """The registry has changed while a question was being asked; the question has to be asked again."""


class UnfiledError(OutdatedError):
    """Some hosts have to be filed before the question can be asked again (decision 0014)."""


class HostsClosedError(Exception):
    """The question is about registered hosts, and whoever asks must not know them."""


class Reader:
    """Loads for one question, at one revision of the registry. What it returns is complete: judging needs no I/O.

    position: the last change of the registry that it sees. memo: what the engine remembers across questions.
    shows_hosts: whether it has the registered hosts.
    """

    def __init__(  # noqa: PLR0917 (what it is made of)
        self,
        position: Position,
        named: Memory[Key, Any],
        snapshots: Memory[Names, Snapshot],
        sets: Contents[VariableSet],
        values: Contents[Values],
        kinds: Contents[Destination],
        memo: Memo,
        connect: Callable[[], AbstractContextManager[sa.Connection]] | None,
        fleet: "FleetAccess",
        *,
        can_wait: bool = True,
        as_of: str | None = None,
    ) -> None:
        """named, snapshots: what was looked up by name at this revision. connect: None: from memory alone (ColdError).

        can_wait: False: the question is answered on the event loop, so in no time. as_of: when the database, which is
        away, was last seen.
        """
        self.can_wait = can_wait
        self.as_of = as_of
        self.position = position
        self.memo = memo
        self._named = named
        self._snapshots = snapshots
        self._sets = sets
        self._values = values
        self._kinds = kinds
        self._connect = connect
        self._fleet = fleet
        self.shows_hosts = True

    def without_hosts(self) -> "Reader":
        """Return the same for somebody who must not know the registered hosts: it raises HostsClosedError for them."""
        reader = copy(self)
        reader.shows_hosts = False
        return reader

    @property
    def basis(self) -> Mapping[str, Any]:
        """What an answer says of the registry that it is based on: the position in the feed, and when, if it is old."""
        position = self.position
        basis = {"registry": position.registry, "seq": position.seq, "link": position.link}
        return basis if self.as_of is None else {**basis, "as_of": self.as_of}

    def connection(self) -> AbstractContextManager[sa.Connection]:
        """Return a connection that sees this revision."""
        if self._connect is None:
            raise ColdError
        return self._connect()

    def snapshot(
        self,
        *,
        models: Iterable[str] = (),
        releases: Iterable[str] = (),
        profiles: Iterable[str] = (),
        of_models: Collection[str] | None,
    ) -> Snapshot:
        """Load models, releases and profiles by name; those of a few are remembered as long as nothing changes.

        of_models: the models of which the content of releases and profiles is loaded; None: of all that they have,
        and these models, too. Own values are loaded for the profiles that are. What the names are aliases of in one of
        the releases is loaded, too.
        """
        names = (tuple(models), tuple(releases), tuple(profiles), None if of_models is None else tuple(of_models))
        if names[3] is None or sum(map(len, names[:3])) > _MAX_REMEMBERED_NAMES:
            return self._snapshot(*names)
        snapshot = self._snapshots.get(names)
        if snapshot is None:
            snapshot = self._snapshot(*names)
            # A snapshot with missing names is not remembered: the names can be published at any time.
            if snapshot.is_complete:
                entries = len(names[1]) + len(names[2])
                self._snapshots.put(names, snapshot, (entries + len(names[0]) * (entries + 1)) * _NAMED_BYTES)
        else:
            spend()
        return snapshot

    def _snapshot(
        self,
        models: Iterable[str],
        releases: Iterable[str],
        profiles: Iterable[str],
        of_models: Collection[str] | None,
    ) -> Snapshot:
        release_entries = self._entries("release", releases, is_release_name, self._read_releases)
        known_releases: dict[str, ReleaseEntry] = _known(release_entries)
        tables = [entry.aliases for entry in known_releases.values() if entry.aliases]
        if tables:
            models = _with_targets(models, tables)
            profiles = _with_targets(profiles, tables)
            of_models = None if of_models is None else _with_targets(of_models, tables)
        profile_entries = self._entries("profile", profiles, is_name, self._read_profiles)
        known_profiles: dict[str, ProfileEntry] = _known(profile_entries)
        wanted = None if of_models is None else dict.fromkeys(of_models).keys()
        self._learn_sets(known_releases.values(), wanted)
        loaded = None if wanted is None else frozenset(wanted)
        # A release is asked for each model.
        spend((len(known_releases) + len(known_profiles)) * len(wanted or ()) // 4)
        sets_of = {name: _digests(entry.sets, wanted) for name, entry in known_releases.items()}
        values_of = {name: _digests(entry.values, wanted) for name, entry in known_profiles.items()}
        own_of = {
            name: {
                profile: _digests(entry.own_values[profile], wanted)
                for profile in profile_entries
                if profile in entry.own_values
            }
            for name, entry in known_releases.items()
            if entry.own_values
        }
        sets = self._sets.load(_digests_in(sets_of.values()), can_wait=self._connect is not None)
        own_digests = (digests for own in own_of.values() for digests in own.values())
        values = self._values.load(_digests_in([*values_of.values(), *own_digests]), can_wait=self._connect is not None)
        if of_models is None:
            models = chain(models, *sets_of.values(), *values_of.values())
        loaded_releases: dict[str, Release | None] = dict.fromkeys(release_entries)
        for name, release in known_releases.items():
            own_values = {profile: _content(own, values) for profile, own in own_of.get(name, {}).items()}
            own_sets = _content(sets_of[name], sets)
            loaded_releases[name] = Release(
                release.name,
                Loaded(own_sets, loaded),
                release.profiles,
                release.state,
                own_values,
                release.aliases,
                _understood(release, own_sets),
            )
        loaded_profiles: dict[str, Profile | None] = dict.fromkeys(profile_entries)
        for name, profile in known_profiles.items():
            of_profile = Loaded(_content(values_of[name], values), loaded)
            loaded_profiles[name] = Profile(name, of_profile, profile.state)
        return Snapshot(self._models(models), loaded_releases, loaded_profiles)

    def _models(self, names: Iterable[str]) -> dict[str, Model | None]:
        return self._entries("model", names, is_name, self._read_models)

    def _entries(self, kind: str, names: Iterable[str], can_be: Callable[[str], bool], read: _Read) -> dict[str, Any]:
        """Return the entries under these names, None where nothing is published under a name."""
        entries: dict[str, Any] = {}
        missing = []
        for name in names:
            if name not in entries:
                spend()
                entry = entries[name] = self._named.get((kind, name))
                if entry is None and can_be(name):
                    missing.append(name)
        if missing:
            with self.connection() as connection:
                for name, (entry, size) in read(connection, missing).items():
                    entries[name] = self._named.put((kind, name), entry, size * _NAMED_BYTES)
        return entries

    @staticmethod
    def _read_models(connection: sa.Connection, names: Sequence[str]) -> Mapping[str, tuple[Model, int]]:
        models = lookup.models(connection, names)
        return {name: (model, sum(map(len, model.statements.values()))) for name, model in models.items()}

    @staticmethod
    def _read_releases(connection: sa.Connection, names: Sequence[str]) -> Mapping[str, tuple[ReleaseEntry, int]]:
        entries = (
            ReleaseEntry(
                stored.id, stored.name, stored.profiles, stored.state, stored.own_values, stored.aliases, stored.errata
            )
            for stored in lookup.releases(connection, map(ReleaseName.parse, names))
        )
        return {str(entry.name): (entry, entry.size) for entry in entries}

    @staticmethod
    def _read_profiles(connection: sa.Connection, names: Sequence[str]) -> Mapping[str, tuple[ProfileEntry, int]]:
        stored = lookup.profiles(connection, names)
        resolved = lookup.resolved_entries(connection, [profile.id for profile in stored])
        return {
            profile.name: (
                ProfileEntry(profile.name, profile.state, resolved[profile.id]),
                len(resolved[profile.id]),
            )
            for profile in stored
        }

    def _learn_sets(self, entries: Iterable[ReleaseEntry], models: AbstractSet[str] | None) -> None:
        """Look up which sets releases have of these models, None: of all, where that is not known yet."""
        missing = [
            entry for entry in entries if not entry.is_whole and (models is None or not models <= entry.sets.keys())
        ]
        if not missing:
            return
        with self.connection() as connection:
            sets = lookup.sets_of_releases(connection, [entry.id for entry in missing], models)
        for entry in missing:
            own: Mapping[str, str | None] = sets.get(entry.id, {})
            entry.sets.update(own if models is None else {model: own.get(model) for model in models})
            entry.is_whole = entry.is_whole or models is None
            self._named.resize(("release", str(entry.name)), entry.size * _NAMED_BYTES)

    def digests(self, name: str) -> Mapping[str, str] | None:
        """Return the digests of a release's sets or a profile's values by model, None if it is not published.

        A release is named `<implementation>@<version>`, so the name tells which it is.
        """
        if "@" in name:
            release: ReleaseEntry | None = self._entries("release", [name], is_release_name, self._read_releases)[name]
            if release is None:
                return None
            self._learn_sets([release], None)
            return _digests(release.sets, None)
        profile: ProfileEntry | None = self._entries("profile", [name], is_name, self._read_profiles)[name]
        return None if profile is None else profile.values

    def named_models(self, profiles: Iterable[str]) -> list[str]:
        """Return the models that profiles name, themselves or by inheritance, each once."""
        entries: Mapping[str, ProfileEntry | None] = self._entries("profile", profiles, is_name, self._read_profiles)
        return list(dict.fromkeys(model for entry in entries.values() if entry is not None for model in entry.values))

    def implementing(
        self, models: Sequence[str] | None = None, implementations: Sequence[str] | None = None
    ) -> Sequence[str]:
        """Return the releases that implement one of the models, of these implementations, in the order published."""

        def read(connection: sa.Connection) -> list[str]:
            return [str(ReleaseName(*row)) for row in lookup.implementing(connection, models, implementations)]

        return self._names(("releases", json.dumps([models, implementations])), read)

    def naming(self, models: Sequence[str] | None = None) -> Sequence[str]:
        """Return the profiles that name one of the models, the newest first; None: all profiles."""

        def read(connection: sa.Connection) -> list[str]:
            return [stored.name for stored in lookup.profiles_naming(connection, models)]

        return self._names(("profiles", json.dumps(models)), read)

    def _names(self, key: Key, read: Callable[[sa.Connection], list[str]]) -> Sequence[str]:
        names: Sequence[str] | None = self._named.get(key)
        if names is None:
            with self.connection() as connection:
                names = read(connection)
            self._named.put(key, names, (len(names) + 1) * _NAMED_BYTES + sum(map(len, key)))
        return names

    def variable_sets(self, digests: Iterable[str]) -> Mapping[str, VariableSet]:
        """Return published variable sets by digest."""
        return self._sets.load(digests, can_wait=self._connect is not None)

    def document(self, key: Key, read: Callable[[sa.Connection], object | None]) -> bytes | None:
        """Return a document as JSON, from memory or as it is read; the first part of the key names its kind."""
        document: bytes | None = self._named.get(key)
        if document is None:
            with self.connection() as connection:
                content = read(connection)
            if content is not None:
                document = orjson.dumps(content)
                self._named.put(key, document, len(document))
        return document

    def remembered(self, *key: str) -> object | None:
        """Return what is kept at this revision under a key, None if nothing is; the key's first part is the kind."""
        remembered: object | None = self._named.get(key)
        return remembered

    def remember(self, key: Key, computed: object, size: int) -> None:
        """Keep what was computed at this revision under a key; size: the bytes that it takes, about."""
        self._named.put(key, computed, size)

    def hosts(self, names: Sequence[str]) -> dict[str, Destination]:
        """Return hosts by name; one that is not registered is a destination with the problem that says so.

        A host costs a row of the database: memory holds kinds, not hosts (DESIGN 6).
        """
        if not names:
            return {}
        self._check_shown()
        if self.as_of is not None:
            return {name: self._remembered_host(name) for name in names}
        with self.hosts_connection() as connection:
            registered = fleet.registered(connection, names, self._fleet.staleness)
        filed = {member.digest for member in registered.members.values()} - registered.unfiled.keys()
        kinds = {**self.kinds(filed), **registered.unfiled}
        hosts = {}
        for name in names:
            member = registered.members.get(name)
            if member is None:
                hosts[name] = unknown_host(name, f"No host {name} is registered.")
            else:
                hosts[name] = fleet.destination(member, kinds[member.digest])
        if len(hosts) <= _MAX_REMEMBERED:
            # For when the database is away.
            for name, host in hosts.items():
                self._fleet.selections.put(("host", name), host, _HOST_BYTES)
        return hosts

    def _remembered_host(self, name: str) -> Destination:
        """Return a host as it was asked about before at this revision; raises ColdError."""
        host: Destination | None = self._fleet.selections.get(("host", name))
        if host is None:
            raise ColdError
        return host

    def kinds(self, digests: Iterable[str]) -> Mapping[str, Destination]:
        """Return what stands for the hosts of kinds, by digest."""
        self._check_shown()
        wanted = list(digests)
        kinds = self._kinds.load(wanted, can_wait=self._connect is not None)
        # A kind is deleted with its last host. Then the hosts have changed, or an earlier state is being held.
        if missing := [digest for digest in wanted if digest not in kinds]:
            with self.hosts_connection() as connection:
                documents = dict(lookup.documents(connection, schema.host_kind, missing))
            if len(documents) < len(missing):
                raise OutdatedError
            kinds |= {digest: read_kind(document) for digest, document in documents.items()}
        return kinds

    def selected(self, selections: Sequence[Sequence[str]], without: Collection[str] = ()) -> Sequence[Selected]:
        """Return the selected hosts by kind.

        selections: conditions on labels as they are written, all of which must hold; none: all hosts. Then those of
        hosts that are left out. without: names of hosts that do not count.
        """

        def read(connection: sa.Connection) -> tuple[Sequence[Selected], int]:
            kinds = fleet.selected(connection, _parsed(selections), self._fleet.staleness, without)
            return kinds, sum(1 + len(kind.names or kind.examples) for kind in kinds)

        kinds: Sequence[Selected] = self._selection(("kinds", _digest_of([selections, sorted(without)])), read)
        spend(len(kinds))
        return kinds

    def labels(self, selection: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        """Return the labels of selected hosts: by name, each value with the number of hosts, most frequent first."""

        def read(connection: sa.Connection) -> tuple[Mapping[str, Mapping[str, int]], int]:
            labels = fleet.facets(connection, _parsed([selection]))
            return labels, sum(map(len, labels.values()))

        labels: Mapping[str, Mapping[str, int]] = self._selection(("labels", _digest_of(selection)), read)
        return labels

    def host_names(self, selections: Sequence[Sequence[str]], kind: Selected, without: Collection[str]) -> list[str]:
        """Return the names of the selected hosts of a kind, in order."""
        if kind.names is not None:
            return list(kind.names)
        wanted = kind.count + len(without)
        with self.hosts_connection() as connection:
            names = fleet.names(connection, _parsed(selections), kind.kind_id, None, wanted)
        return [name for name in names if name not in without]

    def stale_names(self, selection: Sequence[str], kind: str, limit: int) -> Sequence[str]:
        """Return the first selected hosts of a kind that have not reported for a long time."""
        with self.hosts_connection() as connection:
            return fleet.stale_names(connection, _parsed([selection]), kind, self._fleet.staleness, limit)

    def oldest_report(self, selection: Sequence[str], kind: str) -> str | None:
        """Return the time of the oldest of the last reports of the selected hosts of a kind; None: one is not known."""
        with self.hosts_connection() as connection:
            return fleet.oldest_report(connection, _parsed([selection]), kind)

    def members(self, selection: Sequence[str]) -> Sequence[Member]:
        """Return the registered hosts that meet all conditions on labels, by name."""
        self._check_filed()
        with self.hosts_connection() as connection:
            members = list(fleet.members(connection, _parsed([selection]), self._fleet.staleness))
        spend(len(members) // 4)
        return members

    def within(self, selections: Sequence[Sequence[str]], names: Collection[str]) -> frozenset[str]:
        """Return those of some names that are names of selected hosts."""
        with self.hosts_connection() as connection:
            return fleet.within(connection, _parsed(selections), names)

    def _selection(self, key: Key, read: Callable[[sa.Connection], tuple[Entry, int]]) -> Entry:
        """Return what was selected of the hosts at this revision, from memory where possible."""
        self._check_shown()
        selection: Entry | None = self._fleet.selections.get(key)
        if selection is None:
            self._check_filed()
            with self.hosts_connection() as connection:
                selection, size = read(connection)
            self._fleet.selections.put(key, selection, size * _NAMED_BYTES)
        return selection

    @contextmanager
    def hosts_connection(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees the hosts of this revision."""
        self._check_shown()
        if self._fleet.connect is None:
            raise ColdError
        with self._fleet.connect() as connection:
            yield connection

    def _check_filed(self) -> None:
        """Raise UnfiledError if some hosts are not filed, so that labels do not select them."""
        if self._fleet.connect is not None and not self._fleet.are_filed:
            raise UnfiledError

    def _check_shown(self) -> None:
        """Raise HostsClosedError if whoever asks must not know the hosts."""
        if not self.shows_hosts:
            raise HostsClosedError


@dataclass(frozen=True, slots=True)
class FleetAccess:
    """The registered hosts as a reader sees them. selections: what was read of them at this revision.

    are_filed: whether all of them are filed. connect: opens a connection that sees the hosts of this revision, None:
    there is none.
    """

    staleness: Staleness
    selections: Memory[Key, Any]
    are_filed: bool
    connect: Callable[[], AbstractContextManager[sa.Connection]] | None


def unknown_host(name: str, why: str) -> Destination:
    """Return the destination that stands for a host that is not registered."""
    return Destination(name, (), problem=Problem(ProblemCode.UNKNOWN_HOST, why))


def no_host(labels: Sequence[str], *, are_left_out: bool = False) -> Destination:
    """Return the destination that stands for conditions on labels that no registered host meets.

    are_left_out: some do, and the question leaves all of them out.
    Without it, nothing would be refused and an answer would look positive. Its id has a space, so it cannot be the name
    of a host.
    """
    selection = " and ".join(labels)
    name = f"label {selection}" if labels else "all hosts"
    if are_left_out:
        meeting = (
            f"All registered hosts that meet the label conditions {selection}" if labels else "All registered hosts"
        )
        return unknown_host(name, f"{meeting} are left out.")
    if not labels:
        return unknown_host(name, "No host is registered.")
    return unknown_host(name, f"No registered host meets the label conditions {selection}.")


def _digest_of(key: object) -> str:
    return blake2b(orjson.dumps(key), digest_size=20).hexdigest()


def _parsed(selections: Sequence[Sequence[str]]) -> Selections:
    return [[Label.parse(label) for label in labels] for labels in selections]


def _digests(named: Mapping[str, str | None], models: Collection[str] | None) -> dict[str, str]:
    """Return the digests of these models, None: of all."""
    if models is None:
        # A copy, for another question can add what it learns of a release at the same time.
        return {model: digest for model, digest in dict(named).items() if digest is not None}
    return {model: digest for model in models if (digest := named.get(model)) is not None}


def _with_targets(names: Iterable[str], tables: Sequence[Mapping[str, str]]) -> list[str]:
    """Return names, and what they are aliases of."""
    all_names = list(names)
    targets = (aliases[name] for aliases in tables for name in all_names if name in aliases)
    return list(dict.fromkeys([*all_names, *targets]))


def _understood(release: ReleaseEntry, sets: Mapping[str, VariableSet]) -> Mapping[str, Sequence[Erratum]]:
    """Return errata with their conditions in the types of the sets, of the models that are loaded.

    The same objects each time: the engine tells them apart by identity.
    """
    errata = {}
    for model, documents in release.errata.items():
        if model not in sets:
            continue
        known = release.understood.get(model)
        if known is None or known[0] is not sets[model]:
            read = tuple(understood(document, sets[model], Place()) for document in documents)
            known = release.understood[model] = sets[model], read
        errata[model] = known[1]
    return errata


def _known(entries: Mapping[str, Entry | None]) -> dict[str, Entry]:
    """Return the entries of what is published."""
    return {name: entry for name, entry in entries.items() if entry is not None}


def _digests_in(named: Iterable[Mapping[str, str]]) -> Iterable[str]:
    """Return the digests in several mappings by model."""
    return chain.from_iterable([digests.values() for digests in named])


def _content(digests: Mapping[str, str], content: Mapping[str, Content]) -> dict[str, Content]:
    """Return content by model."""
    return {model: content[digest] for model, digest in digests.items()}
