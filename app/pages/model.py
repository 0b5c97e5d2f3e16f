"""A device model: its variables across releases, side by side, with what changed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from app.api.access import Registry
from app.api.errors import unknown
from app.api.parameters import Filter
from app.domain.difference import Difference, between_releases
from app.domain.evolution import numeric
from app.domain.model import Model
from app.domain.name import is_name, vendor_of
from app.domain.state import State
from app.domain.value import Value
from app.domain.variable import Variable
from app.domain.variable_set import VariableSet
from app.pages.page import PageRoute, page
from app.storage import listing, lookup
from app.storage.catalog import Standing

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MOST_COLUMNS = 8
_LEAST_OF_EACH = 2
_MOST_PROFILES = 30


@dataclass(frozen=True, slots=True)
class _Run:
    """Releases of an implementation that follow one another and say the same; before: what those before them say."""

    implementation: str
    versions: Sequence[str]
    digest: str
    before: str | None


@dataclass(frozen=True, slots=True)
class Column:
    """What releases say of the model; changes: since the releases before them, by variable, None: the whole model."""

    run: _Run
    set: VariableSet
    changes: Mapping[str | None, Sequence[Difference]]

    @property
    def is_changed(self) -> bool:
        """Return whether it says something else than the releases before, or of the device as a whole."""
        return bool(self.changes) or not self.set.migratable


class Line(NamedTuple):
    """A variable of the model; cells: what each column says of it, and what changed there."""

    name: str
    latest: Variable
    off: Value | None
    cells: Sequence[tuple[Variable | None, Difference | None]]

    @property
    def is_same(self) -> bool:
        """Return whether all columns say the same of it."""
        return all(variable == self.latest and difference is None for variable, difference in self.cells)


@dataclass(frozen=True, slots=True)
class _Told:
    """What is told of a model.

    implementations: with how many of their releases have it. earlier: up to which version the columns before these go,
    None if there are none.
    """

    model: Model
    implementations: Mapping[str, int]
    columns: Sequence[Column]
    earlier: str | None
    lines: Sequence[Line]
    profiles: listing.Page


@router.get("/ui/models/{model:path}")
def get_model_page(
    model: str,
    request: Request,
    registry: Registry,
    implementation: Filter = None,
    until: Filter = None,
) -> Response:
    """Show a device model: its variables as releases state them, with what changed from one to the next marked.

    implementation: only its releases; until: up to this version of it.
    """
    told = registry.ask(lambda current: _told(current, model, implementation or None, until or None))
    return page(request, "model.html", told=told, implementation=implementation or None)


def _told(current: Standing, name: str, implementation: str | None, until: str | None) -> _Told:
    model = current.model(name) if is_name(name) else None
    if model is None:
        raise unknown(name, "model")
    with current.reading() as connection:
        stored = sorted(lookup.sets_of_model(connection, name), key=lambda each: (each[0], numeric(each[1]), each[1]))
        published = frozenset(State) - {State.DRAFT}
        profiles = listing.profiles(connection, {"model": name}, published, None, _MOST_PROFILES)
    runs = {of: list(_runs(of, rows)) for of, rows in groupby(stored, key=itemgetter(0))}
    if implementation is not None and implementation not in runs:
        raise unknown(implementation, "implementation")
    if implementation is None:
        most = max(_LEAST_OF_EACH, _MOST_COLUMNS // len(runs))
        chosen = [run for each in runs.values() for run in each[-most:]][-_MOST_COLUMNS:]
        earlier = None
    else:
        own = [each for each in runs[implementation] if until is None or numeric(each.versions[0]) <= numeric(until)]
        chosen = own[-_MOST_COLUMNS:]
        earlier = own[-_MOST_COLUMNS - 1].versions[-1] if len(own) > _MOST_COLUMNS else None
    columns = [_column(model, run, current) for run in chosen]
    counts = {of: sum(len(run.versions) for run in each) for of, each in runs.items()}
    return _Told(model, counts, columns, earlier, list(_lines(model, columns)), profiles)


def _runs(implementation: str, stored: Iterable[tuple[str, str, str]]) -> Iterator[_Run]:
    before = None
    for digest, rows in groupby(stored, key=itemgetter(2)):
        yield _Run(implementation, [version for _, version, _ in rows], digest, before)
        before = digest


def _column(model: Model, run: _Run, current: Standing) -> Column:
    own = current.variable_set(run.digest)
    changes: dict[str | None, list[Difference]] = {}
    if run.before is not None:
        vendor = vendor_of(run.implementation)
        for each in between_releases(model, (vendor, vendor), current.variable_set(run.before), own):
            changes.setdefault(each.variable, []).append(each)
    return Column(run, own, changes)


def _lines(model: Model, columns: Sequence[Column]) -> Iterator[Line]:
    for name in sorted({name for each in columns for name in (*each.set.variables, *each.changes) if name is not None}):
        cells = [(each.set.variables.get(name), next(iter(each.changes.get(name, ())), None)) for each in columns]
        latest = next((variable for variable, _ in reversed(cells) if variable is not None), None)
        if latest is not None:
            statement = model.statement_for(vendor_of(columns[-1].run.implementation), name)
            yield Line(name, latest, statement.off_value if statement else None, cells)
