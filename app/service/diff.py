"""Differences: load two releases or two profiles, and compare what they state of device models."""

from collections.abc import Sequence
from typing import Any

from app.domain.fleet import difference
from app.domain.fleet.difference import Difference
from app.domain.publishing.outcome import MadeOtherwise
from app.domain.things.snapshot import Snapshot
from app.domain.values.name import ReleaseName, vendor_of
from app.service.document import difference_document, made_otherwise_document
from app.service.known import UnknownNameError, known_model
from app.storage import lookup
from app.storage.evolution import compare_releases
from app.storage.reader import Reader


class OtherKindError(ValueError):
    """A release cannot be compared with a profile."""

    def __init__(self) -> None:
        super().__init__("must be of the same kind as from: a release with a release, a profile with a profile")


def compare(before: str, after: str, model: str | None, reader: Reader) -> dict[str, Any]:
    """Return the differences as JSON, of one model or of all that differ.

    Raises UnknownNameError, and OtherKindError.
    """
    names = differing(before, after, model, reader)
    differences_of = differences(names if model is None else [model], before, after, reader)
    models = {name: [difference_document(entry) for entry in entries] for name, entries in differences_of.items()}
    no_longer_listed, made_otherwise = of_listed_profiles(before, after, model, reader)
    return {
        "from": before,
        "to": after,
        "models": models,
        "no_longer_listed": no_longer_listed,
        "makes_otherwise": [made_otherwise_document(entry) for entry in made_otherwise],
        **reader.basis,
    }


def of_listed_profiles(
    before: str, after: str, model: str | None, reader: Reader
) -> tuple[Sequence[str], Sequence[MadeOtherwise]]:
    """Return what the second release no longer lists of the first one's profiles, and what it makes otherwise.

    model: what is made otherwise of this model alone, None: of all.
    """
    if not is_release(before):
        return (), ()
    names = [ReleaseName.parse(name) for name in (before, after)]
    with reader.connection() as connection:
        ids = [lookup.release_id(connection, name.implementation, name.version) for name in names]
        old, new = ids
        if old is None or new is None:
            return (), ()
        no_longer_listed, made_otherwise = compare_releases(connection, old, new, (names[0].vendor, names[1].vendor))
    return no_longer_listed, [entry for entry in made_otherwise if model in {None, entry.model}]


def differing(before: str, after: str, model: str | None, reader: Reader) -> list[str]:
    """Return the models, by name, for which the two state something, and not the same.

    model: a model that has to be published. Raises UnknownNameError, and OtherKindError.
    """
    if is_release(before) != is_release(after):
        raise OtherKindError
    sides = []
    for name in (before, after):
        digests = reader.digests(name)
        if digests is None:
            raise UnknownNameError(name, "release" if is_release(name) else "profile")
        sides.append(digests)
    if model is not None:
        known_model(model, reader.snapshot(models=[model], of_models=()))
    return sorted(name for name in {*sides[0], *sides[1]} if sides[0].get(name) != sides[1].get(name))


def is_release(name: str) -> bool:
    """Return whether a name is that of a release; it is that of a profile otherwise."""
    return "@" in name


def differences(models: Sequence[str], before: str, after: str, reader: Reader) -> dict[str, list[Difference]]:
    """Return the differences of published releases or profiles by model; models without any are left out."""
    if is_release(before):
        snapshot = reader.snapshot(models=models, releases=[before, after], of_models=models)
        differences_of = {name: _of_releases(name, before, after, snapshot) for name in models}
    else:
        snapshot = reader.snapshot(models=models, profiles=[before, after], of_models=models)
        differences_of = _of_profiles(models, before, after, snapshot, reader)
    return {name: entries for name, entries in differences_of.items() if entries}


def _of_releases(name: str, before: str, after: str, snapshot: Snapshot) -> list[Difference]:
    model, one, other = snapshot.model(name), snapshot.release(before), snapshot.release(after)
    if model is None or one is None or other is None:
        return []
    vendors = (one.name.vendor, other.name.vendor)
    return difference.between_releases(model, vendors, one.sets.get(name), other.sets.get(name))


def _of_profiles(
    models: Sequence[str], before: str, after: str, snapshot: Snapshot, reader: Reader
) -> dict[str, list[Difference]]:
    one, other = snapshot.profile(before), snapshot.profile(after)
    if one is None or other is None:
        return {}
    vendors = (vendor_of(before), vendor_of(after))
    differences_of = {
        name: difference.between_profiles(model, vendors, one.values.get(name), other.values.get(name))
        for name in models
        if (model := snapshot.model(name)) is not None
    }
    # Only a difference of a variable can be one that no release compares.
    differing = [name for name, entries in differences_of.items() if any(entry.variable for entry in entries)]
    for name in differing:
        releases = reader.snapshot(releases=reader.implementing([name]), of_models=[name]).known_releases()
        differences_of[name] = difference.without_backend(
            differences_of[name], [release.sets[name] for release in releases]
        )
    return differences_of
