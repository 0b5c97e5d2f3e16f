"""The fleet: the kinds of the registered hosts, which profiles a kind accepts, and what can move between kinds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from app.domain.engine.acceptance import Acceptance
from app.domain.engine.question import Engine
from app.domain.fleet.kind import HostKind, SetsAtHosts
from app.domain.fleet.movement import FleetMap, newest_listed
from app.domain.fleet.support_matrix import Cell, KindColumn, kind_matrix, support_matrix
from app.domain.things.profile import Profile
from app.domain.values.state import State
from app.domain.verdict.destination import Destination
from app.service.known import UnknownNameError, known_profile
from app.storage.fleet import Selected
from app.storage.reader import Reader


@dataclass(frozen=True, slots=True)
class Group:
    """The selected hosts of one kind. stale: how many of them have not reported for a long time.

    examples, stale_examples: the first five of each, by name.
    """

    kind: HostKind
    count: int
    stale: int
    examples: Sequence[str]
    stale_examples: Sequence[str]

    @classmethod
    def of(cls, selected: Selected, kind: Destination) -> "Group":
        """Return the selected hosts of a kind; kind: what stands for its hosts."""
        first = kind._replace(id=selected.examples[0])
        return cls(
            HostKind(selected.digest, first), selected.count, selected.stale, selected.examples, selected.stale_examples
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """The hosts that meet conditions on their labels, by kind: the one with most of them first.

    host_count: how many they are; all_count: how many are registered. labels: by the name of a label, its values with
    the number of the selected hosts that have them.
    """

    groups: Sequence[Group]
    host_count: int
    all_count: int
    stale: int
    labels: Mapping[str, Mapping[str, int]]


def groups(labels: Sequence[str], reader: Reader, without: Collection[str] = ()) -> Sequence[Group]:
    """Return the registered hosts that meet all conditions on labels, by kind: the one with most of them first.

    without: names of hosts that do not count.
    """
    selected = reader.selected([labels], without)
    kinds = reader.kinds([one.digest for one in selected])
    return [Group.of(one, kinds[one.digest]) for one in selected]


def select(labels: Sequence[str], reader: Reader) -> Selection:
    """Return the registered hosts that meet all conditions on labels, and their labels."""
    listed = groups(labels, reader)
    all_count = sum(one.count for one in reader.selected([[]]))
    host_count = sum(group.count for group in listed)
    return Selection(listed, host_count, all_count, sum(group.stale for group in listed), reader.labels(labels))


def some_hosts(labels: Sequence[str], reader: Reader) -> Sequence[Destination]:
    """Return the registered hosts that meet all conditions on labels, by name.

    Of a selection of more than MAX_NAMED hosts, the first five of each kind stand for it.
    """
    selected = reader.selected([labels])
    kinds = reader.kinds([one.digest for one in selected])
    hosts = [kinds[one.digest]._replace(id=name) for one in selected for name in one.names or one.examples]
    return sorted(hosts, key=lambda host: host.id)


def running(releases: Collection[str], reader: Reader) -> Mapping[str, Sequence[Group]]:
    """Return the kinds of the registered hosts that run each of these releases, as a whole or in a unit.

    Raises HostsClosedError.
    """
    kinds: dict[str, list[Group]] = {release: [] for release in releases}
    for group in groups([], reader):
        for release in group.kind.first.all_releases():
            if release in kinds:
                kinds[release].append(group)
    return kinds


def known_kind(digest: str, reader: Reader) -> Group:
    """Return a kind of registered hosts by its digest, with its first host as it is; raises UnknownNameError."""
    for group in groups([], reader):
        if group.kind.digest == digest:
            name = group.examples[0]
            return replace(group, kind=HostKind(digest, reader.hosts([name])[name]))
    raise UnknownNameError(digest, "kind")


def profiles_for(kind: HostKind, reader: Reader) -> Sequence[str]:
    """Return the profiles that name a model which hosts of a kind implement, the newest first."""
    names = dict.fromkeys(name for _, name in kind.releases())
    models = {model for name in names for model in reader.digests(name) or ()}
    return reader.naming(sorted(models)) if models else []


class AcceptedAt(NamedTuple):
    """What hosts of a kind accept of a profile, with what they restrict and resolve.

    hosts: the verdict. stated: those of each release that they state, in the order of `HostKind.releases()`; None: the
    registry does not have the release.
    """

    profile: str
    hosts: Cell
    stated: Sequence[Cell | None]


def accepted(kind: HostKind, profiles: Sequence[str], acceptance: Acceptance, reader: Reader) -> Sequence[AcceptedAt]:
    """Return what hosts of a kind accept of profiles; acceptance: remembers the verdicts of earlier ones."""
    stated = kind.releases()
    models = dict.fromkeys([*reader.named_models(profiles), *(model for model, _ in kind.first.named_models())])
    snapshot = reader.snapshot(
        models=models, releases=dict.fromkeys(name for _, name in stated), profiles=profiles, of_models=models
    )
    known = snapshot.known_profiles()
    column = KindColumn(kind.digest, kind.first)
    hosts = [row.cells[0] for row in kind_matrix(known, [column], snapshot, acceptance)]
    columns: list[Sequence[Cell | None]] = []
    sets = SetsAtHosts()
    for unit, name in stated:
        release = snapshot.release(name)
        if release is None:
            columns.append([None] * len(known))
            continue
        here = sets.release_at(kind.first, unit, release, models)
        columns.append([row.cells[0] for row in support_matrix(known, [here], snapshot, acceptance)])
    return [
        AcceptedAt(profile.name, hosts[place], [column[place] for column in columns])
        for place, profile in enumerate(known)
    ]


def fleet_map(kinds: Sequence[HostKind], profile: str | None, reader: Reader) -> FleetMap:
    """Return what can move between kinds; raises UnknownNameError.

    profile: only devices that it is for, made with it; None: each device with the newest profile that the release lists
    and that names the model, or without one.
    """
    releases = dict.fromkeys(name for kind in kinds for _, name in kind.releases())
    lists = reader.snapshot(releases=releases, of_models=()).known_releases()
    listed = frozenset(chain.from_iterable(release.profiles or () for release in lists))
    names = [profile] if profile is not None else [name for name in reader.naming() if name in listed]
    snapshot = reader.snapshot(releases=releases, profiles=names, of_models=None)
    if profile is not None:
        models = known_profile(profile, snapshot).values.keys()
        return FleetMap(kinds, snapshot, Engine(snapshot, memo=reader.memo), lambda *_: profile, models)
    usable = [known for known in snapshot.known_profiles() if known.state is not State.RETIRED]
    named = {known.name: _models(known) for known in usable}
    names = [name for name in names if name in named]
    return FleetMap(kinds, snapshot, Engine(snapshot, memo=reader.memo), newest_listed(names, named))


def _models(profile: Profile) -> frozenset[str]:
    return frozenset(profile.values)
