"""The support matrix: load profiles and releases, and find out which release supports which profile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.engine.acceptance import Acceptance
from app.domain.fleet.support_matrix import Row, support_matrix
from app.domain.values.document import FaultCode, Place
from app.service.known import UnknownNameError, known_model, known_profile
from app.storage.reader import Reader

MAX_CELLS = 100_000


@dataclass(frozen=True, slots=True)
class Matrix:
    """The support matrix: the releases, and a row for each profile with a cell for each release.

    basis: what it is based on.
    """

    releases: Sequence[str]
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
    naming = [name for name in reader.naming(models) if profiles is None or name in profiles]
    releases = reader.implementing(models, implementations)
    cells = len(naming) * len(releases)
    if cells > MAX_CELLS:
        place = Place()
        place.fault(FaultCode.LIMIT_EXCEEDED, f"must have at most {MAX_CELLS:,} cells, not {cells:,}: name fewer")
        place.raise_faults()
    # What no profile names is not loaded.
    named = models if models is not None else reader.named_models(naming)
    snapshot = reader.snapshot(models=named, releases=releases, profiles=naming, of_models=named)
    rows = support_matrix(
        snapshot.known_profiles(), snapshot.known_releases(), snapshot, Acceptance(reader.memo), models or ()
    )
    return Matrix(list(releases), list(rows), reader.basis)


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
