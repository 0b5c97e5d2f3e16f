"""The support matrix: which release supports which profile, and why not."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from app.domain.problem import Problem, ProblemCode
from app.domain.profile import Profile
from app.domain.release import Release
from app.domain.source import Registry
from app.domain.state import State
from app.domain.variable_set import VariableSet
from app.domain.verdict import Crossing, accepting

# More problems of one cell are counted, not told.
MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Cell:
    """The verdict on a profile at a release: whether every device of it that the release implements can be there.

    accepted, refused, models: of how many models the release accepts the profile, of how many it implements it does
    not, and of how many the profile speaks. problems: at most MAX_PROBLEMS. problem_count: how many there are.
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


class Acceptance:
    """Which release accepts which profile for which model, steps 1 to 6 of a verdict; equal content is judged once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        # The registry gives equal content as one object, which these keep alive.
        self._refusals: dict[tuple[int, int, str], tuple[Crossing | None, object, object]] = {}

    def problems(self, profile: Profile, name: str, release: Release) -> Sequence[Problem]:
        """Return why the release does not accept the profile for the model of this name, which it speaks of."""
        return self.of_set(profile, name, release, release.sets.get(name))

    def of_set(self, profile: Profile, name: str, release: Release, own: VariableSet | None) -> Sequence[Problem]:
        """Return why it does not accept the profile for a model with this variable set, such as a host's."""
        values = profile.values[name]
        key = (id(values), id(own), release.name.vendor)
        if key not in self._refusals:
            model = self._registry.model(name)
            crossing = None if model is None else accepting(values, model, release.name.vendor, own)
            # What is accepted needs no words.
            self._refusals[key] = (None if crossing is None or crossing.is_clear else crossing, values, own)
        refusal = self._refusals[key][0]
        return () if refusal is None else refusal.worded(own, str(release.name))


def matrix(
    profiles: Sequence[Profile],
    releases: Sequence[Release],
    registry: Registry,
    models: Collection[str] = (),
    acceptance: Acceptance | None = None,
) -> Iterator[Row]:
    """Iterate over the rows of the support matrix.

    models: only what is said of these, all of which a release then has to implement; none: of all that it implements.
    acceptance: what is known already of who accepts what.
    """
    acceptance = acceptance or Acceptance(registry)
    for profile in profiles:
        named = sorted(model for model in profile.values if not models or model in models)
        cells = (_cell(profile, named, release, acceptance, is_asked=bool(models)) for release in releases)
        yield Row(profile.name, tuple(cells))


def _cell(profile: Profile, models: Sequence[str], release: Release, acceptance: Acceptance, *, is_asked: bool) -> Cell:
    problems = list(_problems_of_states(profile, release))
    supported = [model for model in models if model in release.sets]
    accepted = 0
    for model in models if is_asked else supported:
        found = acceptance.problems(profile, model, release)
        accepted += not found
        problems += [replace(each, message=f"{model}: {each.message}") for each in found]
    if not supported and not is_asked:
        message = f"{release.name} implements none of the {len(models)} models that {profile.name} speaks of"
        problems.append(Problem(ProblemCode.MODEL_NOT_SUPPORTED, message))
    told = tuple(problems[:MAX_PROBLEMS])
    refused = len(supported) - accepted
    return Cell(str(release.name), not problems, told, len(problems), accepted, refused, len(models))


def _problems_of_states(profile: Profile, release: Release) -> Iterator[Problem]:
    """Steps 7 and 8."""
    if release.state is State.RETIRED:
        yield Problem(ProblemCode.RELEASE_RETIRED, f"{release.name} is retired")
    if profile.state is State.RETIRED:
        yield Problem(ProblemCode.PROFILE_RETIRED, f"{profile.name} is retired")
    if release.profiles is not None and profile.name not in release.profiles:
        yield Problem(ProblemCode.PROFILE_NOT_LISTED, f"{release.name} does not list {profile.name}")
