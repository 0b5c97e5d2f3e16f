"""What a publication adds: the rows of a plan, collected and then stored with one statement."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from app.domain.publishing.profile import ProfilePlanner
from app.domain.publishing.release import ReleasePlan
from app.domain.values.name import vendor_of, version_key
from app.storage import database, lookup, schema, state
from app.storage.change import Change, recorded
from app.storage.database import Rows, Writing
from app.storage.existing import Names


class Addition:
    """The rows that a publication adds; their ids are counted here, because nobody else writes."""

    def __init__(self, writing: Writing, names: Names, planner: ProfilePlanner) -> None:
        self._writing = writing
        self._names = names
        self._planner = planner
        self._rows: Rows = {}
        self._model_ids = dict(names.models)
        self._profile_ids = {name: row.number for name, row in names.profiles.items()}

    def _add(self, table: sa.Table, **row: Any) -> None:
        self._rows.setdefault(table, []).append(row)

    def add_release(self, plan: ReleasePlan) -> int:
        """Add what a plan adds to a release, and its profiles; return the id of the release."""
        names = self._names
        vendor_id = names.vendor_id(plan.name.vendor)
        release_id = self._new_release(plan, vendor_id) if names.release is None else int(names.release.number)
        for model in sorted(plan.new_models):
            self._model_ids[model] = names.new_id(schema.model)
            self._add(schema.model, id=self._model_ids[model], name=model, vendor_id=vendor_id)
        self._add_statements(plan, vendor_id)
        for model, variable_set in plan.new_sets.items():
            model_id, digest = self._model_ids[model], variable_set.digest
            self._add(schema.variable_set, digest=digest, model_id=model_id, document=variable_set.canonical)
            self._add(schema.release_model, release_id=release_id, model_id=model_id, digest=digest)
        self.add_profiles()
        if plan.has_new_list:
            self._add(schema.profile_list, release_id=release_id)
        for name in sorted(set(plan.newly_listed or ())):
            self._add(schema.release_profile, release_id=release_id, profile_id=self._profile_ids[name])
        for own in plan.own_values:
            self._add(schema.profile_values, digest=own.digest, document=own.document)
            ids = {"profile_id": self._profile_ids[own.profile], "model_id": self._model_ids[own.model]}
            self._add(schema.release_own_values, release_id=release_id, **ids, digest=own.digest)
        for alias, target in sorted(plan.new_aliases.items()):
            self._add(schema.release_alias, release_id=release_id, alias=alias, target=target)
        return release_id

    def _new_release(self, plan: ReleasePlan, vendor_id: int) -> int:
        names, name = self._names, plan.name
        if names.implementation_id is None:
            names.implementation_id = names.new_id(schema.implementation)
            row = {"id": names.implementation_id, "name": name.implementation, "vendor_id": vendor_id}
            self._add(schema.implementation, **row)
        release_id = names.new_id(schema.release)
        self._add(
            schema.release,
            id=release_id,
            implementation_id=names.implementation_id,
            version=name.version,
            version_key=version_key(name.version),
            description=plan.document.description,
            seq=None,
        )
        return release_id

    def _add_statements(self, plan: ReleasePlan, vendor_id: int) -> None:
        """Add the types and off values that are stated for the first time: the first statement stands (DESIGN 3)."""
        vendor, models = plan.name.vendor, plan.existing.models
        for model, statements in plan.statements.items():
            known = models[model].statements.get(vendor, {}) if model in models else {}
            for variable, statement in statements.items():
                key = {"model_id": self._model_ids[model], "vendor_id": vendor_id, "variable": variable}
                if variable not in known:
                    self._add(schema.statement, **key, type=statement.type.value)
                    if (other := statement.stands_for) is not None:
                        self._add(schema.stand_in, **key, stands_for=other.variable, inverted=other.inverted)
                if statement.off_value is not None:
                    self._add(schema.off_value, **key, value=json.dumps(statement.off_value))

    def add_profiles(self) -> None:
        """Add the planned profiles with their entries, parents first."""
        names, planner = self._names, self._planner
        for planned in planner.changed():
            profile = planned.document
            if planned.is_new:
                self._profile_ids[profile.name] = names.new_id(schema.profile)
                self._add(
                    schema.profile,
                    id=self._profile_ids[profile.name],
                    name=profile.name,
                    vendor_id=names.vendor_id(vendor_of(profile.name)),
                    extends_id=self._profile_ids.get(profile.extends or ""),
                    description=profile.description,
                    seq=None,
                )
            for model, entry in planned.entries.items():
                for digest in (entry.own, entry.resolved):
                    self._add(schema.profile_values, digest=digest, document=planner.documents[digest])
                ids = {"profile_id": self._profile_ids[profile.name], "model_id": self._model_ids[model]}
                self._add(schema.profile_entry, **ids, own_digest=entry.own, resolved_digest=entry.resolved)

    def put_digest(self, key: sa.Column[Any], entry_id: int, digest: str, *, is_new: bool) -> None:
        """Store the digest of a release or a profile as it is after the publication."""
        if is_new:
            self._add(key.table, **{str(key.name): entry_id, "digest": digest})
        else:
            lookup.put(self._writing.connection, key, entry_id, {"digest": digest})

    def store(self, changes: Sequence[Change]) -> None:
        """Store the rows with the changes that record them, and give new profiles the state that they ask for.

        changes: that of the release first, if there is one.
        """
        writing, names, profiles = self._writing, self._names, self._planner.profiles
        published = [profiles[change.name] for change in changes if change.name in profiles]
        for planned, change in zip(published, [change for change in changes if change.name in profiles], strict=True):
            profile_id = self._profile_ids[planned.document.name]
            key = schema.profile_digest.c.profile_id
            self.put_digest(key, profile_id, str(change.digest), is_new=planned.is_new)
        unknown = {model for change in changes for model in change.models} - self._model_ids.keys()
        self._model_ids |= lookup.ids(writing.connection, schema.model, unknown)
        writing.end = names.end
        rows = recorded(writing, changes, self._model_ids)
        seqs = {row["name"]: row["seq"] for row in rows[schema.change]}
        for release in self._rows.get(schema.release, ()):
            release["seq"] = seqs[changes[0].name]
        for profile in self._rows.get(schema.profile, ()):
            profile["seq"] = seqs[profile["name"]]
        database.add(writing.connection, self._rows | rows)
        for planned in published:
            if planned.is_new and planned.document.name in names.drafts:
                state.delete_profile_draft(writing.connection, planned.document.name)
            if planned.state is not None:
                state.set_profile_state(writing, planned.document.name, planned.state)
