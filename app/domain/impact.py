"""The impact of a change of state: the profiles, releases, hosts and listed pairs whose verdicts would flip."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.domain.matrix import Acceptance
from app.domain.profile import Profile
from app.domain.question import Destination, restricted, serving_implementation
from app.domain.release import Release
from app.domain.state import State
from app.domain.verdict import Registry, problems_accepting


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
    by_name = {profile.name: profile for profile in usable}
    needing = [
        host.id
        for host in hosts
        if str(release.name) in host.releases
        and any(_needs(host, release, by_name[name], models, registry) for name, models in flipped.items())
    ]
    listed = tuple((name, str(release.name)) for name in sorted(flipped) if release.profiles is not None)
    return Impact(tuple(sorted(flipped)), (str(release.name),) if flipped else (), tuple(needing), listed)


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


def _needs(host: Destination, release: Release, profile: Profile, models: Iterable[str], registry: Registry) -> bool:
    """Return whether some model can be at the host with the profile thanks to this release alone."""
    others = [
        other
        for name in host.releases
        if name != str(release.name) and (other := registry.release(name)) is not None and _is_usable(other.state)
    ]
    return any(
        _takes(host, release, profile, model, registry)
        and not any(_takes(host, other, profile, model, registry) for other in _serving(host, others, model, registry))
        for model in models
    )


def _serving(host: Destination, others: Sequence[Release], model: str, registry: Registry) -> Iterator[Release]:
    """Iterate over the other releases of the implementation that the model's devices belong to at the host."""
    known = [found for name in host.releases if (found := registry.release(name)) is not None]
    serving = serving_implementation(model, known)
    yield from (other for other in others if other.name.implementation == serving)


def _takes(host: Destination, release: Release, profile: Profile, name: str, registry: Registry) -> bool:
    if release.profiles is not None and profile.name not in release.profiles:
        return False
    model, own = registry.model(name), release.sets.get(name)
    if model is None or own is None:
        return False
    narrowed, _ = restricted(own, host.restrict)
    return not problems_accepting(profile.values[name], model, str(release.name), narrowed)
