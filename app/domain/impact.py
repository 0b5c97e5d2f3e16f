"""The impact of a change of state: the profiles, releases, hosts and listed pairs whose verdicts would flip."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.matrix import Acceptance
from app.domain.profile import Profile
from app.domain.question import Destination, Restrictions, restricted, serving_implementation
from app.domain.release import Release
from app.domain.state import State
from app.domain.variable_set import VariableSet
from app.domain.verdict import Registry


@dataclass(frozen=True, slots=True)
class Impact:
    """What a change of state flips, from compatible to incompatible or back.

    profiles, releases: those of which some verdict flips. listed: (profile, release) pairs, the profile on the
    release's list. hosts: those where some device that could go there no longer can, or the other way round.
    """

    profiles: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    listed: tuple[tuple[str, str], ...] = ()


def of_release(
    release: Release, state: State, profiles: Sequence[Profile], hosts: Iterable[Destination], registry: Registry
) -> Impact:
    """Return what flips when a release takes a state; profiles: all that are published."""
    if _is_usable(release.state) == _is_usable(state):
        return Impact()
    acceptance = Acceptance(registry)
    usable = [profile for profile in profiles if _is_usable(profile.state)]
    flipped = {
        profile.name: models
        for profile in usable
        if (release.profiles is None or profile.name in release.profiles)
        and (models := _accepted_models(profile, release, acceptance))
    }
    needing = _Needs(release, usable, flipped, registry).hosts(hosts)
    listed = tuple((name, str(release.name)) for name in sorted(flipped) if release.profiles is not None)
    return Impact(tuple(sorted(flipped)), (str(release.name),) if flipped else (), needing, listed)


def of_profile(
    profile: Profile, state: State, releases: Sequence[Release], hosts: Iterable[Destination], registry: Registry
) -> Impact:
    """Return what flips when a profile takes a state; releases: all that are published."""
    if _is_usable(profile.state) == _is_usable(state):
        return Impact()
    acceptance = Acceptance(registry)
    flipped = [
        release
        for release in releases
        if _is_usable(release.state)
        and (release.profiles is None or profile.name in release.profiles)
        and _accepted_models(profile, release, acceptance)
    ]
    names = {str(release.name) for release in flipped}
    needing = [host.id for host in hosts if names.intersection(host.releases)]
    listed = tuple((profile.name, str(release.name)) for release in flipped if release.profiles is not None)
    return Impact(
        (profile.name,) if flipped else (), tuple(map(str, (r.name for r in flipped))), tuple(needing), listed
    )


def _is_usable(state: State) -> bool:
    return state is not State.RETIRED


def _accepted_models(profile: Profile, release: Release, acceptance: Acceptance) -> list[str]:
    models = [model for model in profile.values if model in release.sets]
    return [model for model in models if not acceptance.problems(profile, model, release)]


class _Needs:
    """Finds the hosts where some device can be thanks to one release alone; hosts that run the same are judged once."""

    def __init__(
        self,
        release: Release,
        profiles: Sequence[Profile],
        accepted: Mapping[str, Sequence[str]],
        registry: Registry,
    ) -> None:
        """accepted: the models of each profile that the release accepts, by the profile's name."""
        self._release = release
        self._accepted = [(each, accepted[each.name]) for each in profiles if each.name in accepted]
        self._registry = registry
        self._acceptance = Acceptance(registry)
        self._narrowed: dict[tuple[int, int], VariableSet] = {}
        # What is kept by identity is kept alive with it.
        self._alive: list[object] = []

    def hosts(self, hosts: Iterable[Destination]) -> tuple[str, ...]:
        """Return the hosts that need the release, in the order given."""
        known: dict[tuple[tuple[str, ...], int], bool] = {}
        needing = []
        for host in hosts:
            if str(self._release.name) not in host.releases:
                continue
            key = (host.releases, id(host.restrict) if host.restrict else 0)
            if key not in known:
                self._alive.append(host.restrict)
                known[key] = self._needs(host)
            if known[key]:
                needing.append(host.id)
        return tuple(needing)

    def _needs(self, host: Destination) -> bool:
        known = [found for name in host.releases if (found := self._registry.release(name)) is not None]
        others = [each for each in known if each.name != self._release.name and _is_usable(each.state)]
        asked: set[tuple[str, int, tuple[str, ...]]] = set()
        for profile, models in self._accepted:
            listing = [each for each in others if each.profiles is None or profile.name in each.profiles]
            names = tuple(str(each.name) for each in listing)
            for model in models:
                # Equal values are one object.
                key = (model, id(profile.values[model]), names)
                if key in asked:
                    continue
                asked.add(key)
                if self._takes(host, self._release, profile, model) and not any(
                    self._takes(host, other, profile, model)
                    for other in listing
                    if other.name.implementation == serving_implementation(model, known)
                ):
                    return True
        return False

    def _takes(self, host: Destination, release: Release, profile: Profile, model: str) -> bool:
        own = release.sets.get(model)
        if own is None:
            return False
        return not self._acceptance.of_set(profile, model, release, self._restricted(own, host.restrict))

    def _restricted(self, own: VariableSet, restrict: Restrictions) -> VariableSet:
        if own.model not in restrict:
            return own
        key = (id(own), id(restrict))
        if key not in self._narrowed:
            self._narrowed[key] = restricted(own, restrict)[0]
        return self._narrowed[key]
