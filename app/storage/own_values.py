"""What releases themselves make of a model under a profile on their list, where that is not what the profile says."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from app.domain.canonical import canonical_json, digest
from app.domain.document import FaultCode, Place
from app.domain.profile import Values
from app.domain.release import ReleaseDocument, typed_own_values
from app.domain.variable_set import VariableSet
from app.storage import lookup, schema
from app.storage.database import insert

# Profile → model → digest of the values.
Digests = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class _Entry:
    profile: str
    model: str
    digest: str
    document: str


def of_release(connection: sa.Connection, release_id: int) -> Digests:
    """Return what a release makes of itself: profile → model → digest of the values."""
    return lookup.own_values_of(connection, [release_id]).get(release_id, {})


def values_of_release(connection: sa.Connection, release_id: int) -> dict[str, dict[str, Values]]:
    """Return what a release makes of itself: profile → model → values."""
    digests = of_release(connection, release_id)
    values = lookup.profile_values(connection, {each for models in digests.values() for each in models.values()})
    return {
        profile: {model: values[each] for model, each in sorted(models.items())}
        for profile, models in sorted(digests.items())
    }


class OwnValues:
    """The own values that a document states of a release; faults are reported first, then everything is stored."""

    def __init__(self, document: ReleaseDocument, standing: Digests) -> None:
        self._document = document
        self._standing = standing
        self._new: list[_Entry] = []

    def check(self, sets: Mapping[str, VariableSet], listed: Collection[str], at: Place) -> None:
        """Report the faults: profiles that are not on the list, models and variables that the release does not have."""
        for profile, models in self._document.own_values.items():
            if profile not in listed:
                (at / profile).fault(FaultCode.UNKNOWN_PROFILE, f"{profile} is not on the release's list")
                continue
            for model, written in models.items():
                here = at / profile / model
                if model in self._document.places and self._document.places[model].has_faults:
                    continue
                if model not in sets:
                    here.fault(FaultCode.UNKNOWN_MODEL, f"the release does not implement {model}")
                    continue
                self._add(profile, model, typed_own_values(written, sets[model], here), here)

    def _add(self, profile: str, model: str, values: Values, at: Place) -> None:
        document = canonical_json(values)
        stated, published = digest(document), self._standing.get(profile, {}).get(model)
        if published is None:
            self._new.append(_Entry(profile, model, stated, document))
        elif published != stated:
            at.fault(FaultCode.ENTRY_CHANGED, "is published with other values")

    def document(self) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
        """Return what is new as a change records it, the values by their digests."""
        own: dict[str, dict[str, str]] = {}
        for each in self._new:
            own.setdefault(each.profile, {})[each.model] = each.digest
        return {"own_values": own} if own else {}

    def store(self, connection: sa.Connection, release_id: int) -> int:
        """Store what is new; return how much that is."""
        documents = {each.digest: each.document for each in self._new}
        new = documents.keys() - lookup.stored_digests(connection, schema.profile_values, documents)
        if new:
            rows = [{"digest": key, "document": documents[key]} for key in sorted(new)]
            insert(connection, schema.profile_values, rows)
        profile_ids = lookup.ids(connection, schema.profile, {each.profile for each in self._new})
        model_ids = lookup.ids(connection, schema.model, {each.model for each in self._new})
        links = [
            {
                "release_id": release_id,
                "profile_id": profile_ids[each.profile],
                "model_id": model_ids[each.model],
                "digest": each.digest,
            }
            for each in self._new
        ]
        if links:
            insert(connection, schema.release_own_values, links)
        return len(links)
