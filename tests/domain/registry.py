"""A registry in memory, to which plans of publications are applied as storage applies them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.publishing.existing import Existing, ExistingProfile, ExistingRelease
from app.domain.publishing.outcome import refuse_faults
from app.domain.publishing.profile import Candidate, ProfilePlanner
from app.domain.publishing.release import ReleasePlan, plan_release
from app.domain.things.model import Model
from app.domain.things.profile import ProfileDocument, Values
from app.domain.things.release import ReleaseDocument
from app.domain.values.document import Fault, Place
from app.domain.values.name import ReleaseName
from app.domain.values.state import State


class MemoryRegistry:
    """Publishes by plans; content is kept by digest."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.releases: dict[str, ExistingRelease] = {}
        self.profiles: dict[str, ExistingProfile] = {}
        self._sets: dict[str, Any] = {}
        self._values: dict[str, Values] = {}

    def resolved(self, name: str) -> dict[str, str]:
        """Return the digests of a profile's resolved values; what it does not name comes from its parent."""
        profile = self.profiles[name]
        inherited = self.resolved(profile.extends) if profile.extends else {}
        return inherited | {model: entry.resolved for model, entry in profile.entries.items()}

    def values(self, profile: str, model: str) -> Values:
        """Return the resolved values of a profile for a model."""
        return self._values[self.resolved(profile)[model]]

    def _existing(self, documents: Sequence[ProfileDocument], listed: Sequence[str] = ()) -> Existing:
        names = {document.name for document in documents}
        parents = {document.extends for document in documents if document.extends}
        known = [name for name in {*names, *parents, *listed} if name in self.profiles]
        return Existing(
            dict(self.models),
            {name: self.profiles[name] for name in names if name in self.profiles},
            {name: self.resolved(name) for name in known},
            dict(self._values),
        )

    def plan(
        self,
        name: str,
        document: Mapping[str, Any],
        *,
        is_whole: bool = True,
        has_draft: bool = False,
    ) -> tuple[ReleasePlan, list[Fault]]:
        """Return the plan of a release, and all faults of its document."""
        place = Place()
        read = ReleaseDocument.read(document, place)
        listed = read.profiles or ()
        existing = self._existing(
            [entry for entry in listed if isinstance(entry, ProfileDocument)],
            [entry for entry in listed if isinstance(entry, str)],
        )
        existing = Existing(
            existing.models,
            existing.profiles,
            existing.resolved,
            existing.values,
            self.releases.get(name),
            dict(self._sets),
            has_draft,
            frozenset(target for target in read.aliases.values() if target in {*self.models, *self.profiles}),
        )
        plan = plan_release(ReleaseName.parse(name), read, existing, place, is_whole=is_whole)
        self._settle(plan.profiles)
        plan.finish()
        return plan, place.faults

    def _settle(self, planner: ProfilePlanner) -> None:
        for name, release in reversed(self.releases.items()):
            sets = {model: self._sets[digest] for model, digest in release.sets.items()}
            if planner.unsettled():
                planner.consider(Candidate(name, sets))
        planner.settle()

    def publish(self, name: str, document: Mapping[str, Any], *, is_whole: bool = True) -> ReleasePlan:
        """Publish a release; raises ConflictError and InvalidDocumentError."""
        plan, faults = self.plan(name, document, is_whole=is_whole)
        refuse_faults(Place(faults))
        vendor = plan.name.vendor
        for model, added in plan.statements.items():
            self.models[model] = self.models.get(model, Model(model, {})).with_statements(vendor, added)
        self._sets |= {added.digest: added for added in plan.new_sets.values()}
        self._apply(plan.profiles)
        before = self.releases.get(name)
        own = {profile: dict(models) for profile, models in (before.own_values if before else {}).items()}
        for planned in plan.own_values:
            own.setdefault(planned.profile, {})[planned.model] = planned.digest
        listed = before.listed if before else None
        if plan.newly_listed is not None:
            listed = (listed or frozenset()) | frozenset(plan.newly_listed)
        self.releases[name] = ExistingRelease(
            before.description if before else plan.document.description,
            before.state if before else plan.state or State.PUBLISHED,
            {**(before.sets if before else {}), **{model: added.digest for model, added in plan.new_sets.items()}},
            listed,
            own,
            {**(before.aliases if before else {}), **plan.new_aliases},
        )
        return plan

    def plan_profile(self, document: Mapping[str, Any]) -> tuple[ProfilePlanner, list[Fault]]:
        """Return the plan of a profile that is published alone, and all faults of its document."""
        place = Place()
        read = ProfileDocument.read(document, place)
        planner = ProfilePlanner(self._existing([read]), self.models)
        planner.plan([(read, place)])
        self._settle(planner)
        return planner, place.faults

    def publish_profile(self, document: Mapping[str, Any]) -> ProfilePlanner:
        """Publish a profile; raises ConflictError and InvalidDocumentError."""
        planner, faults = self.plan_profile(document)
        refuse_faults(Place(faults))
        self._apply(planner)
        return planner

    def _apply(self, planner: ProfilePlanner) -> None:
        for planned in planner.changed():
            profile = planned.document
            before = self.profiles.get(profile.name)
            self.profiles[profile.name] = ExistingProfile(
                before.extends if before else profile.extends,
                before.description if before else profile.description,
                before.state if before else planned.state or State.PUBLISHED,
                {**(before.entries if before else {}), **planned.entries},
            )
        self._values |= {digest: json.loads(text) for digest, text in planner.documents.items()}
