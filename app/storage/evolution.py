"""The evolution gate: what implementations hold their releases to, and what a new release would break."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from app.domain import evolution as domain
from app.domain.change import ChangeKind
from app.domain.evolution import Broken, Evolution, Mode
from app.domain.model import Model
from app.domain.name import ReleaseName
from app.domain.problem import Problem
from app.domain.profile import Values
from app.domain.state import State
from app.domain.variable_set import VariableSet
from app.domain.verdict import problems_accepting
from app.storage import lookup, schema
from app.storage.change import Change, record
from app.storage.database import Writing


def evolution_of(connection: sa.Connection, implementation_id: int) -> Evolution:
    """Return what the releases of an implementation are held to."""
    table = schema.evolution
    query = sa.select(table.c.mode, table.c.transitive).where(table.c.implementation_id == implementation_id)
    row = connection.execute(query).first()
    return Evolution(Mode(row.mode), row.transitive) if row else Evolution()


def set_evolution(connection: sa.Connection, implementation_id: int, evolution: Evolution) -> bool:
    """Set what the releases of an implementation are held to from now on; return whether that is something new."""
    if evolution_of(connection, implementation_id) == evolution:
        return False
    row = {"mode": evolution.mode.value, "transitive": evolution.transitive}
    lookup.put(connection, schema.evolution.c.implementation_id, implementation_id, row)
    return True


@dataclass
class _Acceptance:
    """Which release accepts which values for a model; equal content is judged once."""

    models: Mapping[str, Model]
    digests: Mapping[ReleaseName, Mapping[str, str]]
    sets: Mapping[str, VariableSet]
    values: Mapping[str, Values]
    _judged: dict[tuple[ReleaseName, str, str], Sequence[Problem]] = field(default_factory=dict)

    def refusals(self, release: ReleaseName, model: str, values: str) -> Sequence[Problem]:
        """Return why a release does not accept values for a model."""
        key = (release, model, values)
        if key not in self._judged:
            own = self.digests[release].get(model)
            self._judged[key] = problems_accepting(
                self.values[values], self.models[model], str(release), self.sets[own] if own else None
            )
        return self._judged[key]


def broken_by(
    connection: sa.Connection,
    name: ReleaseName,
    models: Collection[str] | None,
    sets: Mapping[str, VariableSet],
    spared: Collection[str] = (),
) -> list[Broken]:
    """Return what a release that is stored already, in this transaction, breaks of what earlier ones gave.

    models: only these are looked at; None: all, those included that the release does not implement.
    sets: by digest, those that are at hand. spared: models that are not looked at.
    """
    implementation_id = lookup.ids(connection, schema.implementation, [name.implementation])[name.implementation]
    evolution = evolution_of(connection, implementation_id)
    versions = lookup.versions(connection, implementation_id)
    before = [
        ReleaseName(name.implementation, version) for version in domain.earlier(name.version, versions, evolution)
    ]
    digests = {release: lookup.release_models(connection, versions[release.version]) for release in (name, *before)}
    differing = {
        model
        for old in before
        for model in digests[old].keys() | digests[name].keys()
        if digests[old].get(model) != digests[name].get(model)
        and (models is None or model in models)
        and model not in spared
    }
    if not differing:
        return []
    entries = _published_entries(connection, differing)
    wanted = {digest for each in digests.values() for model, digest in each.items() if model in differing}
    acceptance = _Acceptance(
        lookup.models(connection, differing),
        digests,
        {**lookup.variable_sets(connection, wanted - sets.keys()), **sets},
        lookup.profile_values(connection, {values for each in entries.values() for values in each.values()}),
    )
    return list(domain.broken(name, before, entries, evolution, acceptance.refusals))


def _published_entries(connection: sa.Connection, models: Collection[str]) -> dict[str, dict[str, str]]:
    """Return what the profiles that are not retired say of these models: profile → model → digest of its values."""
    profiles = {
        each.id: each.name for each in lookup.profiles_naming(connection, models) if each.state is not State.RETIRED
    }
    resolved = lookup.resolved_entries(connection, profiles, models)
    return {profiles[profile_id]: each for profile_id, each in resolved.items()}


@dataclass(frozen=True, slots=True)
class Override:
    """That a release passed the gate although it breaks it; broken: as JSON tells it."""

    reason: str
    at: str
    broken: Sequence[Mapping[str, Any]]


def keep_override(writing: Writing, name: ReleaseName, release_id: int, reason: str, broken: Sequence[Broken]) -> None:
    """Keep why a release was published although it breaks the gate."""
    told = [
        {
            "profile": each.profile,
            "model": each.model,
            "accepted_by": each.accepted_by,
            "refused_by": each.refused_by,
            "problems": [problem.message for problem in each.problems],
        }
        for each in broken
    ]
    store_override(writing, name, release_id, Override(reason, writing.at, told))


def store_override(writing: Writing, name: ReleaseName, release_id: int, override: Override) -> None:
    """Store that a release passed the gate although it breaks it."""
    row = {
        "release_id": release_id,
        "reason": override.reason,
        "at": override.at,
        "broken": json.dumps(override.broken, sort_keys=True),
    }
    writing.connection.execute(sa.insert(schema.evolution_override), row)
    document = {"reason": override.reason, "at": override.at, "broken": override.broken}
    models = {each["model"] for each in override.broken}
    detail = {"reason": override.reason, "broken_count": len(override.broken)}
    record(
        writing,
        Change(kind=ChangeKind.GATE_OVERRIDDEN, name=str(name), document=document, models=models, detail=detail),
    )


def overrides(connection: sa.Connection, release_id: int) -> list[Override]:
    """Return why and when a release passed the gate although it breaks it, and which profile entries it broke."""
    table = schema.evolution_override
    query = sa.select(table.c.reason, table.c.at, table.c.broken).where(table.c.release_id == release_id)
    rows = connection.execute(query.order_by(table.c.id))
    return [Override(row.reason, row.at, json.loads(row.broken)) for row in rows]
