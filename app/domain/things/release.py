"""A release: one version of an implementation, with its variable sets and the profiles that it supports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from app.domain.things import variable_set
from app.domain.things.erratum import Erratum
from app.domain.things.profile import ProfileDocument, Values, Written, read_written
from app.domain.things.variable import wrong_scope
from app.domain.things.variable_set import VariableSet, report_given_twice
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import ReleaseName, read_name, version
from app.domain.values.state import State, read_state
from app.domain.values.value import InvalidValueError

_FIELDS = frozenset({"profiles", "own_values", "aliases", "description", "state"})
_VARIABLE_SET_FIELDS = frozenset({"model", "implementation", "version"})

# One object, because the engine tells content apart by identity.
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Release:
    """A published release: its variable set per device model, and its list of profiles.

    profiles: None if the release says nothing about profiles; empty if it supports none.
    own_values: per listed profile and model, the values that the release sets instead of the profile's (DESIGN 5).
    aliases: other names that its devices can give for profiles and models. errata: by model, those not withdrawn.
    """

    name: ReleaseName
    sets: Mapping[str, VariableSet]
    profiles: frozenset[str] | None = None
    state: State = State.PUBLISHED
    own_values: Mapping[str, Mapping[str, Values]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    errata: Mapping[str, Sequence[Erratum]] = field(default_factory=dict)

    def made_of(self, profile: str | None, model: str) -> Values:
        """Return what the release itself says that it makes of a profile, for a model; empty if it says nothing."""
        return self.own_values.get(profile, NOTHING).get(model, NOTHING) if profile is not None else NOTHING


@dataclass(frozen=True, slots=True)
class SetPlace:
    """The places of a variable set and of its variables in a document.

    has_faults: faults are already reported. names: of all its variables, also of those with faults.
    """

    at: Place
    variables: Place
    has_faults: bool
    names: frozenset[str]

    @classmethod
    def of(cls, fields: Mapping[str, object], place: Place, *, has_faults: bool) -> "SetPlace":
        """Return the places of a set, given its JSON fields."""
        key = "variables" if "variables" in fields else "params"
        stated = fields.get(key)
        return cls(place, place / key, has_faults, frozenset(stated if isinstance(stated, dict) else ()))


@dataclass(frozen=True, slots=True)
class ReleaseDocument:
    """A release as a vendor publishes it; profiles are listed by name, or as documents to publish with it."""

    sets: Mapping[str, VariableSet]
    places: Mapping[str, SetPlace]
    profiles: tuple[str | ProfileDocument, ...] | None = None
    description: str | None = None
    state: State | None = None
    own_values: Mapping[str, Mapping[str, Mapping[str, Written]]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def own_profiles(self) -> Sequence[str]:
        """The names of the profiles to publish with the release."""
        return [
            profile.name for profile in self.profiles or () if isinstance(profile, ProfileDocument) and profile.name
        ]

    @classmethod
    def read(cls, document: object, place: Place) -> "ReleaseDocument":
        """Read the release from a JSON object, also the RFC's migration information (DESIGN 3); report its faults."""
        fields = place.fields(document, required=frozenset({"models"}), optional=_FIELDS)
        sets, places = {}, {}
        for model, set_document, set_place in (place / "models").entries(fields.get("models", {})):
            faults_before = len(place.faults)
            read_name(model, set_place)
            set_fields = set_place.fields(set_document, optional=variable_set.FIELDS)
            sets[model] = VariableSet.read(model, set_fields, set_place)
            places[model] = SetPlace.of(set_fields, set_place, has_faults=len(place.faults) > faults_before)
        return cls(
            sets,
            places,
            tuple(_read_profiles(fields["profiles"], place / "profiles")) if "profiles" in fields else None,
            (place / "description").text(fields["description"]) if "description" in fields else None,
            read_state(fields, place),
            _read_own_values(fields.get("own_values", {}), place / "own_values"),
            _read_aliases(fields.get("aliases", {}), place / "aliases"),
        )


def _read_profiles(document: object, place: Place) -> list[str | ProfileDocument]:
    profiles: dict[str, str | ProfileDocument] = {}
    for item, item_place in place.items(document):
        profile = read_name(item, item_place) if isinstance(item, str) else ProfileDocument.read(item, item_place)
        name = profile if isinstance(profile, str) else profile.name
        if name and name in profiles:
            item_place.fault(FaultCode.DUPLICATE, f"duplicate profile {name}")
        profiles[name] = profile
    return list(profiles.values())


def _read_own_values(document: object, place: Place) -> Mapping[str, Mapping[str, Mapping[str, Written]]]:
    own_values: dict[str, dict[str, dict[str, Written]]] = {}
    for profile, models, profile_place in place.entries(document):
        own_values[profile] = {}
        for model, variables, model_place in profile_place.entries(models):
            own_values[profile][model] = {}
            for variable, written, value_place in model_place.entries(variables):
                value = read_written(variable, written, value_place)
                if value is not None:
                    own_values[profile][model][variable] = value
                elif written is None:
                    value_place.fault(FaultCode.WRONG_TYPE, "must be a value, not null; give the off value itself")
    return own_values


def _read_aliases(document: object, place: Place) -> Mapping[str, str]:
    aliases = {}
    for alias, target, alias_place in place.entries(document):
        count = len(place.faults)
        read_name(alias, alias_place)
        name = read_name(target, alias_place)
        if alias == target:
            alias_place.fault(FaultCode.INVALID_VALUE, "must not be the alias itself")
        if len(place.faults) == count:
            aliases[alias] = name
    return aliases


def typed_own_values(own_values: Mapping[str, Written], variable_set: VariableSet, place: Place) -> Values:
    """Return a release's own values for a profile and a model in the types of the variables; report their faults.

    They are under the names that verdicts compare; either name of a renamed variable can be given.
    """
    values = {}
    report_given_twice(own_values, variable_set.renames, place)
    for name, written in own_values.items():
        variable = variable_set.stated.get(name) or variable_set.variables.get(name)
        if variable is None:
            message = f"unknown variable{place.hint(name, variable_set.stated)}"
            (place / name).fault(FaultCode.UNKNOWN_VARIABLE, message)
        elif variable.is_backend or variable.is_instance:
            (place / name).fault(FaultCode.WRONG_SCOPE, wrong_scope(variable))
        else:
            try:
                values[name] = variable.type.read(written)
            except InvalidValueError as error:
                (place / name).fault(FaultCode.INVALID_VALUE, str(error))
                continue
            if values[name] not in variable.allowed:
                message = f"must be a value that the release allows: {variable.allowed.shown()}"
                (place / name).fault(FaultCode.INVALID_VALUE, message)
    return variable_set.compared(values)


def read_variable_set(document: object, place: Place) -> tuple[ReleaseName, ReleaseDocument]:
    """Read one variable set as a document of the release that it is added to.

    Raises InvalidDocumentError with all faults of the document if it does not name the release.
    """
    fields = place.fields(document, required=_VARIABLE_SET_FIELDS, optional=variable_set.FIELDS)
    model = read_name(fields["model"], place / "model") if "model" in fields else ""
    implementation = read_name(fields["implementation"], place / "implementation") if "implementation" in fields else ""
    release_version = read_name(fields["version"], place / "version", version) if "version" in fields else ""
    set_fields = {field: value for field, value in fields.items() if field not in _VARIABLE_SET_FIELDS}
    model_set = VariableSet.read(model, set_fields, place)
    if not (model and implementation and release_version):
        place.raise_faults()
    set_place = SetPlace.of(set_fields, place, has_faults=bool(place.faults))
    return ReleaseName(implementation, release_version), ReleaseDocument({model: model_set}, {model: set_place})
