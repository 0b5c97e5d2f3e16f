"""Plans profiles: documents give the entries that are added to what is published, or every fault (DESIGN 4).

Planning takes three steps, so that only what is needed has to be loaded: `plan` the documents; `consider` further
releases while entries are `unsettled`; `check_listed` against the release that lists them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from app.domain.engine.acceptance import Acceptance
from app.domain.publishing.existing import Entry, Existing
from app.domain.publishing.outcome import NotAccepted
from app.domain.things.model import Model
from app.domain.things.profile import OwnValues, ProfileDocument, Values, Written, overlaid, typed
from app.domain.things.variable_set import VariableSet
from app.domain.values.canonical import canonical_json, digest
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import vendor_of
from app.domain.values.state import State
from app.domain.values.value import shown
from app.domain.verdict.problem import Problem

_MAX_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A release that could accept profiles; sets: its variable sets, at least of the models that are asked for."""

    release: str
    sets: Mapping[str, VariableSet]


@dataclass(slots=True)
class PlannedProfile:
    """A profile to publish; entries: the models that it gains. is_new: it is not published yet."""

    document: ProfileDocument
    is_new: bool
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def is_changed(self) -> bool:
        """Return whether there is anything to store."""
        return self.is_new or bool(self.entries)

    @property
    def state(self) -> State | None:
        """The state of a new profile if it is not `published`, otherwise None."""
        state = self.document.state
        return state if self.is_new and state not in {None, State.DRAFT, State.PUBLISHED} else None

    def record(self) -> dict[str, Any]:
        """Return what is new as the feed records it, values by their digests."""
        document: dict[str, Any] = {
            "name": self.document.name,
            "values": {model: entry.own for model, entry in self.entries.items()},
        }
        if self.document.extends is not None:
            document["extends"] = self.document.extends
        if self.document.description is not None and self.is_new:
            document["description"] = self.document.description
        return document


@dataclass(slots=True)
class _Unsettled:
    """An entry of which it is not yet certain that a release accepts it, and that no variable belongs to one device.

    places: by profile, where it is stated. refusal: what the first release that was considered refuses.
    undecided: variables that no set so far calls other than instance; instance: those of them that some set does.
    """

    model: str
    values: Values
    undecided: set[str]
    places: dict[str, Place] = field(default_factory=dict)
    is_accepted: bool = False
    refusal: tuple[str, Sequence[Problem]] | None = None
    instance: set[str] = field(default_factory=set)

    @property
    def is_settled(self) -> bool:
        """Return whether further releases cannot change the answer."""
        return self.is_accepted and not self.undecided

    def consider(self, release: str, variable_set: VariableSet, problems: Sequence[Problem]) -> None:
        """Take note of what a release makes of the entry."""
        if not problems:
            self.is_accepted = True
        elif self.refusal is None:
            self.refusal = (release, problems)
        for name in list(self.undecided):
            variable = variable_set.variables.get(name)
            if variable is not None and variable.is_instance:
                self.instance.add(name)
            elif variable is not None:
                self.undecided.discard(name)

    def report(self, profile: str) -> bool:
        """Report the faults of the entry in a profile, once every release was considered; return whether it has any."""
        place = self.places[profile]
        if not self.is_accepted:
            place.fault(FaultCode.PROFILE_NOT_ACCEPTED, self._refused())
        own = [name for name in self.values if name in self.undecided & self.instance]
        for name in own:
            message = "is an instance variable: it belongs to one device, never to a profile"
            (place / name).fault(FaultCode.WRONG_SCOPE, message)
        return bool(own) or not self.is_accepted

    def _refused(self) -> str:
        if self.refusal is None:
            return f"No published release implements {self.model}."
        release, problems = self.refusal
        return f"No published release accepts this. {release}: {shown_problems(problems)}"


IS_ALIAS = "must not be a name that a release states as an alias: its devices mean what that stands for"


class ProfilePlanner:
    """Plans profiles that are published together; faults are reported at their places."""

    def __init__(
        self,
        existing: Existing,
        models: Mapping[str, Model],
        release: Candidate | None = None,
        faulty_models: Mapping[str, frozenset[str]] = MappingProxyType({}),
    ) -> None:
        """models: as they are after this publication. release: the one that is published together with the profiles.

        faulty_models: those whose sets have faults, so that it cannot be said whether they accept values; with the
        names of the variables that could not be read.
        """
        self.profiles: dict[str, PlannedProfile] = {}
        self.documents: dict[str, str] = {}
        self._existing = existing
        self._models = models
        self._release = release
        self._faulty_models = faulty_models
        self._acceptance = Acceptance()
        self._values: dict[str, Values] = dict(existing.values)
        self._own_values: dict[str, OwnValues] = {}
        self._resolved: dict[str, Mapping[str, str]] = dict(existing.resolved)
        self._typed: dict[tuple[str, str, str, str | None], Entry] = {}
        self._unsettled: dict[tuple[str, Entry], _Unsettled] = {}
        # Of entries with faults, the values without: they too must not belong to one device.
        self._partial: list[tuple[str, _Unsettled]] = []
        self._faulty: set[str] = set()

    def plan(self, profiles: Sequence[tuple[ProfileDocument, Place]]) -> None:
        """Plan documents, which can extend one another in any order."""
        documents = {profile.name: (profile, place) for profile, place in profiles}
        for name in parents_first({name: profile.extends for name, (profile, _) in documents.items()}):
            profile, place = documents[name]
            count = len(place.faults)
            self._plan_profile(profile, place)
            if len(place.faults) > count:
                self._faulty.add(name)

    def _plan_profile(self, profile: ProfileDocument, place: Place) -> None:
        existing = self._existing.profiles.get(profile.name)
        if existing is None and profile.name in self._existing.aliased:
            (place / "name").fault(FaultCode.DUPLICATE, IS_ALIAS)
        if existing and existing.extends != profile.extends:
            parent = f"extends {existing.extends}" if existing.extends else "extends no profile"
            message = f"must stay as published: {profile.name} {parent}"
            (place / "extends").fault(FaultCode.ENTRY_CHANGED, message)
        if existing and profile.description not in {None, existing.description}:
            (place / "description").fault(FaultCode.ENTRY_CHANGED, "must stay the description published")
        if existing and profile.state is not State.DRAFT:
            check_state(profile.state, existing.state, place)
        if self._release and profile.state is State.DRAFT:
            message = "must not be draft: profiles are published together with their release"
            (place / "state").fault(FaultCode.INVALID_VALUE, message)
        inherited: Mapping[str, str] = {}
        if profile.extends is not None:
            if profile.extends not in self._resolved:
                (place / "extends").fault(FaultCode.UNKNOWN_PROFILE, f"the registry has no profile {profile.extends}")
            inherited = self._resolved.get(profile.extends, {})
        planned = PlannedProfile(profile, is_new=existing is None)
        for model, written in profile.values.items():
            entry = self._new_entry(profile, model, written, inherited.get(model), place / "values" / model)
            if entry is not None:
                planned.entries[model] = entry
        self.profiles[profile.name] = planned
        self._resolved[profile.name] = {
            **inherited,
            **self._resolved.get(profile.name, {}),
            **{model: entry.resolved for model, entry in planned.entries.items()},
        }

    def _new_entry(
        self,
        profile: ProfileDocument,
        model: str,
        written: Mapping[str, Written | None],
        inherited: str | None,
        place: Place,
    ) -> Entry | None:
        """Return the entry that a profile gains for a model; None if it is published already, or has faults."""
        existing = self._existing.profiles.get(profile.name)
        published = existing.entries.get(model) if existing else None
        if is_as_published(published, written):
            return None
        vendor = vendor_of(profile.name)
        entry = None if model in self._faulty_models else self._entry(model, vendor, written, inherited, place)
        if entry is None:
            self._check_partly(profile.name, model, written, place)
            return None
        if published:
            self._report_changes(published.own, entry.own, place)
            return None
        if existing and self._resolved[profile.name].get(model, entry.resolved) != entry.resolved:
            place.fault(FaultCode.ENTRY_CHANGED, f"must stay as published, with the values of {profile.extends}")
            return None
        if profile.extends is None or profile.extends in self._resolved:
            self._expect_acceptance(profile.name, model, entry, place)
            return entry
        return None

    def _check_partly(self, profile: str, model: str, written: Mapping[str, Written | None], place: Place) -> None:
        """Check the values of an entry as far as possible where it has faults, or the set of its model has."""
        if model not in self._models:
            return
        unread = self._faulty_models.get(model, frozenset())
        readable = {name: value for name, value in written.items() if name not in unread}
        # The faults of an entry are reported already.
        reporting = place if model in self._faulty_models else Place()
        values = overlaid({}, typed(readable, self._models[model], vendor_of(profile), reporting))
        partial = _Unsettled(model, values, set(values), {profile: place}, is_accepted=True)
        self._partial.append((profile, partial))
        if self._release is not None and model in self._release.sets:
            partial.consider(self._release.release, self._release.sets[model], ())

    def _entry(
        self, model: str, vendor: str, written: Mapping[str, Written | None], inherited: str | None, place: Place
    ) -> Entry | None:
        """Return the entry that a vendor's profile states for a model, None if it has faults."""
        if model not in self._models:
            place.fault(FaultCode.UNKNOWN_MODEL, f"the registry has no device model {model}")
            return None
        key = (model, vendor, canonical_json(written), inherited)
        if key not in self._typed:
            count = len(place.faults)
            own = typed(written, self._models[model], vendor, place)
            if len(place.faults) > count:
                return None
            resolved = overlaid(self._values[inherited] if inherited is not None else {}, own)
            self._typed[key] = Entry(self._keep(own), self._keep(resolved))
            self._own_values[self._typed[key].own] = own
            self._values.setdefault(self._typed[key].resolved, resolved)
        return self._typed[key]

    def _keep(self, values: Mapping[str, object]) -> str:
        canonical = canonical_json(values)
        key = digest(canonical)
        self.documents[key] = canonical
        return key

    def _report_changes(self, published: str, own: str, place: Place) -> None:
        """Report where an entry differs from the published one."""
        if published == own:
            return
        before, after = self._values[published], self._own_values[own]
        for variable in sorted(before.keys() | after.keys()):
            if variable not in before:
                message = f"must stay as published, without {variable}; here it is {shown(after[variable])}"
            elif variable not in after:
                message = f"must stay as published, with {variable}={shown(before[variable])}"
            elif canonical_json(before[variable]) != canonical_json(after[variable]):
                stated = shown(after[variable])
                message = f"must stay as published, with {variable}={shown(before[variable])}, not {stated}"
            else:
                continue
            place.fault(FaultCode.ENTRY_CHANGED, message)

    def _expect_acceptance(self, profile: str, model: str, entry: Entry, place: Place) -> None:
        """Consider this release first for an entry; others follow if it does not settle it."""
        if (model, entry) in self._unsettled:
            self._unsettled[model, entry].places[profile] = place
            return
        values = self._values[entry.resolved]
        unsettled = self._unsettled[model, entry] = _Unsettled(model, values, set(values), {profile: place})
        if self._release is not None and model in self._release.sets:
            self._consider(unsettled, self._release)

    def _consider(self, unsettled: _Unsettled, candidate: Candidate) -> None:
        # A device can set explicitly what a block forbids in the profile's values, as with ivshmem-plain's master=on.
        variable_set = candidate.sets[unsettled.model].unblocked
        problems = self._acceptance.refusals(
            unsettled.values, self._models[unsettled.model], candidate.release, variable_set
        )
        unsettled.consider(candidate.release, variable_set, problems)

    def unsettled(self) -> Collection[str]:
        """Return the models of which further releases have to be considered."""
        return {entry.model for entry in self._all_unsettled() if not entry.is_settled}

    def _all_unsettled(self) -> Iterator[_Unsettled]:
        yield from self._unsettled.values()
        yield from (partial for _, partial in self._partial)

    def consider(self, candidate: Candidate) -> None:
        """Consider a published release for the unsettled entries of its models."""
        for unsettled in self._unsettled.values():
            if not unsettled.is_settled and unsettled.model in candidate.sets:
                self._consider(unsettled, candidate)
        for _, partial in self._partial:
            if not partial.is_settled and partial.model in candidate.sets:
                partial.consider(candidate.release, candidate.sets[partial.model], ())

    def settle(self) -> None:
        """Report the entries that no release accepts, or that set what belongs to one device; all were considered.

        An entry that inherits from a refused one is not reported itself.
        """
        refused: set[tuple[str | None, str]] = set()
        for name, planned in self.profiles.items():
            for model, entry in planned.entries.items():
                unsettled = self._unsettled[model, entry]
                is_inherited = (planned.document.extends, model) in refused
                if is_inherited or (not unsettled.is_settled and unsettled.report(name)):
                    refused.add((name, model))
                    self._faulty.add(name)
        for name, partial in self._partial:
            self._faulty.add(name)
            partial.report(name)

    def check_listed(self, listed: Iterable[tuple[str, Place]], existing_list: frozenset[str]) -> Sequence[NotAccepted]:
        """Return what the release does not accept of the profiles that it lists; one it accepts nothing of is a fault.

        existing_list: the profiles that are on the list already, and stay there.
        """
        not_accepted: list[NotAccepted] = []
        for name, place in listed if self._release else ():
            if name in self._faulty:
                continue
            if name not in self._resolved:
                place.fault(FaultCode.UNKNOWN_PROFILE, f"the registry has no profile {name}")
                continue
            if self._faulty_models:
                continue
            refused = [
                NotAccepted(name, model, tuple(problems))
                for model, values in sorted(self._resolved[name].items())
                if (problems := self._refusals(model, values))
            ]
            is_refused = all(
                self._refusals(model, values, without_blocks=True) for model, values in self._resolved[name].items()
            )
            if is_refused and name not in existing_list:
                reasons = shown_problems([problem for entry in refused for problem in entry.problems])
                place.fault(FaultCode.PROFILE_NOT_ACCEPTED, f"The release accepts no model of {name}: {reasons}")
            not_accepted += refused
        return not_accepted

    def _refusals(self, model: str, values: str, *, without_blocks: bool = False) -> Sequence[Problem]:
        if self._release is None:
            return ()
        own = self._release.sets.get(model)
        own = own.unblocked if own and without_blocks else own
        return self._acceptance.refusals(self._values[values], self._models[model], self._release.release, own)

    def values_of(self, profile: str, model: str) -> Values | None:
        """Return the resolved values of a profile for a model; None if it has none, or has faults."""
        resolved = self._resolved.get(profile, {}).get(model)
        return None if resolved is None else self._values[resolved]

    def resolved_of(self, profile: str, models: Collection[str]) -> Mapping[str, str]:
        """Return the digests of a profile's resolved values for these models, as far as they are known here."""
        return {model: values for model, values in self._resolved.get(profile, {}).items() if model in models}

    def is_resolved(self, profile: str) -> bool:
        """Return whether all values of a profile are known."""
        return profile in self._resolved and profile not in self._faulty

    @property
    def models(self) -> Mapping[str, Model]:
        """The device models that the documents concern, as they are after this publication."""
        return self._models

    @property
    def values(self) -> Mapping[str, Values]:
        """The values that are known by their digests: of the new entries, and what they were compared with."""
        return self._values

    def changed(self) -> list[PlannedProfile]:
        """Return the profiles that are new or gain a model, parents first."""
        return [planned for planned in self.profiles.values() if planned.is_changed]

    def digest_of(self, name: str) -> str:
        """Return the digest of a planned profile as it is after this publication."""
        existing, planned = self._existing.profiles.get(name), self.profiles[name]
        entries = {**(existing.entries if existing else {}), **planned.entries}
        whole = {
            "profile": name,
            "extends": planned.document.extends,
            "entries": {model: (entry.own, entry.resolved) for model, entry in entries.items()},
        }
        return digest(canonical_json(whole))


def is_as_published(published: Entry | None, written: Mapping[str, Written | None]) -> bool:
    """Return whether an entry is published exactly as it is written; what was stated since does not matter then."""
    return published is not None and published.own == digest(canonical_json(written))


def check_state(asked: State | None, existing: State, place: Place) -> None:
    """Report a publication that asks for another state than the present one.

    It may be an old publication that is sent again, which must not undo a later change of state.
    """
    if asked is not None and asked is not existing:
        (place / "state").fault(
            FaultCode.ENTRY_CHANGED, f"must be {existing.value}, the present state; PATCH changes it"
        )


def parents_first(parents: Mapping[str, str | None]) -> list[str]:
    """Return the names so that each comes after the one that it extends; those of a cycle in any order."""
    ordered: dict[str, None] = {}
    for name in parents:
        line: dict[str, None] = {}
        current: str | None = name
        while current is not None and current in parents and current not in ordered and current not in line:
            line[current] = None
            current = parents[current]
        ordered.update(dict.fromkeys(reversed(line)))
    return list(ordered)


def shown_problems(problems: Sequence[Problem]) -> str:
    """Return the first problems as a message shows them."""
    messages = [problem.message for problem in problems]
    more = f" ({len(messages) - _MAX_SHOWN} more)" if len(messages) > _MAX_SHOWN else ""
    return " ".join(messages[:_MAX_SHOWN]) + more
