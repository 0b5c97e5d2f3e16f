"""The page of a profile: its values, the profile that each is inherited from, and the releases that support it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response

from app.api.parameters import Filter
from app.api.session import Asking
from app.domain.values.name import is_name
from app.domain.values.state import State
from app.domain.values.value import Value, same
from app.pages.page import PageRoute, long_page
from app.pages.support_matrix import releases_of_profile
from app.service.erratum import erratum_document
from app.service.known import UnknownNameError
from app.storage import erratum, listing, lookup
from app.storage.reader import Reader

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# With more models than this, show the values of one at a time.
_MAX_AT_ONCE = 5
_MAX_RELEASES = 24
_MAX_ERRATA = 100


class ModelOfProfile(NamedTuple):
    """A model of a profile; stated_by: the profile, or the nearest ancestor that names the model."""

    name: str
    stated_by: str
    digest: str


class ValueOfProfile(NamedTuple):
    """The value of a variable in a profile, None if it is taken out; stated_by: the profile that sets it.

    before: the value in the ancestors of that profile, None if there is none.
    """

    variable: str
    value: Value | None
    stated_by: str
    before: Value | None


@dataclass(frozen=True, slots=True)
class ProfilePage:
    """The content of the page; lineage: the profile and its ancestors; values: by model, of those that are shown."""

    profile: listing.Row
    lineage: Sequence[str]
    models: Sequence[ModelOfProfile]
    values: Mapping[str, Sequence[ValueOfProfile]]
    states: Mapping[str, State]


@router.get("/ui/profiles/{name:path}")
def get_profile_page(name: str, request: Request, asking: Asking, model: Filter = None) -> Response:
    """Show a profile: its models and its values; if it has many models, the values for one of them."""
    model = model or None
    shown = asking.ask_from_thread(lambda reader: _shown(reader, name, model))

    def parts() -> Iterator[Mapping[str, object]]:
        releases, count = asking.ask_from_thread(partial(releases_of_profile, name, model, _MAX_RELEASES))
        ids = [name for release in releases for name in release.errata][:_MAX_ERRATA]
        known_broken = asking.ask_from_thread(partial(_errata, ids))
        yield {"releases": releases, "release_count": count, "known_broken": known_broken}

    return long_page(request, "profile.html", "profile_releases.html", parts(), shown=shown, model=model)


def _errata(ids: Sequence[str], reader: Reader) -> list[Mapping[str, object]]:
    with reader.connection() as connection:
        return [erratum_document(stored) for stored in (erratum.find(connection, name) for name in ids) if stored]


def _shown(reader: Reader, name: str, model: str | None) -> ProfilePage:
    with reader.connection() as connection:
        profile = listing.profile(connection, name) if is_name(name) else None
        if profile is None:
            raise UnknownNameError(name, "profile")
        lineage = listing.lineage(connection, profile.id)
        entries = lookup.profile_entries(connection, [ancestor.id for ancestor in lineage])
        names = [ancestor.name for ancestor in lineage]
        models = _models(connection, profile.id, names, [entries[ancestor.id] for ancestor in lineage])
        if model and not any(entry.name == model for entry in models):
            raise UnknownNameError(model, "model")
        named = [(ancestor.name, entries[ancestor.id]) for ancestor in lineage]
        values = {
            entry.name: list(_values(connection, entry, named))
            for entry in models
            if entry.name == model or (not model and len(models) <= _MAX_AT_ONCE)
        }
        states = {stored.name: stored.state for stored in lookup.profiles(connection, names)}
    return ProfilePage(profile, names, models, values, states)


def _models(
    reading: sa.Connection,
    profile_id: int,
    lineage: Sequence[str],
    entries: Sequence[Mapping[str, tuple[str, str]]],
) -> list[ModelOfProfile]:
    resolved = lookup.resolved_entries(reading, [profile_id])[profile_id]
    return [
        ModelOfProfile(
            model, next(name for name, own in zip(lineage, entries, strict=True) if model in own), resolved[model]
        )
        for model in sorted(resolved)
    ]


def _values(
    reading: sa.Connection, of: ModelOfProfile, lineage: Sequence[tuple[str, Mapping[str, tuple[str, str]]]]
) -> Iterator[ValueOfProfile]:
    """Iterate over the values for a model by variable, and over the variables that were taken out."""
    own_digests = [(name, entries[of.name][0]) for name, entries in lineage if of.name in entries]
    documents = lookup.profile_values(reading, [of.digest, *(digest for _, digest in own_digests)])
    resolved = documents[of.digest]
    stated = [(name, documents[digest]) for name, digest in own_digests]
    # Variables that an ancestor set, that were taken out, and that were not set again.
    taken_out = {variable for _, own in stated for variable, value in own.items() if value is None} - resolved.keys()
    for variable in sorted({*resolved, *taken_out}):
        value = resolved.get(variable)
        settings = [(name, own[variable]) for name, own in stated if variable in own]
        # An ancestor can have gained the model later: the resolved value ignores it.
        place = next((index for index, (_, own) in enumerate(settings) if same(own, value)), 0)
        before = next((own for _, own in settings[place + 1 :]), None)
        yield ValueOfProfile(variable, value, settings[place][0] if settings else of.stated_by, before)
