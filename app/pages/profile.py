"""A profile: the values that hold, and which profile each is inherited from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response

from app.api.access import Reading
from app.api.errors import unknown
from app.api.parameters import Filter
from app.domain.name import is_name
from app.domain.value import Value, same
from app.pages.page import PageRoute, page
from app.storage import listing, lookup

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# Of a profile of more models the values of one are shown at a time.
_MOST_AT_ONCE = 5


class ModelOfProfile(NamedTuple):
    """A model that a profile speaks of; stated_by: itself, or the nearest profile above that names it."""

    name: str
    stated_by: str
    digest: str


class ValueOfProfile(NamedTuple):
    """A variable under a profile: its value, None where it is taken out; stated_by: the profile that says so.

    before: what the profiles above that one say, None where they say nothing.
    """

    variable: str
    value: Value | None
    stated_by: str
    before: Value | None


@router.get("/ui/profiles/{name:path}")
def get_profile_page(name: str, request: Request, reading: Reading, model: Filter = None) -> Response:
    """Show a profile: the models that it speaks of, and the values for them; of many models those for one of them."""
    found = listing.profile(reading, name) if is_name(name) else None
    if found is None:
        raise unknown(name, "profile")
    lineage = listing.lineage(reading, found.id)
    entries = lookup.profile_entries(reading, [each.id for each in lineage])
    models = _models(reading, found.id, [each.name for each in lineage], [entries[each.id] for each in lineage])
    if model and not any(each.name == model for each in models):
        raise unknown(model, "model")
    shown = [each for each in models if each.name == model or (not model and len(models) <= _MOST_AT_ONCE)]
    values = {
        each.name: list(_values(reading, each, [(one.name, entries[one.id]) for one in lineage])) for each in shown
    }
    return page(
        request,
        "profile.html",
        profile=found,
        lineage=[each.name for each in lineage],
        models=models,
        model=model or None,
        values=values,
    )


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
    """Iterate over what holds for a model, and what was taken out of what is inherited, by variable."""
    own_digests = [(name, entries[of.name][0]) for name, entries in lineage if of.name in entries]
    documents = lookup.profile_values(reading, [of.digest, *(digest for _, digest in own_digests)])
    resolved = documents[of.digest]
    stated = [(name, documents[digest]) for name, digest in own_digests]
    # What was taken out on the way, and is not there again.
    taken_out = {variable for _, own in stated for variable, value in own.items() if value is None} - resolved.keys()
    for variable in sorted({*resolved, *taken_out}):
        value = resolved.get(variable)
        saying = [(name, own[variable]) for name, own in stated if variable in own]
        # A profile above may have gained the model later: what holds was resolved without it.
        place = next((at for at, (_, each) in enumerate(saying) if same(each, value)), 0)
        before = next((each for _, each in saying[place + 1 :]), None)
        yield ValueOfProfile(variable, value, saying[place][0] if saying else of.stated_by, before)
