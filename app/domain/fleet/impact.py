"""The impact of a change of state: the profiles, releases, hosts and listed pairs whose verdicts would flip."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from app.domain.engine.acceptance import Acceptance
from app.domain.engine.kind import Kind, Kinds
from app.domain.engine.memo import Memo
from app.domain.fleet.difference import Direction, between_releases
from app.domain.fleet.kind import SetsAtHosts
from app.domain.fleet.support_matrix import refusals_at
from app.domain.things.profile import Profile
from app.domain.things.release import Release
from app.domain.things.variable_set import Migratable, VariableSet
from app.domain.values.state import State
from app.domain.verdict.destination import Destination
from app.domain.verdict.host import Host, Runner
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
    release: Release,
    state: State,
    profiles: Sequence[Profile],
    hosts: Iterable[Destination],
    registry: Registry,
    memo: Memo | None = None,
) -> Impact:
    """Return what flips when a release takes a state; profiles: all that are published.

    memo: what is remembered across requests.
    """
    if _is_retired(release.state) == _is_retired(state):
        return Impact()
    acceptance = Acceptance(memo)
    published = replace(release, state=State.PUBLISHED)
    possible = [profile for profile in profiles if _can_be_at(profile, published)]
    accepted = [profile.name for profile in possible if _accepted_models(profile, release, registry, acceptance)]
    at_hosts = _AtHosts(registry, acceptance)
    needing = at_hosts.flipping(hosts, lambda host: at_hosts.needs(host, published, possible))
    listed = [(name, str(release.name)) for name in sorted(accepted) if release.profiles is not None]
    return Impact(tuple(sorted(accepted)), (str(release.name),), needing, tuple(listed))


def of_profile(
    profile: Profile,
    state: State,
    releases: Sequence[Release],
    hosts: Iterable[Destination],
    registry: Registry,
    memo: Memo | None = None,
) -> Impact:
    """Return what flips when a profile takes a state; releases: all that are published.

    memo: what is remembered across requests.
    """
    if _is_retired(profile.state) == _is_retired(state):
        return Impact()
    acceptance = Acceptance(memo)
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
    """Judges profiles at hosts; hosts of one kind are judged once."""

    def __init__(self, registry: Registry, acceptance: Acceptance) -> None:
        self._registry = registry
        self._acceptance = acceptance
        self._kinds = Kinds()
        self._sets = SetsAtHosts()
        # Keyed by ids; the objects are held too, so that no id is reused.
        self._covered: dict[tuple[int, int], tuple[bool, VariableSet, VariableSet]] = {}

    def flipping(self, hosts: Iterable[Destination], flips: Callable[[Destination], bool]) -> tuple[str, ...]:
        """Return the hosts that flip, in the order given."""
        known: dict[Kind, bool] = {}
        flipping = []
        for host in hosts:
            kind = self._kinds.of(host)
            if kind not in known:
                known[kind] = flips(host)
            if known[kind]:
                flipping.append(host.id)
        return tuple(flipping)

    def needs(self, host: Destination, release: Release, profiles: Sequence[Profile]) -> bool:
        """Return whether some device can be at the host thanks to this release alone.

        profiles: those that can be at the release. Any values that the release allows count: what else a device sets
        is not known before it is asked about.
        """
        if str(release.name) not in host.all_releases():
            return False
        at_host = Host.of(host, self._registry)
        return any(
            self._needs(host, list(at_host.serving(model)), release, model, profiles)
            for model, own in release.sets.items()
            if own.migratable is not Migratable.NO
        )

    def _needs(
        self,
        host: Destination,
        serving: Sequence[tuple[Runner, Release]],
        release: Release,
        model: str,
        profiles: Sequence[Profile],
    ) -> bool:
        """Return whether some device of a model can be at the host thanks to this release alone.

        serving: all that can serve the model there.
        """
        others = [
            (runner, other) for runner, other in serving if other.name != release.name and not _is_retired(other.state)
        ]
        for runner in [runner for runner, own in serving if own.name == release.name]:
            covering = [
                other for there, other in others if self._covers(host, (runner, release), (there, other), model)
            ]
            # First a device without a profile, then one with each profile that can be here.
            if not covering or any(
                model in profile.values and not any(lists(other, profile.name) for other in covering)
                for profile in profiles
            ):
                return True
        return False

    def _covers(
        self, host: Destination, here: tuple[Runner, Release], there: tuple[Runner, Release], name: str
    ) -> bool:
        """Return whether every device of a model that can be at one release can be at another one, too."""
        model = self._registry.model(name)
        own, other = (self._sets.at(host, runner.unit, release.sets[name]) for runner, release in (here, there))
        # The values that a host makes something else of are no part of a difference.
        if model is None or any(
            name in other.variables and not other.variables[name].allowed.excluded <= variable.allowed.excluded
            for name, variable in own.variables.items()
        ):
            return False
        key = (id(own), id(other))
        if key not in self._covered:
            differences = between_releases(model, (here[1].name.vendor, there[1].name.vendor), own, other)
            is_covered = not any(Direction.FORWARD in (difference.closes or {}) for difference in differences)
            self._covered[key] = (is_covered, own, other)
        return self._covered[key][0]

    def takes_some(self, host: Destination, profile: Profile) -> bool:
        """Return whether some device with the profile can be at the host."""
        at_host = Host.of(host, self._registry)
        return any(
            self._takes(host, runner, release, profile, model)
            for model in profile.values
            for runner, release in at_host.serving(model)
            if _can_be_at(profile, release)
        )

    def _takes(self, host: Destination, runner: Runner, release: Release, profile: Profile, name: str) -> bool:
        model = self._registry.model(name)
        if model is None:
            return False
        own = self._sets.at(host, runner.unit, release.sets[name])
        return self._acceptance.accepts(profile.values[name], model, str(release.name), own)
