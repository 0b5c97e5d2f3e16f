"""The fleet: the kinds of the registered hosts, which profiles a kind accepts, and what can move between kinds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from app.domain.engine.acceptance import Acceptance
from app.domain.engine.question import Engine
from app.domain.fleet.kind import HostKind, release_at
from app.domain.fleet.movement import FleetMap, newest_listed
from app.domain.fleet.support_matrix import Cell, support_matrix
from app.domain.things.profile import Profile
from app.domain.values.state import State
from app.domain.verdict.destination import Destination
from app.service.known import UnknownNameError, known_profile
from app.storage.host import Fleet, Label
from app.storage.reader import Reader


@dataclass(frozen=True, slots=True)
class Group:
    """The selected hosts of one kind, by name; stale: how many of them have not reported for a long time."""

    kind: HostKind
    hosts: Sequence[str]
    stale: int


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


def select(labels: Sequence[str], reader: Reader, *, only_stale: bool = False) -> Selection:
    """Return the registered hosts that meet all conditions on labels; only_stale: those that do not report."""
    fleet = reader.fleet
    if not len(fleet):
        return Selection([], 0, 0, 0, {})
    is_whole = not labels and not only_stale
    hosts = () if is_whole else _hosts(fleet, labels)
    if only_stale:
        hosts = [host for host in hosts if host.id in reader.stale_hosts]
    names: dict[str, list[str]] = {}
    for host in hosts:
        names.setdefault(fleet.kind_of[host.id].digest, []).append(host.id)
    selected: Mapping[str, Sequence[str]] = fleet.names if is_whole else names
    stale = (
        Counter(fleet.kind_of[name].digest for name in reader.stale_hosts if name in fleet.kind_of)
        if is_whole
        else {digest: len(reader.stale_hosts.intersection(of_kind)) for digest, of_kind in names.items()}
    )
    groups = [
        Group(kind, selected[kind.digest], stale.get(kind.digest, 0)) for kind in fleet.kinds if kind.digest in selected
    ]
    counts: Mapping[tuple[str, ...], int] = (
        Counter(chain.from_iterable(fleet.labels_of(host.id).items() for host in hosts))
        if not is_whole
        else fleet.label_counts
    )
    values: dict[str, dict[str, int]] = {}
    for label, count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0])):
        if len(label) > 1:
            values.setdefault(label[0], {})[label[1]] = count
    groups.sort(key=lambda group: (-len(group.hosts), group.hosts[0]))
    count = len(fleet) if is_whole else len(hosts)
    return Selection(groups, count, len(fleet), sum(group.stale for group in groups), values)


def _hosts(fleet: Fleet, labels: Sequence[str]) -> Sequence[Destination]:
    hosts = fleet.all([Label.parse(label) for label in labels])
    # One with a problem stands for none.
    return hosts if hosts[0].problem is None else []


def known_kind(digest: str, reader: Reader) -> HostKind:
    """Return a kind by its digest; raises UnknownNameError."""
    for kind in reader.fleet.kinds:
        if kind.digest == digest:
            return kind
    raise UnknownNameError(digest, "kind")


def profiles_for(kind: HostKind, reader: Reader) -> Sequence[str]:
    """Return the profiles that name a model which hosts of a kind implement, the newest first."""
    names = dict.fromkeys(name for _, name in kind.releases())
    models = {model for name in names for model in reader.digests(name) or ()}
    return reader.naming(sorted(models)) if models else []


def accepted(
    kind: HostKind, profiles: Sequence[str], acceptance: Acceptance, reader: Reader
) -> Sequence[tuple[str, Sequence[Cell | None]]]:
    """Return for profiles the verdicts of a kind's releases, in the order of `kind.releases()`.

    They count what the hosts restrict and resolve. None: the registry does not have the release. acceptance: remembers
    the verdicts of earlier profiles.
    """
    stated = kind.releases()
    snapshot = reader.snapshot(releases=dict.fromkeys(name for _, name in stated), profiles=profiles, of_models=None)
    known = snapshot.known_profiles()
    columns: list[Sequence[Cell | None]] = []
    for unit, name in stated:
        release = snapshot.release(name)
        if release is None:
            columns.append([None] * len(known))
            continue
        rows = support_matrix(known, [release_at(kind.first, unit, release)], snapshot, acceptance)
        columns.append([row.cells[0] for row in rows])
    return [(profile.name, [column[place] for column in columns]) for place, profile in enumerate(known)]


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
