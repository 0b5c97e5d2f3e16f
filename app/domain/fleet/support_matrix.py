"""The support matrix: which release supports which profile, and why not."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.engine.acceptance import Acceptance
from app.domain.things.erratum import ENTERING, Erratum, forbidding
from app.domain.things.model import Model
from app.domain.things.profile import Profile, Values
from app.domain.things.release import Release
from app.domain.things.variable_set import VariableSet
from app.domain.values.budget import spend, write
from app.domain.values.value import Value
from app.domain.verdict.judge import compare, profile_as_source
from app.domain.verdict.problem import Problem, ProblemCode
from app.domain.verdict.source import Registry, Source
from app.domain.verdict.steps import step_1, step_7, step_8, step_13

# Further problems of one cell are counted, not listed.
MAX_PROBLEMS = 20
# What a cell takes of a request's budget, its models apart.
_STEPS = 20
_STEPS_REMEMBERED = 2
# What a cell takes of an answer, its messages apart.
_BYTES = 150


@dataclass(frozen=True, slots=True)
class Cell:
    """The verdict on a profile at a release: whether every device of it that the release implements can be there.

    models: how many models the profile names; accepted, refused: for how many of those that the release implements it
    accepts the profile, and for how many not. problems: at most MAX_PROBLEMS. problem_count: how many there are.
    """

    release: str
    compatible: bool
    problems: tuple[Problem, ...]
    problem_count: int
    accepted: int
    refused: int
    models: int


@dataclass(frozen=True, slots=True)
class Row:
    """A profile and its cells, in the order of the releases."""

    profile: str
    cells: tuple[Cell, ...]


def support_matrix(
    profiles: Sequence[Profile],
    releases: Sequence[Release],
    registry: Registry,
    acceptance: Acceptance,
    models: Collection[str] = (),
) -> Iterator[Row]:
    """Iterate over the rows of the support matrix.

    models: only these count, and a release has to implement all of them; without any, all that the release implements.
    """
    matrix = _Matrix(registry, acceptance, are_asked=bool(models))
    names = {model for profile in profiles for model in profile.values if not models or model in models}
    columns = []
    for release in releases:
        sets = {name: release.sets[name] for name in sorted(names) if name in release.sets}
        columns.append((release, sets, matrix.column(release, sets)))
    for profile in profiles:
        named = {name: profile.values[name] for name in sorted(profile.values) if name in names}
        row = matrix.row(profile, named)
        yield Row(profile.name, tuple(matrix.known_cell(row, column, profile, named) for column in columns))


class _Matrix:
    """Judges cells; what a release accepts of some content, others that have the same content accept, too."""

    def __init__(self, registry: Registry, acceptance: Acceptance, *, are_asked: bool) -> None:
        self._registry = registry
        self._acceptance = acceptance
        self._are_asked = are_asked
        self._models: dict[str, Model | None] = {}
        # Values and sets that are accepted, by their ids and the release's vendor. The profiles and releases hold them.
        self._accepted: set[tuple[int, int, str]] = set()

    def row(self, profile: Profile, named: Mapping[str, Values]) -> object | None:
        """Return an object that identifies what cells of a profile depend on, None if nothing is remembered."""
        memo = self._acceptance.memo
        if memo is None:
            return None
        for name in named.keys() - self._models.keys():
            self._models[name] = self._registry.model(name)
        models = map(self._models.__getitem__, named)
        asked = "asked" if self._are_asked else None
        return memo.token((*named.values(), *models), ("row", profile.name, profile.state.value, asked, *named))

    def column(self, release: Release, sets: Mapping[str, VariableSet]) -> object | None:
        """Return an object that identifies what cells of a release depend on, None if nothing is remembered."""
        memo = self._acceptance.memo
        if memo is None:
            return None
        errata = tuple(release.errata.get(name) for name in sets)
        words = ("column", str(release.name), release.state.value, *sets)
        return memo.token((release.profiles, *sets.values(), *errata), words)

    def known_cell(
        self,
        row: object | None,
        column: tuple[Release, Mapping[str, VariableSet], object | None],
        profile: Profile,
        named: Mapping[str, Values],
    ) -> Cell:
        """Return a cell, remembered for what its row and its column stand for."""
        release, sets, of_release = column
        memo = self._acceptance.memo
        if memo is None:
            cell = self.cell(profile, named, release, sets)
        else:
            spend(_STEPS_REMEMBERED)
            cell = memo.kept(
                (row, of_release), ("cell",), lambda: self.cell(profile, named, release, sets), _size_of_cell
            )
        write(_BYTES + sum(len(problem.message) for problem in cell.problems))
        return cell

    def cell(
        self, profile: Profile, named: Mapping[str, Values], release: Release, sets: Mapping[str, VariableSet]
    ) -> Cell:
        """Return the verdict on a profile at a release. named, sets: by model, what counts of them."""
        counted = named if self._are_asked else {model: named[model] for model in sorted(named.keys() & sets.keys())}
        spend(_STEPS + len(counted) // 2)
        problems = [*step_7(release, profile.name, profile.state), *step_8(release, profile.name)]
        vendor, implemented, accepted = release.name.vendor, 0, 0
        for model, values in counted.items():
            variable_set = sets.get(model)
            key = (id(values), id(variable_set), vendor)
            implemented += variable_set is not None
            if variable_set is not None and key in self._accepted and not _errata_at(release, model):
                accepted += 1
                continue
            refusals = refusals_at(profile, model, release, self._registry, self._acceptance)
            if refusals:
                problems += [replace(problem, message=f"{model}: {problem.message}") for problem in refusals]
            else:
                accepted += 1
                if not _errata_at(release, model):
                    self._accepted.add(key)
        if not implemented and not self._are_asked:
            message = f"{release.name} implements none of the {len(named)} models that {profile.name} names."
            problems.append(Problem(ProblemCode.MODEL_NOT_SUPPORTED, message))
        return Cell(
            str(release.name),
            not problems,
            tuple(problems[:MAX_PROBLEMS]),
            len(problems),
            accepted,
            implemented - accepted,
            len(named),
        )


def _size_of_cell(cell: Cell) -> int:
    """Return as how many variables a cell counts."""
    return 2 + sum(2 + len(problem.message) // _BYTES for problem in cell.problems)


def refusals_at(
    profile: Profile, name: str, release: Release, registry: Registry, acceptance: Acceptance
) -> Sequence[Problem]:
    """Return why a release does not accept a profile for a model that the profile names."""
    model, variable_set = registry.model(name), release.sets.get(name)
    if model is None:
        # Of which no release is published either.
        return list(step_1(name, variable_set, str(release.name)))
    refusals = acceptance.refusals(profile.values[name], model, str(release.name), variable_set)
    if not _errata_at(release, name):
        return refusals
    source, completed = _completed(profile, model, release)
    return [*refusals, *step_13(source, None, release, completed)]


def errata_concerning(profile: Profile, release: Release, registry: Registry) -> Iterator[Erratum]:
    """Iterate over the errata of a release about a configuration that the profile has there, whatever they forbid."""
    for name in sorted(release.errata.keys() & profile.values.keys()):
        model = registry.model(name)
        if model is not None and release.errata[name]:
            _, completed = _completed(profile, model, release)
            yield from (erratum for erratum in release.errata[name] if erratum.concerns(completed))


def _completed(profile: Profile, model: Model, release: Release) -> tuple[Source, Mapping[str, Value] | None]:
    """Return a profile as the source of a migration, and the configuration that it has at a release."""
    source = profile_as_source(profile.values[model.name], model)
    return source, compare(source, release.name.vendor, release.sets.get(model.name), str(release.name)).completed


def _errata_at(release: Release, model: str) -> Sequence[Erratum]:
    """Return the errata about a model that can refuse a device whatever release it comes from (DESIGN 5, step 13)."""
    return forbidding(release.errata.get(model, ()), ENTERING, None, None)
