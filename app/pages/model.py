"""A device model: its variables across releases, side by side, with what changed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response

from app.api.access import Registry
from app.api.errors import unknown
from app.api.known import known_model
from app.api.parameters import Filter, states
from app.domain.difference import Difference, between_releases
from app.domain.evolution import numeric
from app.domain.model import Model
from app.domain.name import vendor_of
from app.domain.value import shown
from app.domain.variable import Variable
from app.domain.variable_set import VariableSet
from app.pages.page import PageRoute, page
from app.storage import listing, lookup, schema
from app.storage.catalog import Standing

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MOST_COLUMNS = 8
_LEAST_OF_EACH = 2
_MOST_PROFILES = 30


@dataclass(frozen=True, slots=True)
class Run:
    """Releases of an implementation that follow one another and say the same of the model.

    before: the last release before them that has the model, and the digest of what it says, None if there is none.
    """

    implementation: str
    versions: Sequence[str]
    digest: str
    before: tuple[str, str] | None

    def release(self, version: str) -> str:
        """Return one of its releases, or the one before them, by name."""
        return f"{self.implementation}@{version}"


@dataclass(frozen=True, slots=True)
class Column:
    """What releases say of the model; before: what those before them say; changes: since then, by variable."""

    run: Run
    set: VariableSet
    before: VariableSet | None
    changes: Mapping[str, Difference]
    of_whole: Sequence[Difference]

    @property
    def has_words(self) -> bool:
        """Return whether it says something of the device as a whole."""
        return bool(self.of_whole) or not self.set.migratable


class Line(NamedTuple):
    """A variable of the model; cells: what each column says of it, and what changed there.

    off: its off value, or those of each vendor where they are not the same.
    """

    name: str
    latest: Variable
    off: Sequence[str]
    cells: Sequence[tuple[Variable | None, Difference | None]]

    @property
    def is_same(self) -> bool:
        """Return whether all columns say the same of it."""
        return all(
            variable is not None and difference is None and variable.states_as(self.latest)
            for variable, difference in self.cells
        )


@dataclass(frozen=True, slots=True)
class ModelPage:
    """What is told of a model.

    implementations: with how many of their releases have it. columns: of all, or of the chosen implementation.
    column_count: how many there are, also those that are not shown. earlier, later: up to which version the columns
    beside these go, None if there are none. gone: the first release of an implementation that has it no more.
    """

    model: Model
    implementations: Mapping[str, int]
    chosen: str | None
    columns: Sequence[Column]
    column_count: int
    earlier: str | None
    later: str | None
    gone: Sequence[str]
    lines: Sequence[Line]
    profiles: listing.Page


@router.get("/ui/models/{model:path}")
def get_model_page(
    model: str,
    request: Request,
    registry: Registry,
    implementation: Filter = None,
    until: Filter = None,
    release: Filter = None,
) -> Response:
    """Show a device model: its variables as releases state them, with what changed from one to the next marked.

    implementation: only its releases; until: up to this version of it; release: where somebody comes from.
    """
    told = registry.ask(lambda current: _told(current, model, implementation or None, until or None))
    return page(request, "model.html", told=told, release=release or None)


def _told(current: Standing, name: str, implementation: str | None, until: str | None) -> ModelPage:
    model = known_model(name, current)
    with current.reading() as connection:
        stored = sorted(lookup.sets_of_model(connection, name), key=lambda each: (each[0], numeric(each[1]), each[1]))
        published = states(None, include_drafts=False)
        profiles = listing.profiles(connection, {"model": name}, published, None, _MOST_PROFILES)
        runs = {of: list(_runs(of, rows)) for of, rows in groupby(stored, key=itemgetter(0))}
        gone = list(_gone(connection, runs))
    if implementation is not None and implementation not in runs:
        raise unknown(implementation, "implementation")
    chosen = next(iter(runs)) if len(runs) == 1 else implementation
    earlier = later = None
    if chosen is None:
        most = max(_LEAST_OF_EACH, _MOST_COLUMNS // max(1, len(runs)))
        some = [run for each in runs.values() for run in each[-most:]][-_MOST_COLUMNS:]
        count = sum(map(len, runs.values()))
    else:
        own = runs[chosen]
        count = len(own)
        end = sum(until is None or numeric(each.versions[0]) <= numeric(until) for each in own)
        start = max(0, end - _MOST_COLUMNS)
        some = own[start:end]
        earlier = own[start - 1].versions[-1] if start else None
        later = own[min(end + _MOST_COLUMNS, count) - 1].versions[-1] if end < count else None
    columns = [_column(model, run, current) for run in some]
    counts = {of: sum(len(run.versions) for run in each) for of, each in runs.items()}
    lines = list(_lines(model, columns))
    return ModelPage(model, counts, chosen, columns, count, earlier, later, gone, lines, profiles)


def _runs(implementation: str, stored: Iterable[tuple[str, str, str]]) -> Iterator[Run]:
    before = None
    for digest, rows in groupby(stored, key=itemgetter(2)):
        versions = [version for _, version, _ in rows]
        yield Run(implementation, versions, digest, before)
        before = versions[-1], digest


def _gone(connection: sa.Connection, runs: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Iterate over the releases that are the first to have the model no more."""
    ids = lookup.ids(connection, schema.implementation, runs)
    for implementation, each in runs.items():
        last = numeric(each[-1].versions[-1])
        higher = [one for one in lookup.versions(connection, ids[implementation]) if numeric(one) > last]
        if higher:
            yield f"{implementation}@{min(higher, key=numeric)}"


def _column(model: Model, run: Run, current: Standing) -> Column:
    own = current.variable_set(run.digest)
    if run.before is None:
        return Column(run, own, None, {}, ())
    before = current.variable_set(run.before[1])
    vendor = vendor_of(run.implementation)
    found = between_releases(model, (vendor, vendor), before, own)
    changes = {each.variable: each for each in found if each.variable is not None}
    return Column(run, own, before, changes, [each for each in found if each.variable is None])


def _lines(model: Model, columns: Sequence[Column]) -> Iterator[Line]:
    vendors = sorted({vendor_of(each.run.implementation) for each in columns})
    for name in sorted({name for each in columns for name in (*each.set.variables, *each.changes)}):
        cells = [(each.set.variables.get(name), each.changes.get(name)) for each in columns]
        here = [variable for variable, _ in cells]
        # What the first column has no more was in the release before it.
        before = [each.before.variables.get(name) for each in columns if each.before]
        latest = next(each for each in (*reversed(here), *before) if each is not None)
        yield Line(name, latest, _off_values(model, vendors, name), cells)


def _off_values(model: Model, vendors: Sequence[str], name: str) -> list[str]:
    """Return the off value of a variable; of each vendor where they are not the same."""
    stated = {vendor: model.off_values(vendor).get(name) for vendor in vendors}
    told = {vendor: shown(each) for vendor, each in stated.items() if each is not None}
    if len(told) == len(vendors) and len(set(told.values())) == 1:
        return [*told.values()][:1]
    return [f"{each} ({vendor})" for vendor, each in told.items()]
