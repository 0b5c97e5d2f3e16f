"""Publishing profiles, alone or with the release that lists them."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.canonical import canonical_json, digest
from app.domain.change import ChangeKind
from app.domain.document import FaultCode, Place
from app.domain.model import Model
from app.domain.name import ReleaseName, vendor_of
from app.domain.problem import Problem
from app.domain.profile import ProfileDocument, Values, Written, overlaid, typed
from app.domain.state import State
from app.domain.value import shown
from app.domain.variable_set import VariableSet
from app.domain.verdict import problems_accepting
from app.storage import lookup, schema, state
from app.storage.change import Change, record
from app.storage.database import Writing, insert
from app.storage.outcome import NotAccepted, Outcome, UnknownVendorError

_PROBLEMS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """A release that profiles are held against, and its sets."""

    name: ReleaseName
    sets: Mapping[str, VariableSet]


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a profile states for one model; both are digests of canonical values."""

    own: str
    resolved: str


@dataclass(slots=True)
class _Standing:
    """A profile as it is in the database before this publication."""

    id: int
    extends: str | None
    description: str | None
    entries: Mapping[str, tuple[str, str]]
    state: State


class ProfilePublication:
    """Profiles published together; faults are reported first, then everything is stored."""

    def __init__(
        self,
        connection: sa.Connection,
        models: Mapping[str, Model],
        release: PublishedRelease | None,
        unsure: Collection[str] = (),
    ) -> None:
        """Hold profiles against models as they stand after this publication, and a release that is part of it.

        unsure: models whose sets have faults, so that nothing can be said of values for them.
        """
        self._connection = connection
        self._models = dict(models)
        self._release = release
        self._unsure = unsure
        self._values: dict[str, Values] = {}
        self._documents: dict[str, str] = {}
        self._resolved: dict[str, dict[str, str]] = {}
        self._new: dict[str, tuple[ProfileDocument, dict[str, _Entry]]] = {}
        self._standing: dict[str, _Standing] = {}
        self._typed: dict[tuple[str, str, str | None], _Entry] = {}
        self._judged: dict[tuple[str, str, str | None, str], tuple[Problem, ...]] = {}
        self._faulty: set[str] = set()
        self._others: dict[str, list[tuple[str, str, str]]] = {}
        self._accepted: set[tuple[str, _Entry]] = set()
        self._sets: dict[str, VariableSet] = {}

    def check(self, profiles: Sequence[tuple[ProfileDocument, Place]]) -> None:
        """Report the faults of profiles, which may extend one another in any order."""
        unknown = {model for profile, _ in profiles for model in profile.values} - self._models.keys()
        self._models.update(lookup.models(self._connection, unknown))
        self._read_standing([profile.name for profile, _ in profiles])
        documents = {profile.name: (profile, at) for profile, at in profiles}
        self._read_resolved(
            {profile.extends for profile, _ in profiles if profile.extends and profile.extends not in documents}
        )
        for name in _parents_first({name: profile.extends for name, (profile, _) in documents.items()}):
            profile, at = documents[name]
            faults_before = len(at.faults)
            self._check_profile(profile, at)
            if len(at.faults) > faults_before:
                self._faulty.add(name)

    def check_listed(self, listed: Sequence[tuple[str, Place]], on_list: frozenset[str], outcome: Outcome) -> None:
        """Report what the release does not accept of the profiles that it lists; one it accepts nothing of is a fault.

        on_list: those that are on the list already, and stay there.
        """
        if self._release is None:
            return
        self._read_resolved({name for name, _ in listed})
        missing = {model for name, _ in listed for model in self._resolved.get(name, ())} - self._models.keys()
        self._models.update(lookup.models(self._connection, missing))
        wanted = {digest for name, _ in listed for digest in self._resolved.get(name, {}).values()}
        self._read_values(wanted)
        for name, at in listed:
            if name in self._faulty:
                continue
            if name not in self._resolved:
                at.fault(FaultCode.UNKNOWN_PROFILE, f"the registry has no profile {name}")
                continue
            if self._unsure:
                continue
            refused = [
                NotAccepted(name, model, problems)
                for model, values_digest in sorted(self._resolved[name].items())
                if (problems := self._problems(model, values_digest, self._release))
            ]
            if len(refused) == len(self._resolved[name]) and name not in on_list:
                reasons = _shown([problem for each in refused for problem in each.problems])
                at.fault(FaultCode.PROFILE_NOT_ACCEPTED, f"the release accepts no model of {name}: {reasons}")
            outcome.not_accepted += refused

    def listing(self, newly_listed: Sequence[str] | None) -> Mapping[str, Any]:
        """Return what a release's list gains as a change records it: names, and what is new of profiles themselves.

        newly_listed: the names, None if the list stays as it is.
        """
        own = {name: self._document(name) for name in self._changed()}
        names = [name for name in newly_listed or () if name not in own]
        return {"profiles": [*names, *own.values()]} if own or newly_listed is not None else {}

    def record(self, writing: Writing) -> None:
        """Record what was added, a change for each profile."""
        names = self._changed()
        profile_ids = lookup.ids(self._connection, schema.profile, names)
        entries = lookup.profile_entries(self._connection, profile_ids.values())
        changes = []
        for name in names:
            is_new = name not in self._standing
            document = self._document(name)
            whole = {"profile": name, "extends": document.get("extends"), "entries": entries[profile_ids[name]]}
            digest_now = digest(canonical_json(whole))
            lookup.put(self._connection, schema.profile_digest.c.profile_id, profile_ids[name], {"digest": digest_now})
            added = {"profiles": int(is_new), "profile_models": len(document["values"])}
            changes.append(
                Change(
                    kind=ChangeKind.PROFILE_PUBLISHED if is_new else ChangeKind.PROFILE_EXTENDED,
                    name=name,
                    # What a release brings is recorded with the release.
                    document=None if self._release else document,
                    digest=digest_now,
                    models=document["values"].keys(),
                    detail={"added": {what: count for what, count in added.items() if count}},
                )
            )
        if changes:
            record(writing, *changes)
        for name in names:
            wanted = self._new[name][0].state
            if name not in self._standing and wanted not in {None, State.DRAFT, State.PUBLISHED}:
                state.set_profile_state(writing, name, wanted)

    def _changed(self) -> list[str]:
        """Return the profiles that are new or gain a model."""
        return [name for name, (_, entries) in self._new.items() if entries or name not in self._standing]

    def _document(self, name: str) -> dict[str, Any]:
        """Return what is new of a profile as a change records it, the values by their digests."""
        profile, entries = self._new[name]
        document: dict[str, Any] = {"name": name, "values": {model: each.own for model, each in entries.items()}}
        if profile.extends is not None:
            document["extends"] = profile.extends
        if profile.description is not None and name not in self._standing:
            document["description"] = profile.description
        return document

    def store(self, outcome: Outcome) -> None:
        """Store the profiles that were checked."""
        self._store_values()
        self._store_profiles(outcome)
        profile_ids = lookup.ids(self._connection, schema.profile, self._new)
        model_ids = lookup.ids(
            self._connection, schema.model, {model for _, entries in self._new.values() for model in entries}
        )
        rows = [
            {
                "profile_id": profile_ids[name],
                "model_id": model_ids[model],
                "own_digest": entry.own,
                "resolved_digest": entry.resolved,
            }
            for name, (_, entries) in self._new.items()
            for model, entry in entries.items()
        ]
        if rows:
            insert(self._connection, schema.profile_entry, rows)
        outcome.added.profile_models += len(rows)

    def _read_standing(self, names: Sequence[str]) -> None:
        profile, parent = schema.profile, schema.profile.alias("parent")
        rows = self._connection.execute(
            sa.select(profile.c.id, profile.c.name, profile.c.description, parent.c.name.label("extends"))
            .select_from(profile.outerjoin(parent, parent.c.id == profile.c.extends_id))
            .where(profile.c.name.in_(names))
        ).all()
        for row in rows:
            entries = lookup.profile_entries(self._connection, [row.id])[row.id]
            standing = lookup.profile_state(self._connection, row.id)
            self._standing[row.name] = _Standing(row.id, row.extends, row.description, entries, standing)
        self._read_resolved({row.name for row in rows})

    def _read_resolved(self, names: set[str]) -> None:
        profile_ids = lookup.ids(self._connection, schema.profile, names - self._resolved.keys())
        resolved = lookup.resolved_entries(self._connection, profile_ids.values())
        self._resolved.update({name: resolved[profile_id] for name, profile_id in profile_ids.items()})

    def _read_values(self, digests: set[str]) -> None:
        self._values.update(lookup.profile_values(self._connection, digests - self._values.keys()))

    def _check_profile(self, profile: ProfileDocument, at: Place) -> None:
        standing = self._standing.get(profile.name)
        if standing and standing.extends != profile.extends:
            stands = f"extends {standing.extends}" if standing.extends else "extends nothing"
            (at / "extends").fault(FaultCode.ENTRY_CHANGED, f"{profile.name} is published and {stands}")
        if standing and profile.description not in {None, standing.description}:
            (at / "description").fault(FaultCode.ENTRY_CHANGED, "is not the description published")
        if standing and profile.state is not State.DRAFT:
            state.check_state_asked(profile.state, standing.state, at)
        if self._release and profile.state is State.DRAFT:
            (at / "state").fault(FaultCode.INVALID_VALUE, "is draft: with a release its profiles are published")
        inherited: Mapping[str, str] = {}
        if profile.extends is not None:
            if profile.extends not in self._resolved:
                (at / "extends").fault(FaultCode.UNKNOWN_PROFILE, f"the registry has no profile {profile.extends}")
            inherited = self._resolved.get(profile.extends, {})
        new = {}
        for model, written in profile.values.items():
            entry = self._new_entry(profile, model, written, inherited.get(model), at / "values" / model)
            if entry is not None:
                new[model] = entry
        self._new[profile.name] = (profile, new)
        above = {**inherited, **self._resolved.get(profile.name, {})}
        self._resolved[profile.name] = {**above, **{model: entry.resolved for model, entry in new.items()}}

    def _new_entry(
        self,
        profile: ProfileDocument,
        model: str,
        written: Mapping[str, Written | None],
        inherited: str | None,
        at: Place,
    ) -> _Entry | None:
        """Return the entry that a profile gains for a model; None if it stands already, or has faults."""
        standing = self._standing.get(profile.name)
        published = standing.entries.get(model) if standing else None
        if model in self._unsure or self._is_as_published(published, written):
            return None
        entry = self._entry(model, written, inherited, at)
        if entry is None:
            return None
        if published:
            self._check_unchanged(published[0], entry.own, at)
            return None
        if standing and self._resolved[profile.name].get(model, entry.resolved) != entry.resolved:
            at.fault(FaultCode.ENTRY_CHANGED, f"is published with the values of {profile.extends}")
            return None
        can_be_judged = profile.extends is None or profile.extends in self._resolved
        return entry if can_be_judged and self._is_accepted(model, entry, at) else None

    def _is_as_published(self, entry: tuple[str, str] | None, written: Mapping[str, Written | None]) -> bool:
        """Return whether an entry is published just as it is written; what was stated since does not matter then."""
        return entry is not None and entry[0] == digest(canonical_json(written))

    def _entry(
        self, model: str, written: Mapping[str, Written | None], inherited: str | None, at: Place
    ) -> _Entry | None:
        """Return the entry that a profile states for a model, None where it has faults."""
        if model not in self._models:
            at.fault(FaultCode.UNKNOWN_MODEL, f"the registry has no device model {model}")
            return None
        key = (model, canonical_json(written), inherited)
        if key not in self._typed:
            faults_before = len(at.faults)
            own = typed(written, self._models[model], at)
            if len(at.faults) > faults_before:
                return None
            if inherited is not None:
                self._read_values({inherited})
            resolved = overlaid(self._values[inherited] if inherited is not None else {}, own)
            self._typed[key] = _Entry(self._keep(own), self._keep(resolved))
            self._values[self._typed[key].resolved] = resolved
        return self._typed[key]

    def _keep(self, values: Mapping[str, object]) -> str:
        canonical = canonical_json(values)
        key = digest(canonical)
        self._documents[key] = canonical
        return key

    def _check_unchanged(self, standing: str, own: str, at: Place) -> None:
        if standing == own:
            return
        self._read_values({standing})
        before, after = self._values[standing], self._values_kept(own)
        for variable in sorted(before.keys() | after.keys()):
            if variable not in before:
                message = f"is published without {variable}, which is {shown(after[variable])} here"
            elif variable not in after:
                message = f"is published with {variable} {shown(before[variable])}, which is not named here"
            elif canonical_json(before[variable]) != canonical_json(after[variable]):
                message = f"is published with {variable} {shown(before[variable])}, not {shown(after[variable])}"
            else:
                continue
            at.fault(FaultCode.ENTRY_CHANGED, message)

    def _values_kept(self, key: str) -> Values:
        if key not in self._values:
            self._values[key] = json.loads(self._documents[key])
        return self._values[key]

    def _is_accepted(self, model: str, entry: _Entry, at: Place) -> bool:
        """Check that a published release, this one first, accepts the entry, and that each variable may be in one."""
        if (model, entry) in self._accepted:
            return True
        reasons: list[tuple[PublishedRelease, tuple[Problem, ...]]] = []
        for release in self._releases_implementing(model):
            problems = self._problems(model, entry.resolved, release)
            if not problems:
                is_shared = self._is_shared(model, entry, at)
                if is_shared:
                    self._accepted.add((model, entry))
                return is_shared
            reasons.append((release, problems))
        if reasons:
            release, problems = reasons[0]
            message = f"no published release accepts this; {release.name}: {_shown(problems)}"
        else:
            message = f"no published release implements {model}"
        at.fault(FaultCode.PROFILE_NOT_ACCEPTED, message)
        return False

    def _is_shared(self, model: str, entry: _Entry, at: Place) -> bool:
        """Check that no variable belongs to one device, as every set has it that has it at all."""
        own = []
        for name in self._values[entry.resolved]:
            is_instance = (
                release.sets[model].variables[name].is_instance
                for release in self._releases_implementing(model)
                if name in release.sets[model].variables
            )
            if next(is_instance, False) and all(is_instance):
                own.append(name)
        for name in own:
            (at / name).fault(
                FaultCode.WRONG_SCOPE, "is an instance variable: it belongs to one device, never to a profile"
            )
        return not own

    def _releases_implementing(self, model: str) -> Iterator[PublishedRelease]:
        """Iterate over the releases that implement a model: this one, then the newest first; equal sets once."""
        if self._release and model in self._release.sets:
            yield self._release
        if model not in self._others:
            # Equal sets of one vendor accept the same.
            found = lookup.sets_of_model(self._connection, model)
            by_set = {(vendor_of(each[0]), each[2]): each for each in reversed(list(found))}
            self._others[model] = list(reversed(by_set.values()))
        for implementation, version, set_digest in self._others[model]:
            if set_digest not in self._sets:
                self._sets.update(lookup.variable_sets(self._connection, [set_digest]))
            yield PublishedRelease(ReleaseName(implementation, version), {model: self._sets[set_digest]})

    def _problems(self, model: str, values_digest: str, release: PublishedRelease) -> tuple[Problem, ...]:
        own = release.sets.get(model)
        key = (model, values_digest, own.digest if own else None, str(release.name))
        if key not in self._judged:
            values = self._values[values_digest]
            found = problems_accepting(values, self._models[model], str(release.name), own)
            self._judged[key] = tuple(found)
        return self._judged[key]

    def _store_values(self) -> None:
        wanted = {
            one
            for _, entries in self._new.values()
            for entry in entries.values()
            for one in (entry.own, entry.resolved)
        }
        new = wanted - lookup.stored_digests(self._connection, schema.profile_values, wanted)
        if new:
            rows = [{"digest": key, "document": self._documents[key]} for key in sorted(new)]
            insert(self._connection, schema.profile_values, rows)

    def _store_profiles(self, outcome: Outcome) -> None:
        vendors = {vendor_of(name) for name in self._new}
        vendor_ids = lookup.ids(self._connection, schema.vendor, vendors)
        for vendor in sorted(vendors - vendor_ids.keys()):
            raise UnknownVendorError(vendor)
        for name in _parents_first({name: profile.extends for name, (profile, _) in self._new.items()}):
            if name in self._standing:
                continue
            profile, _ = self._new[name]
            parents = lookup.ids(self._connection, schema.profile, [profile.extends] if profile.extends else [])
            row = {
                "name": name,
                "vendor_id": vendor_ids[vendor_of(name)],
                "extends_id": parents.get(profile.extends or ""),
                "description": profile.description,
            }
            self._connection.execute(sa.insert(schema.profile).values(row))
            state.delete_profile_draft(self._connection, name)
            outcome.added.profiles += 1


def _parents_first(parents: Mapping[str, str | None]) -> list[str]:
    """Return the names so that each comes after the one it extends; of a ring, in any order."""
    ordered: dict[str, None] = {}

    def place(name: str) -> None:
        line: dict[str, None] = {}
        current: str | None = name
        while current is not None and current in parents and current not in ordered and current not in line:
            line[current] = None
            current = parents[current]
        ordered.update(dict.fromkeys(reversed(line)))

    for name in parents:
        place(name)
    return list(ordered)


def _shown(problems: Sequence[Problem]) -> str:
    messages = [problem.message for problem in problems]
    more = f" and {len(messages) - _PROBLEMS_SHOWN} more" if len(messages) > _PROBLEMS_SHOWN else ""
    return "; ".join(messages[:_PROBLEMS_SHOWN]) + more
