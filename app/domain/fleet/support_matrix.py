"""The support matrix: which releases, or which kinds of hosts, support which profile, and why not."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from app.domain.engine.acceptance import Acceptance
from app.domain.fleet.kind import SetsAtHosts
from app.domain.things.erratum import ENTERING, Erratum, forbidding
from app.domain.things.model import Model
from app.domain.things.profile import Profile, Values
from app.domain.things.release import Release
from app.domain.values.budget import spend, write
from app.domain.values.lazy import lazy
from app.domain.verdict.destination import Destination
from app.domain.verdict.host import Host, Runner, unknown_release
from app.domain.verdict.judge import Compared, compare, destination_name, profile_as_source
from app.domain.verdict.problem import Problem, ProblemCode
from app.domain.verdict.source import Registry, Source
from app.domain.verdict.steps import step_1, step_7, step_8, step_12_of_profile, step_13

# Further problems of one cell are counted, not listed.
MAX_PROBLEMS = 20
# What a cell takes of a request's budget, its models apart.
_STEPS = 20
_STEPS_REMEMBERED = 2
# What a cell takes of an answer, its messages apart.
_BYTES = 150


@dataclass(frozen=True, slots=True)
class Cell:
    """The verdict on a profile at a release, or at the hosts of a kind: whether all its devices can be there.

    column: the name of the release or the digest of the kind, None of hosts of which nothing is known. models: how many
    models the profile names; accepted, refused: for how many of those that are implemented there the profile is
    accepted, and for how many not. problems: at most MAX_PROBLEMS. problem_count: how many there are.
    """

    column: str | None
    compatible: bool
    problems: tuple[Problem, ...]
    problem_count: int
    accepted: int
    refused: int
    models: int


@dataclass(frozen=True, slots=True)
class Row:
    """A profile and its cells, in the order of the columns."""

    profile: str
    cells: tuple[Cell, ...]


class KindColumn(NamedTuple):
    """Hosts of a kind as a column of the matrix. digest: of the kind, None if nothing is known of first.

    first: what stands for the hosts.
    """

    digest: str | None
    first: Destination


def support_matrix(
    profiles: Sequence[Profile],
    releases: Iterable[Release],
    registry: Registry,
    acceptance: Acceptance,
    models: Collection[str] = (),
) -> Iterator[Row]:
    """Iterate over the rows of the support matrix with a column for each release.

    models: only these count, and a release has to implement all of them; without any, all that the release implements.
    """
    matrix = _Matrix(profiles, registry, acceptance, models)
    return matrix.rows([_AtRelease(release, matrix.models) for release in releases])


def kind_matrix(
    profiles: Sequence[Profile],
    kinds: Iterable[KindColumn],
    registry: Registry,
    acceptance: Acceptance,
    models: Collection[str] = (),
) -> Iterator[Row]:
    """Iterate over the rows of the support matrix with a column for each kind of hosts.

    A kind accepts a profile for a model if a new device of the model, made with the profile and asked about alone,
    could be re-created on its hosts (DESIGN 5: which release and unit serve it, what the hosts restrict and resolve,
    policy strict). The parts that the device needs are taken as given, because they belong to a VM. models: only these
    count, and the hosts have to implement all of them; without any, all that they implement.
    """
    matrix = _Matrix(profiles, registry, acceptance, models)
    sets = SetsAtHosts()
    return matrix.rows([_AtKind(kind, matrix.models, registry, sets) for kind in kinds])


class _Serving(NamedTuple):
    """The releases that are tried for a device in a column, in the host's order: of the whole host, or of its units."""

    releases: Sequence[Release]
    are_of_units: bool = False


_NOTHING = _Serving(())


class _Column(Protocol):
    """What a column stands for: a release, or hosts of a kind."""

    @property
    def name(self) -> str | None:
        """What cells call it."""

    @property
    def what(self) -> str:
        """What messages call it."""

    @property
    def releases(self) -> Sequence[Release]:
        """Its releases that are known."""

    @property
    def models(self) -> AbstractSet[str]:
        """The models of the matrix that one of these implements."""

    @property
    def first(self) -> Release | None:
        """The release whose problems count where none implements a model; None: that is not known."""

    @property
    def unknown(self) -> Sequence[Problem]:
        """The problems because of which `first` is None."""

    @property
    def words(self) -> tuple[str, ...] | None:
        """The part of the memo key that separates columns with the same releases; None: cells are not remembered."""

    def serving(self, model: str) -> _Serving:
        """Return what is tried for a device of a model; nothing where no release implements it."""


class _AtRelease:
    """The column of a release."""

    unknown: Sequence[Problem] = ()

    def __init__(self, release: Release, models: AbstractSet[str]) -> None:
        self.name = self.what = str(release.name)
        self.releases = (release,)
        self.first = release
        self.models = {model for model in models if model in release.sets}
        self.words = ("release",)
        self._serving = _Serving(self.releases)

    def serving(self, model: str) -> _Serving:
        return self._serving if model in self.models else _NOTHING


class _AtKind:
    """The column of the hosts of a kind; which release serves what is found out when it is first asked."""

    def __init__(self, kind: KindColumn, models: AbstractSet[str], registry: Registry, sets: SetsAtHosts) -> None:
        self.name = kind.digest
        self.what = "A host of this kind"
        self._kind = kind
        self._of_matrix = models
        self._sets = sets
        names = kind.first.all_releases()
        spend(len(names))
        known = {name: registry.release(name) for name in names}
        self.releases = [release for release in known.values() if release is not None]
        missing = [unknown_release(name) for name, release in known.items() if release is None]
        self.unknown = missing if kind.first.problem is None else [kind.first.problem]
        self.words = None if kind.digest is None else ("kind", kind.digest)
        self._registry = registry
        self._known: dict[str, _Serving] = {}
        self._at: dict[tuple[int, int | None], Release] = {}

    @lazy
    def models(self) -> AbstractSet[str]:
        return {model for model in self._of_matrix if any(model in release.sets for release in self.releases)}

    @lazy
    def _host(self) -> Host:
        spend(len(self._kind.first.units))
        return Host.of(self._kind.first, self._registry)

    @property
    def first(self) -> Release | None:
        return None if self.unknown else self._host.whole.releases[0]

    def serving(self, model: str) -> _Serving:
        if model not in self.models:
            return _NOTHING
        if model not in self._known:
            choices = list(self._host.choices(model))
            spend(len(choices))
            releases = [self._release_at(runner, release) for runner, own in choices for release in own]
            self._known[model] = _Serving(releases, any(runner.unit is not None for runner, _ in choices))
        return self._known[model]

    def _release_at(self, runner: Runner, release: Release) -> Release:
        """Return a release with what the hosts, and the unit, restrict and resolve."""
        key = (id(release), runner.position)
        if key not in self._at:
            self._at[key] = self._sets.release_at(self._kind.first, runner.unit, release, self._of_matrix)
        return self._at[key]


class _Matrix:
    """Judges cells; what a release accepts of some content, others that have the same content accept, too.

    models: those that the matrix is about.
    """

    def __init__(
        self, profiles: Sequence[Profile], registry: Registry, acceptance: Acceptance, models: Collection[str]
    ) -> None:
        self._profiles = profiles
        self._registry = registry
        self._acceptance = acceptance
        self._are_asked = bool(models)
        self._models: dict[str, Model | None] = {}
        # Values and sets that are accepted, by their ids and the release's vendor. The profiles and releases hold them.
        self._accepted: set[tuple[int, int, str]] = set()
        self.models = {model for profile in profiles for model in profile.values if not models or model in models}

    def rows(self, columns: Sequence[_Column]) -> Iterator[Row]:
        """Iterate over the rows."""
        releases: dict[int, object] = {}
        tokens = [self._token_of_column(column, releases) for column in columns]
        for profile in self._profiles:
            named = {name: profile.values[name] for name in sorted(profile.values) if name in self.models}
            row = self._token_of_row(profile, named)
            cells = (
                self._known_cell(row, token, column, profile, named)
                for column, token in zip(columns, tokens, strict=True)
            )
            yield Row(profile.name, tuple(cells))

    def _token_of_row(self, profile: Profile, named: Mapping[str, Values]) -> object | None:
        """Return an object that identifies what cells of a profile depend on, None if nothing is remembered."""
        memo = self._acceptance.memo
        if memo is None:
            return None
        for name in named.keys() - self._models.keys():
            self._models[name] = self._registry.model(name)
        models = map(self._models.__getitem__, named)
        asked = "asked" if self._are_asked else None
        return memo.token((*named.values(), *models), ("row", profile.name, profile.state.value, asked, *named))

    def _token_of_column(self, column: _Column, releases: dict[int, object]) -> object | None:
        """Return an object that identifies what cells of a column depend on, None if nothing is remembered.

        releases: what identifies each release, by its id; columns share them. A digest says all that hosts state.
        """
        memo = self._acceptance.memo
        if memo is None or column.words is None:
            return None
        for release in column.releases:
            if id(release) not in releases:
                sets = {name: release.sets[name] for name in sorted(self.models) if name in release.sets}
                errata = tuple(release.errata.get(name) for name in sets)
                words = ("column", str(release.name), release.state.value, *sets)
                releases[id(release)] = memo.token((release.profiles, *sets.values(), *errata), words)
        return memo.token(tuple(releases[id(release)] for release in column.releases), column.words)

    def _known_cell(
        self,
        row: object | None,
        of_column: object | None,
        column: _Column,
        profile: Profile,
        named: Mapping[str, Values],
    ) -> Cell:
        """Return a cell, remembered for what its row and its column stand for."""
        memo = self._acceptance.memo
        if memo is None or of_column is None:
            cell = self._cell(profile, named, column)
        else:
            spend(_STEPS_REMEMBERED)
            cell = memo.kept((row, of_column), ("cell",), lambda: self._cell(profile, named, column), _size_of_cell)
        write(_BYTES + sum(len(problem.message) for problem in cell.problems))
        return cell

    def _cell(self, profile: Profile, named: Mapping[str, Values], column: _Column) -> Cell:
        """Return the verdict on a profile at a column. named: by model, what counts of the profile."""
        counted = named if self._are_asked else {name: named[name] for name in sorted(named.keys() & column.models)}
        spend(_STEPS + len(counted) // 2)
        of_releases: dict[int, Sequence[Problem]] = {}
        whole: list[Problem] = []
        refused: list[Problem] = []
        implemented = accepted = 0
        for model in counted:
            serving = column.serving(model)
            implemented += bool(serving.releases)
            if not serving.releases and (first := column.first) is not None:
                serving = _Serving([first])
            if not serving.releases:
                whole += [problem for problem in column.unknown if problem not in whole]
                continue
            of_release, refusals = self._at_best(profile, model, serving, of_releases)
            whole += [problem for problem in of_release if problem not in whole]
            refused += [replace(problem, message=f"{model}: {problem.message}") for problem in refusals]
            accepted += not refusals
        if not counted:
            whole += column.unknown if column.first is None else _of_release(profile, column.first)
            if column.first is not None and not self._are_asked:
                message = f"{column.what} implements none of the {len(named)} models that {profile.name} names."
                refused.append(Problem(ProblemCode.MODEL_NOT_SUPPORTED, message))
        problems = [*whole, *refused]
        return Cell(
            column.name,
            not problems,
            tuple(problems[:MAX_PROBLEMS]),
            len(problems),
            accepted,
            implemented - accepted,
            len(named),
        )

    def _at_best(
        self, profile: Profile, model: str, serving: _Serving, of_releases: dict[int, Sequence[Problem]]
    ) -> tuple[Sequence[Problem], Sequence[Problem]]:
        """Return the problems of a device with a profile: with the release and the profile as a whole, and its own.

        None where a release takes it; otherwise those at the first release of the host, or of its units at the one with
        the fewest (DESIGN 5). of_releases: remembers the former by the id of the release.
        """
        answers: list[tuple[Sequence[Problem], Sequence[Problem]]] = []
        for release in serving.releases:
            if answers:
                spend()
            if id(release) not in of_releases:
                of_releases[id(release)] = _of_release(profile, release)
            problems = of_releases[id(release)], self._refusals(profile, model, release)
            if not any(problems):
                return problems
            answers.append(problems)
        return min(answers, key=lambda problems: sum(map(len, problems))) if serving.are_of_units else answers[0]

    def _refusals(self, profile: Profile, model: str, release: Release) -> Sequence[Problem]:
        variable_set = release.sets.get(model)
        key = (id(profile.values[model]), id(variable_set), release.name.vendor)
        is_content = not _errata_at(release, model) and not any(step_12_of_profile(release, profile.name, variable_set))
        if variable_set is not None and is_content and key in self._accepted:
            return ()
        refusals = refusals_at(profile, model, release, self._registry, self._acceptance)
        if is_content and not refusals:
            self._accepted.add(key)
        return refusals


def _of_release(profile: Profile, release: Release) -> Sequence[Problem]:
    """Return what the states and the release's list of profiles refuse (DESIGN 5, steps 7 and 8)."""
    return (*step_7(release, profile.name, profile.state), *step_8(release, profile.name))


def _size_of_cell(cell: Cell) -> int:
    """Return as how many variables a cell counts."""
    return 2 + sum(2 + len(problem.message) // _BYTES for problem in cell.problems)


def refusals_at(
    profile: Profile, name: str, release: Release, registry: Registry, acceptance: Acceptance
) -> Sequence[Problem]:
    """Return why no device of a model that the profile names can be at a release, its list and the states apart.

    DESIGN 5, steps 1 to 6, 12 and 13.
    """
    model, variable_set = registry.model(name), release.sets.get(name)
    what = destination_name(release, variable_set)
    if model is None:
        # A model that is not published has no release either.
        return list(step_1(name, variable_set, what))
    refusals = [
        *acceptance.refusals(profile.values[name], model, what, variable_set),
        *step_12_of_profile(release, profile.name, variable_set),
    ]
    if not _errata_at(release, name):
        return refusals
    source, compared = _compared(profile, model, release)
    return [*refusals, *step_13(source, None, release, compared.there or {})]


def errata_concerning(profile: Profile, release: Release, registry: Registry) -> Iterator[Erratum]:
    """Iterate over the errata of a release about a configuration that the profile has there, whatever they forbid."""
    for name in sorted(release.errata.keys() & profile.values.keys()):
        model = registry.model(name)
        if model is not None and release.errata[name]:
            _, compared = _compared(profile, model, release)
            yield from (erratum for erratum in release.errata[name] if erratum.concerns(compared.completed))


def _compared(profile: Profile, model: Model, release: Release) -> tuple[Source, Compared]:
    """Return a profile as the source of a migration, and what it is at a release."""
    source = profile_as_source(profile.values[model.name], model)
    return source, compare(source, release.name.vendor, release.sets.get(model.name), str(release.name))


def _errata_at(release: Release, model: str) -> Sequence[Erratum]:
    """Return the errata about a model that can refuse a device whatever release it comes from (DESIGN 5, step 13)."""
    return forbidding(release.errata.get(model, ()), ENTERING, None, None)
