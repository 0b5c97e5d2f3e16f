"""The support matrix: which release supports which profile, and why not."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from app.domain.engine.acceptance import Acceptance
from app.domain.things.profile import Profile
from app.domain.things.release import Release
from app.domain.verdict.judge import compare, profile_as_source
from app.domain.verdict.problem import Problem, ProblemCode
from app.domain.verdict.source import Registry
from app.domain.verdict.steps import step_7, step_8, step_13

# Further problems of one cell are counted, not listed.
MAX_PROBLEMS = 20


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
    for profile in profiles:
        named = sorted(model for model in profile.values if not models or model in models)
        cells = [_cell(profile, named, release, registry, acceptance, are_asked=bool(models)) for release in releases]
        yield Row(profile.name, tuple(cells))


def _cell(
    profile: Profile,
    models: Sequence[str],
    release: Release,
    registry: Registry,
    acceptance: Acceptance,
    *,
    are_asked: bool,
) -> Cell:
    problems = [*step_7(release, profile.name, profile.state), *step_8(release, profile.name)]
    implemented = [model for model in models if model in release.sets]
    accepted = 0
    for model in models if are_asked else implemented:
        refusals = refusals_at(profile, model, release, registry, acceptance)
        accepted += not refusals
        problems += [replace(problem, message=f"{model}: {problem.message}") for problem in refusals]
    if not implemented and not are_asked:
        message = f"{release.name} implements none of the {len(models)} models that {profile.name} names."
        problems.append(Problem(ProblemCode.MODEL_NOT_SUPPORTED, message))
    return Cell(
        str(release.name),
        not problems,
        tuple(problems[:MAX_PROBLEMS]),
        len(problems),
        accepted,
        len(implemented) - accepted,
        len(models),
    )


def refusals_at(
    profile: Profile, name: str, release: Release, registry: Registry, acceptance: Acceptance
) -> Sequence[Problem]:
    """Return why a release does not accept a profile for a model that the profile names."""
    model, variable_set = registry.model(name), release.sets.get(name)
    if model is None:
        return ()
    refusals = acceptance.refusals(profile.values[name], model, str(release.name), variable_set)
    if not release.errata.get(name):
        return refusals
    source = profile_as_source(profile.values[name], model)
    completed = compare(source, release.name.vendor, variable_set, str(release.name)).completed
    return [*refusals, *step_13(source, None, release, completed)]
