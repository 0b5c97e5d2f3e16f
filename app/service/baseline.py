"""Baselines: load the members of a fleet, and find the settings that all of them accept."""

from typing import Any

from app.domain.fleet import baseline as domain
from app.domain.fleet.member import BaselineProblem
from app.domain.values.budget import spend
from app.domain.values.document import FaultCode, Place
from app.domain.verdict.destination import Destination
from app.service.fleet import some_hosts
from app.storage.reader import Reader, no_host
from app.wire.baseline import FleetQuestion


def find(question: FleetQuestion, reader: Reader) -> dict[str, Any]:
    """Return the best settings of each model, as JSON; raises InvalidDocumentError."""
    releases = dict.fromkeys(question.releases)
    hosts = list(reader.hosts(list(dict.fromkeys(question.hosts))).values())
    labels = [*question.labels, *([] if question.label is None else [question.label])]
    if labels:
        named = {host.id for host in hosts}
        selected = some_hosts(labels, reader)
        if not selected:
            hosts.append(no_host(labels))
        hosts += [host for host in selected if host.id not in named]
    members = [Destination(release, (release,)) for release in releases] + hosts
    place = Place()
    if not members:
        place.fault(FaultCode.MISSING_FIELD, "must name a release or a host: in releases, hosts or labels")
    place.raise_faults()
    models = dict.fromkeys(question.models)
    # Known before anything is loaded.
    spend(len(models) * len(members))
    profiles = {model: reader.naming([model]) for model in models}
    restricted = dict.fromkeys(model for member in members for model, _ in member.named_models())
    snapshot = reader.snapshot(
        models=models | restricted,
        releases=dict.fromkeys(name for runs in {member.all_releases() for member in members} for name in runs),
        profiles=dict.fromkeys(name for names in profiles.values() for name in names),
        of_models=models,
    )
    answers = {}
    for model in models:
        known = [profile for name in profiles[model] if (profile := snapshot.profile(name)) is not None]
        answers[model] = _document(
            domain.kept_baseline(model, members, snapshot, known, reader.memo), frozenset(releases)
        )
    return {"models": answers, **reader.basis}


def _document(baseline: domain.Baseline, releases: frozenset[str]) -> dict[str, Any]:
    warnings = [{"code": caution.code.value, "message": caution.message} for caution in baseline.warnings]
    return {
        "values": baseline.values,
        "domains": {name: values.listed() for name, values in baseline.domains.items()},
        "profiles": baseline.profiles,
        "problems": [_problem(problem, releases) for problem in baseline.problems],
        **({"warnings": warnings} if warnings else {}),
    }


def _problem(problem: BaselineProblem, releases: frozenset[str]) -> dict[str, Any]:
    hosts = [member for member in problem.members if member not in releases]
    return {
        "code": problem.code.value,
        "message": problem.message,
        **({} if problem.variable is None else {"variable": problem.variable}),
        "releases": [member for member in problem.members if member in releases],
        **({"hosts": hosts} if hosts else {}),
    }
