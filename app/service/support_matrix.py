"""The support matrix: load profiles and releases or hosts, and find out which of them support which profile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.engine.acceptance import Acceptance
from app.domain.fleet.group import Group
from app.domain.fleet.support_matrix import KindColumn, Row, kind_matrix, support_matrix
from app.domain.values.document import FaultCode, Place
from app.service.compatibility import groups_of_hosts
from app.service.known import UnknownNameError, known_model, known_profile
from app.storage.reader import Reader

MAX_CELLS = 100_000


@dataclass(frozen=True, slots=True)
class Matrix:
    """The support matrix: a row for each profile, with a cell for each column.

    releases, kinds: the columns, either of them; kinds: registered hosts by kind. unknown_releases: those of the hosts
    that the registry does not have, of which nothing is judged. basis: what it is based on.
    """

    releases: Sequence[str]
    kinds: Sequence[Group]
    unknown_releases: frozenset[str]
    rows: Sequence[Row]
    basis: Mapping[str, Any]


def find(
    profiles: Sequence[str] | None,
    models: Sequence[str] | None,
    implementations: Sequence[str] | None,
    reader: Reader,
) -> Matrix:
    """Return the support matrix of these profiles, models and implementations; None: of all.

    Raises UnknownNameError, and InvalidDocumentError beyond MAX_CELLS.
    """
    _check_names(profiles, models, implementations, reader)
    naming = _naming(profiles, models, reader)
    releases = reader.implementing(models, implementations)
    _check_cells(len(naming) * len(releases))
    # What no profile names is not loaded.
    named = models if models is not None else reader.named_models(naming)
    snapshot = reader.snapshot(models=named, releases=releases, profiles=naming, of_models=named)
    rows = support_matrix(
        snapshot.known_profiles(), snapshot.known_releases(), snapshot, Acceptance(reader.memo), models or ()
    )
    return Matrix(list(releases), (), frozenset(), list(rows), reader.basis)


def find_at_hosts(
    profiles: Sequence[str] | None,
    models: Sequence[str] | None,
    hosts: Sequence[str],
    labels: Sequence[str],
    reader: Reader,
) -> Matrix:
    """Return the support matrix of these profiles and models, None: of all, with kinds of hosts as columns.

    hosts: names; labels: conditions, all of which must hold. It costs kinds, however many hosts are selected. Raises
    UnknownNameError, HostsClosedError, and InvalidDocumentError beyond MAX_CELLS, or too many names or kinds.
    """
    _check_names(profiles, models, None, reader)
    place = Place()
    groups = groups_of_hosts(hosts, labels, reader, place)
    place.raise_faults()
    naming = _naming(profiles, models, reader)
    _check_cells(len(naming) * len(groups))
    named = models if models is not None else reader.named_models(naming)
    snapshot = reader.snapshot(
        models=dict.fromkeys([*named, *(model for group in groups for model, _ in group.first.named_models())]),
        releases=dict.fromkeys(name for group in groups for name in group.first.all_releases()),
        profiles=naming,
        of_models=named,
    )
    columns = [KindColumn(group.digest, group.first) for group in groups]
    rows = kind_matrix(snapshot.known_profiles(), columns, snapshot, Acceptance(reader.memo), models or ())
    unknown = frozenset(name for name, release in snapshot.releases.items() if release is None)
    return Matrix((), groups, unknown, list(rows), reader.basis)


def _naming(profiles: Sequence[str] | None, models: Sequence[str] | None, reader: Reader) -> Sequence[str]:
    """Return the profiles of the matrix, the newest first."""
    return [name for name in reader.naming(models) if profiles is None or name in profiles]


def _check_cells(cells: int) -> None:
    if cells > MAX_CELLS:
        place = Place()
        place.fault(FaultCode.LIMIT_EXCEEDED, f"must have at most {MAX_CELLS:,} cells, not {cells:,}: name fewer")
        place.raise_faults()


def _check_names(
    profiles: Sequence[str] | None,
    models: Sequence[str] | None,
    implementations: Sequence[str] | None,
    reader: Reader,
) -> None:
    """Raise UnknownNameError for the first name that is not in the registry."""
    snapshot = reader.snapshot(models=models or (), profiles=profiles or (), of_models=())
    for profile in profiles or ():
        known_profile(profile, snapshot)
    for model in models or ():
        known_model(model, snapshot)
    for implementation in implementations or ():
        if not reader.implementing(None, [implementation]):
            raise UnknownNameError(implementation, "implementation")
