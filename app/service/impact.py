"""Impact: load what a change of state concerns, and find out which verdicts it would flip."""

from itertools import chain
from typing import Any

from app.domain.fleet import impact
from app.domain.fleet.summary import MAX_NAMED
from app.domain.values.state import State
from app.service.diff import is_release
from app.service.known import UnknownNameError, known_profile, known_release
from app.storage.reader import Reader


def of(name: str, state: State, reader: Reader) -> dict[str, Any]:
    """Return as JSON what would flip if a release or a profile took a state; raises UnknownNameError."""
    digests = reader.digests(name)
    if digests is None:
        raise UnknownNameError(name, "release" if is_release(name) else "profile")
    models = list(digests)
    selected = {kind.digest: kind for kind in reader.selected([[]])}
    # A kind is judged once, under its digest.
    hosts = [kind._replace(id=digest) for digest, kind in reader.kinds(selected).items()]
    runs = {host.all_releases() for host in hosts}
    if is_release(name):
        # Only hosts that run the release can flip.
        runs = {releases for releases in runs if name in releases}
    on_hosts = [release for releases in runs for release in releases]
    named = dict.fromkeys([*models, *(model for host in hosts for model, _ in host.named_models())])
    if is_release(name):
        profiles = reader.naming()
        snapshot = reader.snapshot(
            models=named, releases=dict.fromkeys([name, *on_hosts]), profiles=profiles, of_models=models
        )
        release = known_release(name, snapshot)
        flipped = impact.of_release(release, state, snapshot.known_profiles(), hosts, snapshot, reader.memo)
    else:
        implementing = reader.implementing(models)
        snapshot = reader.snapshot(
            models=named, releases=dict.fromkeys([*implementing, *on_hosts]), profiles=[name], of_models=models
        )
        releases = [other for listed in implementing if (other := snapshot.release(listed)) is not None]
        flipped = impact.of_profile(known_profile(name, snapshot), state, releases, hosts, snapshot, reader.memo)
    kinds = [selected[digest] for digest in flipped.hosts]
    host_count = sum(kind.count for kind in kinds)
    is_named = host_count <= MAX_NAMED
    names = (reader.host_names([[]], kind, ()) if is_named else kind.examples for kind in kinds)
    return {
        "profiles": flipped.profiles,
        "releases": flipped.releases,
        "hosts": sorted(chain.from_iterable(names)),
        "host_count": host_count,
        "listed": [{"profile": profile, "release": release} for profile, release in flipped.listed],
    }
