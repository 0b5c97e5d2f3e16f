"""The page of a device model: its variables, compared across releases."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response

from app.api.parameters import Filter
from app.api.session import Asking
from app.domain.fleet.difference import Difference, between_releases
from app.domain.things.model import Model
from app.domain.things.variable import Variable
from app.domain.things.variable_set import Migratable, VariableSet
from app.domain.values.name import ReleaseName, newest_first, numeric, vendor_of, version_order
from app.domain.values.value import shown
from app.pages.page import PageRoute, page
from app.pages.support_matrix import ALL
from app.service.erratum import errata_documents
from app.service.known import UnknownNameError, known_model
from app.storage import lookup, mark, schema
from app.storage.lookup import StoredProfile
from app.storage.mark import Mark
from app.storage.reader import Reader

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MAX_COLUMNS = 8
_MIN_OF_EACH = 2


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive releases of an implementation with the same variable set for the model.

    versions: the lowest first. before: the version and digest of the next lower release that has the model; None if
    there is none.
    """

    implementation: str
    versions: Sequence[str]
    digest: str
    before: tuple[str, str] | None

    def release(self, version: str) -> str:
        """Return the name of the release of a version."""
        return f"{self.implementation}@{version}"


@dataclass(frozen=True, slots=True)
class Column:
    """The variable set of a run; before: the previous set; changes: the differences from it, by variable."""

    run: Run
    set: VariableSet
    before: VariableSet | None
    changes: Mapping[str, Difference]
    of_whole: Sequence[Difference]

    @property
    def has_notes(self) -> bool:
        """Return whether the header of the column has a note about the device as a whole."""
        return bool(self.of_whole) or self.set.migratable is not Migratable.YES or self.set.saved_state is not None


class Line(NamedTuple):
    """A variable of the model; cells: the variable in each column, and its difference from the previous set.

    off: its off value, or one for each vendor if they differ.
    """

    name: str
    latest: Variable
    off: Sequence[str]
    cells: Sequence[tuple[Variable | None, Difference | None]]

    @property
    def is_same(self) -> bool:
        """Return whether the variable is the same in all columns."""
        return all(
            variable is not None and difference is None and variable.states_as(self.latest)
            for variable, difference in self.cells
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs to show, of all implementations or of one, the newest version first.

    count: the number of runs, also of those that are not shown. earlier, later: the last version of the previous and
    of the next runs, None if there are none.
    """

    runs: Sequence[Run]
    count: int
    earlier: str | None
    later: str | None


@dataclass(frozen=True, slots=True)
class ModelPage:
    """The content of the page of a model.

    implementations: with the number of their releases that implement the model, the one that published last first.
    chosen: None: all. gone: by implementation, the first release that no longer implements the model. others: further
    variables of the model, which no column has. marks: of the releases in the columns, with the errata about the model.
    """

    model: Model
    implementations: Mapping[str, int]
    chosen: str | None
    columns: Sequence[Column]
    selection: Selection
    gone: Sequence[str]
    lines: Sequence[Line]
    others: Sequence[str]
    profiles: Sequence[StoredProfile]
    marks: Mapping[str, Mark]

    @property
    def has_notes(self) -> bool:
        """Return whether the header of a column has a note or a badge."""
        return any(column.has_notes for column in self.columns) or any(mark != Mark() for mark in self.marks.values())


@router.get("/ui/models/{model:path}")
def get_model_page(
    model: str,
    request: Request,
    asking: Asking,
    implementation: Filter = None,
    until: Filter = None,
    release: Filter = None,
) -> Response:
    """Show a device model: its variables by release, the newest version first, with the changes marked.

    implementation: only its releases; `all`: of all; without one, of that which published last. until: its last
    version to show. release: where the link is, whose implementation is shown.
    """
    preferred = (release or "").rpartition("@")[0]
    shown = asking.ask_from_thread(
        lambda reader: _shown(reader, model, implementation or None, preferred, until or None)
    )
    return page(
        request,
        "model.html",
        shown=shown,
        release=release or None,
        known_broken=asking.ask_from_thread(partial(_errata, model)),
    )


def _errata(model: str, reader: Reader) -> list[dict[str, Any]]:
    with reader.connection() as connection:
        return errata_documents(connection, model=model)


def _shown(reader: Reader, name: str, implementation: str | None, preferred: str, until: str | None) -> ModelPage:
    """Return the content of the page; preferred: the implementation without one, if it has the model."""
    model = known_model(name, reader.snapshot(models=[name], of_models=()))
    with reader.connection() as connection:
        latest = list(lookup.sets_of_model(connection, name))
        stored = sorted(latest, key=lambda row: (row[0], version_order(row[1])))
        by_name = {product: list(_runs(product, rows)) for product, rows in groupby(stored, key=itemgetter(0))}
        runs = {product: by_name[product] for product in dict.fromkeys(product for product, _, _ in latest)}
        if implementation is None:
            chosen = preferred if preferred in runs else next(iter(runs), None)
        elif implementation in runs:
            chosen = implementation
        elif implementation == ALL:
            chosen = next(iter(runs)) if len(runs) == 1 else None
        else:
            raise UnknownNameError(implementation, "implementation")
        selected = _selected(runs, chosen, until)
        releases = [ReleaseName(run.implementation, version) for run in selected.runs for version in run.versions]
        marks = mark.release_marks(connection, releases, name)
        profiles = sorted(lookup.profiles_naming(connection, [name]), key=lambda profile: newest_first(profile.name))
        gone = list(_gone(connection, runs))
    digests = [run.digest for run in selected.runs] + [run.before[1] for run in selected.runs if run.before]
    sets = reader.variable_sets(digests)
    columns = [_column(model, run, sets) for run in selected.runs]
    counts = {product: sum(len(run.versions) for run in of_product) for product, of_product in runs.items()}
    lines = list(_lines(model, columns))
    stated = {variable for statements in model.statements.values() for variable in statements}
    own_names = {column.set.own_name(line.name) for column in columns for line in lines}
    others = sorted(stated - own_names - {line.name for line in lines})
    return ModelPage(model, counts, chosen, columns, selected, gone, lines, others, profiles, marks)


def _selected(runs: Mapping[str, Sequence[Run]], chosen: str | None, until: str | None) -> Selection:
    """Return the runs to show, the newest version first; chosen: only these of an implementation."""
    if chosen is None:
        limit = max(_MIN_OF_EACH, _MAX_COLUMNS // max(1, len(runs)))
        newest = [run for of_product in runs.values() for run in of_product[-limit:][::-1]]
        return Selection(newest[:_MAX_COLUMNS], sum(map(len, runs.values())), None, None)
    own = runs[chosen]
    end = sum(until is None or numeric(run.versions[0]) <= numeric(until) for run in own)
    start = max(0, end - _MAX_COLUMNS)
    earlier = own[start - 1].versions[-1] if start else None
    later = own[min(end + _MAX_COLUMNS, len(own)) - 1].versions[-1] if end < len(own) else None
    return Selection(own[start:end][::-1], len(own), earlier, later)


def _runs(implementation: str, stored: Iterable[tuple[str, str, str]]) -> Iterator[Run]:
    before = None
    for digest, rows in groupby(stored, key=itemgetter(2)):
        versions = [version for _, version, _ in rows]
        yield Run(implementation, versions, digest, before)
        before = versions[-1], digest


def _gone(connection: sa.Connection, runs: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Iterate over the first release of each implementation that no longer has the model."""
    ids = lookup.ids(connection, schema.implementation, runs)
    for implementation, of_product in runs.items():
        last = numeric(of_product[-1].versions[-1])
        versions = lookup.versions(connection, ids[implementation])
        higher = [version for version in versions if numeric(version) > last]
        if higher:
            yield f"{implementation}@{min(higher, key=numeric)}"


def _column(model: Model, run: Run, sets: Mapping[str, VariableSet]) -> Column:
    own = sets[run.digest]
    if run.before is None:
        return Column(run, own, None, {}, ())
    before = sets[run.before[1]]
    vendor = vendor_of(run.implementation)
    differences = between_releases(model, (vendor, vendor), before, own)
    changes = {difference.variable: difference for difference in differences if difference.variable is not None}
    return Column(run, own, before, changes, [change for change in differences if change.variable is None])


def _lines(model: Model, columns: Sequence[Column]) -> Iterator[Line]:
    vendors = sorted({vendor_of(column.run.implementation) for column in columns})
    for name in sorted({name for column in columns for name in (*column.set.variables, *column.changes)}):
        cells = [(column.set.variables.get(name), column.changes.get(name)) for column in columns]
        stated = [variable for variable, _ in cells]
        # A variable that even the lowest column lacks is in the release before it.
        before = [column.before.variables.get(name) for column in columns if column.before]
        latest = next(variable for variable in (*stated, *before) if variable is not None)
        yield Line(name, latest, _off_values(model, vendors, name), cells)


def _off_values(model: Model, vendors: Sequence[str], name: str) -> list[str]:
    """Return the off value of a variable, or one for each vendor if they differ."""
    values = {vendor: model.off_values(vendor).get(name) for vendor in vendors}
    stated = {vendor: shown(value) for vendor, value in values.items() if value is not None}
    if len(stated) == len(vendors) and len(set(stated.values())) == 1:
        return [*stated.values()][:1]
    return [f"{value} ({vendor})" for vendor, value in stated.items()]
