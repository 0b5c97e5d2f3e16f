"""Plans a release: a document gives what is added to what is published, or every fault (DESIGN 3 and 4)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.fleet.difference import between_releases
from app.domain.publishing.existing import Existing
from app.domain.publishing.outcome import Added, NotAccepted
from app.domain.publishing.profile import IS_ALIAS, Candidate, ProfilePlanner, check_state
from app.domain.things.model import Model, Statement
from app.domain.things.profile import ProfileDocument
from app.domain.things.release import ReleaseDocument, SetPlace, typed_own_values
from app.domain.things.variable_set import VariableSet
from app.domain.values.canonical import canonical_json, digest
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import ReleaseName
from app.domain.values.state import State


@dataclass(frozen=True, slots=True)
class OwnValues:
    """The values that a release makes of a profile itself, for one model; document: as canonical JSON."""

    profile: str
    model: str
    digest: str
    document: str


@dataclass(slots=True)
class ReleasePlan:
    """What a publication adds to a release; complete once its profiles are settled and `finish` was called.

    statements: per model, the types and off values that are stated for the first time. new_sets: the variable sets
    that the release gains. names: its listed profiles, as the document lists them; newly_listed: None if the list does
    not change. new_aliases: the aliases that it gains.
    """

    name: ReleaseName
    document: ReleaseDocument
    existing: Existing
    profiles: ProfilePlanner
    sets: Mapping[str, VariableSet]
    statements: Mapping[str, Mapping[str, Statement]]
    new_sets: Mapping[str, VariableSet]
    place: Place
    names: Sequence[str] = ()
    newly_listed: Sequence[str] | None = None
    own_values: list[OwnValues] = field(default_factory=list)
    new_aliases: Mapping[str, str] = field(default_factory=dict)
    not_accepted: Sequence[NotAccepted] = ()

    @property
    def is_new(self) -> bool:
        """Whether the release is not published yet."""
        return self.existing.release is None

    @property
    def new_models(self) -> Collection[str]:
        """The models that come into being with this publication."""
        return self.document.sets.keys() - self.existing.models.keys()

    @property
    def has_new_list(self) -> bool:
        """Whether the release states a list of profiles for the first time."""
        listed = self.existing.release.listed if self.existing.release else None
        return self.document.profiles is not None and listed is None

    @property
    def state(self) -> State | None:
        """The state of a new release if it is not `published`, otherwise None."""
        state = self.document.state
        return state if self.is_new and state not in {None, State.DRAFT, State.PUBLISHED} else None

    def finish(self) -> None:
        """Check the list and the own values, once the entries of its profiles are settled; report every fault."""
        existing = self.existing.release
        listed = self.document.profiles or ()
        existing_list = existing.listed if existing else None
        places = [self.place / "profiles" / index for index in range(len(listed))]
        self.names = [entry.name if isinstance(entry, ProfileDocument) else entry for entry in listed]
        self.not_accepted = self.profiles.check_listed(
            zip(self.names, places, strict=True), existing_list or frozenset()
        )
        self._plan_own_values({*self.names, *(existing_list or ())})
        self._plan_aliases()
        new = [name for name in self.names if name not in (existing_list or ())]
        self.newly_listed = new if self.document.profiles is not None and (new or existing_list is None) else None

    def _plan_own_values(self, listed: Collection[str]) -> None:
        place = self.place / "own_values"
        published = self.existing.release.own_values if self.existing.release else {}
        for profile, models in self.document.own_values.items():
            if profile not in listed:
                message = f"must be on the release's list: {profile} is not"
                (place / profile).fault(FaultCode.UNKNOWN_PROFILE, message)
                continue
            for model, written in models.items():
                here = place / profile / model
                if model not in self.sets:
                    here.fault(FaultCode.UNKNOWN_MODEL, f"the release does not implement {model}")
                    continue
                if model in self.document.places and self.document.places[model].has_faults:
                    unread = self.document.places[model].names - self.sets[model].stated.keys()
                    readable = {name: value for name, value in written.items() if name not in unread}
                    typed_own_values(readable, self.sets[model], here)
                    continue
                if self.profiles.is_resolved(profile) and self.profiles.values_of(profile, model) is None:
                    here.fault(FaultCode.UNKNOWN_MODEL, f"{profile} has no values for {model}")
                document = canonical_json(typed_own_values(written, self.sets[model], here))
                planned = OwnValues(profile, model, digest(document), document)
                existing = published.get(profile, {}).get(model)
                if existing is None:
                    self.own_values.append(planned)
                elif existing != planned.digest:
                    here.fault(FaultCode.ENTRY_CHANGED, "must stay the values published")

    def _plan_aliases(self) -> None:
        """Check that aliases stand for what is published, and that none of them changes."""
        place = self.place / "aliases"
        published = self.existing.release.aliases if self.existing.release else {}
        known = {*self.existing.targets, *self.sets, *self.profiles.profiles}
        new = {}
        for alias, target in self.document.aliases.items():
            if alias in published:
                if published[alias] != target:
                    message = f"must stay as published: {alias} is {published[alias]}"
                    (place / alias).fault(FaultCode.ENTRY_CHANGED, message)
            elif alias in known:
                message = f"must not be the name of a profile or a device model: {alias} is one"
                (place / alias).fault(FaultCode.DUPLICATE, message)
            elif target not in known:
                message = f"the registry has neither a profile nor a device model {target}"
                (place / alias).fault(FaultCode.UNKNOWN_PROFILE, message)
            else:
                new[alias] = target
        self.new_aliases = new

    def digest(self) -> str:
        """Return the digest of the release as it is after this publication."""
        own, listed = self.all_own_values(), self.all_listed()
        whole = {
            "release": str(self.name),
            "models": self.all_sets(),
            "profiles": None if listed is None else sorted(listed),
            **({"own_values": own} if own else {}),
            **({"aliases": aliases} if (aliases := self._aliases()) else {}),
        }
        return digest(canonical_json(whole))

    def all_sets(self) -> Mapping[str, str]:
        """Return the digests of the release's sets by model, as they are after this publication."""
        new = {model: variable_set.digest for model, variable_set in self.new_sets.items()}
        return {**(self.existing.release.sets if self.existing.release else {}), **new}

    def all_listed(self) -> frozenset[str] | None:
        """Return the profiles on the release's list after this publication, None if it has no list."""
        listed = self.existing.release.listed if self.existing.release else None
        return listed if self.document.profiles is None else (listed or frozenset()) | frozenset(self.names)

    def all_own_values(self) -> Mapping[str, Mapping[str, str]]:
        """Return the digests of the release's own values by profile and model, as they are after this publication."""
        existing = self.existing.release.own_values if self.existing.release else {}
        own: dict[str, dict[str, str]] = {profile: dict(models) for profile, models in existing.items()}
        for planned in self.own_values:
            own.setdefault(planned.profile, {})[planned.model] = planned.digest
        return own

    def added(self) -> Added:
        """Return how many entries of each kind this publication adds; signatures apart."""
        vendor, known = self.name.vendor, self.existing.models
        stated = [
            (variable in (known[model].statements.get(vendor, {}) if model in known else {}), statement)
            for model, statements in self.statements.items()
            for variable, statement in statements.items()
        ]
        changed = self.profiles.changed()
        return Added(
            releases=int(self.is_new),
            models=len(self.new_models),
            release_models=len(self.new_sets),
            variables=sum(not is_known for is_known, _ in stated),
            off_values=sum(statement.off_value is not None for _, statement in stated),
            profiles=sum(planned.is_new for planned in changed),
            profile_models=sum(len(planned.entries) for planned in changed),
            profile_lists=int(self.has_new_list),
            listed_profiles=len(set(self.newly_listed or ())),
            own_values=len(self.own_values),
            aliases=len(self.new_aliases),
        )

    def _aliases(self) -> Mapping[str, str]:
        return {**(self.existing.release.aliases if self.existing.release else {}), **self.new_aliases}

    def record(self) -> dict[str, Any]:
        """Return what is added as the feed records it, content by its digest."""
        record: dict[str, Any] = {"models": {model: added.digest for model, added in self.new_sets.items()}}
        profiles = {planned.document.name: planned.record() for planned in self.profiles.changed()}
        names = [name for name in self.newly_listed or () if name not in profiles]
        if profiles or self.newly_listed is not None:
            record["profiles"] = [*names, *profiles.values()]
        own: dict[str, dict[str, str]] = {}
        for planned in self.own_values:
            own.setdefault(planned.profile, {})[planned.model] = planned.digest
        if own:
            record["own_values"] = own
        if self.new_aliases:
            record["aliases"] = dict(self.new_aliases)
        if self.is_new and self.document.description is not None:
            record["description"] = self.document.description
        return record

    def concerned(self) -> set[str]:
        """Return the models whose verdicts can change; a list or aliases that grow or come into being concern all."""
        is_wider = self.newly_listed is not None or bool(self.new_aliases)
        listing = self.existing.release.sets if self.existing.release and is_wider else {}
        return {*self.new_sets, *listing, *(planned.model for planned in self.own_values)}


def plan_release(
    name: ReleaseName, document: ReleaseDocument, existing: Existing, place: Place, *, is_whole: bool
) -> ReleasePlan:
    """Return the plan of a release, and report the faults of all but its list and its own values.

    is_whole: the document states the whole release, not one variable set that is added to it.
    """
    published = existing.release
    if published is None and not is_whole and existing.has_draft:
        place.fault(FaultCode.ENTRY_CHANGED, f"{name} is a draft: PUT replaces it, PATCH publishes it")
    if published is not None:
        if document.description not in {None, published.description}:
            (place / "description").fault(FaultCode.ENTRY_CHANGED, "must stay the description published")
        check_state(document.state, published.state, place)
    present = published.sets if published else {}
    statements, faulty_models = _plan_statements(name, document, existing)
    models = dict(existing.models)
    for model, added in statements.items():
        models[model] = models.get(model, Model(model, {})).with_statements(name.vendor, added)
    sets = {**{model: existing.sets[key] for model, key in present.items() if key in existing.sets}, **document.sets}
    planner = ProfilePlanner(existing, models, Candidate(str(name), sets), faulty_models)
    listed = enumerate(document.profiles or ())
    planner.plan([(entry, place / "profiles" / index) for index, entry in listed if isinstance(entry, ProfileDocument)])
    new_sets = {model: variable_set for model, variable_set in document.sets.items() if model not in present}
    return ReleasePlan(name, document, existing, planner, sets, statements, new_sets, place)


def _plan_statements(
    name: ReleaseName, document: ReleaseDocument, existing: Existing
) -> tuple[dict[str, Mapping[str, Statement]], dict[str, frozenset[str]]]:
    """Return what the sets state for the first time, by model, and report what they would change.

    Return also the models of which the sets have faults, with the names of variables about which nothing is known.
    """
    statements = {}
    faulty: dict[str, frozenset[str]] = {}
    present = existing.release.sets if existing.release else {}
    for model_name, variable_set in document.sets.items():
        place = document.places[model_name]
        count = len(place.at.faults)
        model = existing.models.get(model_name, Model(model_name, {}))
        if model_name not in existing.models and model.vendor != name.vendor:
            message = f"unknown device model: only {model.vendor} can publish its first variable set"
            place.at.fault(FaultCode.UNKNOWN_MODEL, message)
        if model_name not in existing.models and model_name in existing.aliased:
            place.at.fault(FaultCode.DUPLICATE, IS_ALIAS)
        statements[model_name] = model.additions(variable_set, name.vendor)
        if not place.has_faults and present.get(model_name) != variable_set.digest:
            for contradiction in model.contradictions(variable_set, name.vendor):
                where = place.variables / contradiction.variable / contradiction.field
                where.fault(FaultCode.VARIABLE_REDEFINED, contradiction.message)
            if model_name in present:
                _report_changes(model, name.vendor, existing.sets[present[model_name]], variable_set, place)
        if place.has_faults or len(place.at.faults) > count:
            faulty[model_name] = place.names - variable_set.stated.keys()
    return statements, faulty


def _report_changes(model: Model, vendor: str, before: VariableSet, after: VariableSet, place: SetPlace) -> None:
    """Report where a set differs from the one that is published."""
    differences = between_releases(model, (vendor, vendor), before, after)
    for difference in differences:
        where = place.at if difference.variable is None else place.variables / difference.variable
        where.fault(FaultCode.ENTRY_CHANGED, f"must stay as published. {difference.message}")
    if not differences:
        place.at.fault(FaultCode.ENTRY_CHANGED, f"must stay as published, with the digest {before.digest}")
