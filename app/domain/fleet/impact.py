"""The impact of a change of state: the profiles, releases, hosts and listed pairs whose verdicts would flip."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from app.domain.engine.acceptance import Acceptance
from app.domain.fleet.difference import Direction, between_releases
from app.domain.fleet.support_matrix import refusals_at
from app.domain.things.profile import Profile
from app.domain.things.release import Release
from app.domain.things.restriction import Restrictions, restricted
from app.domain.things.variable_set import Migratable, VariableSet
from app.domain.values.state import State
from app.domain.verdict.destination import Destination
from app.domain.verdict.host import serving_implementation
from app.domain.verdict.source import Registry
from app.domain.verdict.steps import lists, step_7, step_8


@dataclass(frozen=True, slots=True)
class Impact:
    """What a change of state flips, from compatible to incompatible or back.

    profiles, releases: those of which some verdict flips. listed: (profile, release) pairs, the profile on the
    release's list. hosts: those where some device that could be there no longer can, or the other way round.
    """

    profiles: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    listed: tuple[tuple[str, str], ...] = ()


def of_release(
    release: Release, state: State, profiles: Sequence[Profile], hosts: Iterable[Destination], registry: Registry
) -> Impact:
    """Return what flips when a release takes a state; profiles: all that are published."""
    if _is_retired(release.state) == _is_retired(state):
        return Impact()
    acceptance = Acceptance()
    published = replace(release, state=State.PUBLISHED)
    possible = [profile for profile in profiles if _can_be_at(profile, published)]
    accepted = [profile.name for profile in possible if _accepted_models(profile, release, registry, acceptance)]
    at_hosts = _AtHosts(registry, acceptance)
    needing = at_hosts.flipping(hosts, lambda host: at_hosts.needs(host, published, possible))
    listed = [(name, str(release.name)) for name in sorted(accepted) if release.profiles is not None]
    return Impact(tuple(sorted(accepted)), (str(release.name),), needing, tuple(listed))


def of_profile(
    profile: Profile, state: State, releases: Sequence[Release], hosts: Iterable[Destination], registry: Registry
) -> Impact:
    """Return what flips when a profile takes a state; releases: all that are published."""
    if _is_retired(profile.state) == _is_retired(state):
        return Impact()
    acceptance = Acceptance()
    published = replace(profile, state=State.PUBLISHED)
    flipped = [
        release
        for release in releases
        if _can_be_at(published, release) and _accepted_models(published, release, registry, acceptance)
    ]
    at_hosts = _AtHosts(registry, acceptance)
    taking = at_hosts.flipping(hosts, lambda host: at_hosts.takes_some(host, published))
    names = tuple(str(release.name) for release in flipped)
    listed = tuple((profile.name, str(release.name)) for release in flipped if release.profiles is not None)
    return Impact((profile.name,) if flipped else (), names, taking, listed)


def _is_retired(state: State) -> bool:
    return state is State.RETIRED


def _accepted_models(profile: Profile, release: Release, registry: Registry, acceptance: Acceptance) -> list[str]:
    models = [model for model in profile.values if model in release.sets]
    return [model for model in models if not refusals_at(profile, model, release, registry, acceptance)]


def _can_be_at(profile: Profile, release: Release) -> bool:
    """Return whether neither a state nor the release's list refuses the profile (DESIGN 5, steps 7 and 8)."""
    refusals = (*step_7(release, profile.name, profile.state), *step_8(release, profile.name))
    return not refusals


class _AtHosts:
    """Judges profiles at hosts; hosts that run the same are judged once."""

    def __init__(self, registry: Registry, acceptance: Acceptance) -> None:
        self._registry = registry
        self._acceptance = acceptance
        # Keyed by ids; the objects are held too, so that no id is reused.
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

        profiles: those that can be at the release. Any values that the release allows count: what else a device sets
        is not known before it is asked about.
        """
        if str(release.name) not in host.releases:
            return False
        known = self._releases(host)
        serving = [
            model
            for model, own in release.sets.items()
            if own.migratable is not Migratable.NO and _serves(release, model, known)
        ]
        others = [
            other
            for other in known
            if other.name != release.name and not _is_retired(other.state) and _is_same_product(other, release)
        ]
        for model in serving:
            covering = [other for other in others if self._covers(other, release, model, host)]
            # First a device without a profile, then one with each profile that can be here.
            if not covering or any(
                model in profile.values and not any(lists(other, profile.name) for other in covering)
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
            differences = between_releases(model, (release.name.vendor, other.name.vendor), *sides)
            is_covered = not any(Direction.FORWARD in (difference.closes or {}) for difference in differences)
            self._covered[key] = (is_covered, *sides)
        return self._covered[key][0]

    def takes_some(self, host: Destination, profile: Profile) -> bool:
        """Return whether some device with the profile can be at the host."""
        known = self._releases(host)
        return any(
            self._takes(host, release, profile, model)
            for release in known
            if _can_be_at(profile, release)
            for model in profile.values
            if model in release.sets and _serves(release, model, known)
        )

    def _releases(self, host: Destination) -> list[Release]:
        releases = (self._registry.release(name) for name in host.releases)
        return [release for release in releases if release is not None]

    def _takes(self, host: Destination, release: Release, profile: Profile, name: str) -> bool:
        own, model = release.sets.get(name), self._registry.model(name)
        if own is None or model is None:
            return False
        narrowed = self._restricted(own, host.restrict)
        return self._acceptance.accepts(profile.values[name], model, str(release.name), narrowed)

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
