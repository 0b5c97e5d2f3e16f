"""The impact of a change of state: the profiles, releases, hosts and listed pairs whose verdicts would flip."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from app.domain.difference import Direction, between_releases
from app.domain.matrix import Acceptance
from app.domain.profile import Profile
from app.domain.question import Destination, serving_implementation
from app.domain.release import Release
from app.domain.restriction import Restrictions, restricted
from app.domain.source import Registry
from app.domain.state import State
from app.domain.variable_set import VariableSet


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
    accepted = {
        profile.name: models
        for profile in profiles
        if _may_be_at(profile, release) and (models := _accepted_models(profile, release, acceptance))
    }
    at_hosts = _AtHosts(registry, acceptance)
    possible = [each for each in profiles if _may_be_at(each, release)]
    needing = at_hosts.flipping(hosts, lambda host: at_hosts.needs(host, release, possible))
    listed = tuple((name, str(release.name)) for name in sorted(accepted) if release.profiles is not None)
    return Impact(tuple(sorted(accepted)), (str(release.name),), needing, listed)


def of_profile(
    profile: Profile, state: State, releases: Sequence[Release], hosts: Iterable[Destination], registry: Registry
) -> Impact:
    """Return what flips when a profile takes a state; releases: all that are published."""
    if _is_usable(profile.state) == _is_usable(state):
        return Impact()
    acceptance = Acceptance(registry)
    published = replace(profile, state=State.PUBLISHED)
    flipped = [
        release
        for release in releases
        if _is_usable(release.state)
        and _may_be_at(published, release)
        and _accepted_models(published, release, acceptance)
    ]
    at_hosts = _AtHosts(registry, acceptance)
    taking = at_hosts.flipping(hosts, lambda host: at_hosts.takes_some(host, published))
    names = tuple(str(release.name) for release in flipped)
    listed = tuple((profile.name, str(release.name)) for release in flipped if release.profiles is not None)
    return Impact((profile.name,) if flipped else (), names, taking, listed)


def _is_usable(state: State) -> bool:
    return state is not State.RETIRED


def _accepted_models(profile: Profile, release: Release, acceptance: Acceptance) -> list[str]:
    models = [model for model in profile.values if model in release.sets]
    return [model for model in models if not acceptance.problems(profile, model, release)]


def _may_be_at(profile: Profile, release: Release) -> bool:
    """Return whether neither the profile's state nor the release's list is in the way (steps 7 and 8)."""
    return _is_usable(profile.state) and (release.profiles is None or profile.name in release.profiles)


class _AtHosts:
    """Judges profiles at hosts; hosts that run the same are judged once."""

    def __init__(self, registry: Registry, acceptance: Acceptance) -> None:
        self._registry = registry
        self._acceptance = acceptance
        # What is kept by identity is kept alive with it.
        self._narrowed: dict[tuple[int, int], tuple[VariableSet, VariableSet, Restrictions]] = {}
        self._covered: dict[tuple[int, int], tuple[bool, VariableSet, VariableSet]] = {}

    def flipping(self, hosts: Iterable[Destination], flips: Callable[[Destination], bool]) -> tuple[str, ...]:
        """Return the hosts that flip, in the order given."""
        known: dict[tuple[tuple[str, ...], int], tuple[bool, Restrictions]] = {}
        flipping = []
        for host in hosts:
            key = (host.releases, id(host.restrict) if host.restrict else 0)
            if key not in known:
                known[key] = (flips(host), host.restrict)
            if known[key][0]:
                flipping.append(host.id)
        return tuple(flipping)

    def needs(self, host: Destination, release: Release, profiles: Sequence[Profile]) -> bool:
        """Return whether some device can be at the host thanks to this release alone.

        profiles: those that may be at the release. What a device is beside its profile nobody knows before it is asked.
        """
        if str(release.name) not in host.releases:
            return False
        known = self._releases(host)
        serving = [model for model, own in release.sets.items() if own.migratable and _serves(release, model, known)]
        others = [
            each
            for each in known
            if each.name != release.name and _is_usable(each.state) and _is_same_product(each, release)
        ]
        for model in serving:
            covering = [other for other in others if self._covers(other, release, model, host)]
            # A device without a profile, then one with each profile that may be here.
            if not covering or any(
                model in profile.values and not any(_may_be_at(profile, other) for other in covering)
                for profile in profiles
            ):
                return True
        return False

    def _covers(self, other: Release, release: Release, name: str, host: Destination) -> bool:
        """Return whether every device of a model that can be at a release can be at another one, too."""
        own, there, model = release.sets[name], other.sets.get(name), self._registry.model(name)
        if there is None or model is None:
            return False
        sides = (self._restricted(own, host.restrict), self._restricted(there, host.restrict))
        key = (id(sides[0]), id(sides[1]))
        if key not in self._covered:
            found = between_releases(model, (release.name.vendor, other.name.vendor), *sides)
            is_covered = not any(Direction.FORWARD in (each.closes or {}) for each in found)
            self._covered[key] = (is_covered, *sides)
        return self._covered[key][0]

    def takes_some(self, host: Destination, profile: Profile) -> bool:
        """Return whether some device with the profile can be at the host."""
        known = self._releases(host)
        return any(
            self._takes(host, release, profile, model)
            for release in known
            if _is_usable(release.state) and _may_be_at(profile, release)
            for model in profile.values
            if model in release.sets and _serves(release, model, known)
        )

    def _releases(self, host: Destination) -> list[Release]:
        return [found for name in host.releases if (found := self._registry.release(name)) is not None]

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
            self._narrowed[key] = (restricted(own, restrict)[0], own, restrict)
        return self._narrowed[key][0]


def _is_same_product(one: Release, other: Release) -> bool:
    return one.name.implementation == other.name.implementation


def _serves(release: Release, model: str, known: Sequence[Release]) -> bool:
    """Return whether a host's devices of the model belong to the release's implementation."""
    return serving_implementation(model, known) == release.name.implementation
