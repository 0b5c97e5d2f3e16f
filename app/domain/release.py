"""A release: one version of an implementation, its variable sets and the profiles that it supports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain import variable_set
from app.domain.document import FaultCode, Place
from app.domain.name import InvalidNameError, ReleaseName, version
from app.domain.profile import ProfileDocument, Values, Written, read_name, read_written
from app.domain.state import State, read_state
from app.domain.value import InvalidValueError
from app.domain.variable_set import VariableSet

_FIELDS = frozenset({"profiles", "own_values", "description", "state"})
_VARIABLE_SET_FIELDS = frozenset({"model", "implementation", "version"})


@dataclass(frozen=True, slots=True)
class Release:
    """A published release: its variable set of each device model, and the profiles on its list.

    profiles: None says nothing about profiles; an empty list supports none.
    own_values: per listed profile and model, what the release itself makes otherwise than the profile says.
    """

    name: ReleaseName
    sets: Mapping[str, VariableSet]
    profiles: frozenset[str] | None = None
    state: State = State.PUBLISHED
    own_values: Mapping[str, Mapping[str, Values]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetPlace:
    """Where a variable set and its variables stand in a document, and whether faults of it are reported already."""

    at: Place
    variables: Place
    has_faults: bool

    @classmethod
    def of(cls, stated: Mapping[str, object], at: Place, *, has_faults: bool) -> "SetPlace":
        """Return the place of a set that a JSON object states."""
        return cls(at, at / ("variables" if "variables" in stated else "params"), has_faults)


@dataclass(frozen=True, slots=True)
class ReleaseDocument:
    """A release as a vendor publishes it; listed profiles are names, or documents published with it."""

    sets: Mapping[str, VariableSet]
    places: Mapping[str, SetPlace]
    profiles: tuple[str | ProfileDocument, ...] | None = None
    description: str | None = None
    state: State | None = None
    own_values: Mapping[str, Mapping[str, Mapping[str, Written]]] = field(default_factory=dict)

    @property
    def own_profiles(self) -> Sequence[str]:
        """The names of the profiles that are published with it."""
        return [each.name for each in self.profiles or () if isinstance(each, ProfileDocument) and each.name]

    @classmethod
    def read(cls, written: object, at: Place) -> "ReleaseDocument":
        """Return the release that a JSON object states, or the RFC's migration information, its faults reported."""
        fields = at.fields(written, required=frozenset({"models"}), optional=_FIELDS)
        sets, places = {}, {}
        for model, each, here in (at / "models").entries(fields.get("models", {})):
            faults_before = len(at.faults)
            read_name(model, here)
            stated = here.fields(each, optional=variable_set.FIELDS)
            sets[model] = VariableSet.read(model, stated, here)
            places[model] = SetPlace.of(stated, here, has_faults=len(at.faults) > faults_before)
        return cls(
            sets,
            places,
            tuple(_read_listed(fields["profiles"], at / "profiles")) if "profiles" in fields else None,
            (at / "description").text(fields["description"]) if "description" in fields else None,
            read_state(fields, at),
            _read_own_values(fields.get("own_values", {}), at / "own_values"),
        )


def _read_listed(written: object, at: Place) -> list[str | ProfileDocument]:
    listed: dict[str, str | ProfileDocument] = {}
    for each, here in at.items(written):
        profile = read_name(each, here) if isinstance(each, str) else ProfileDocument.read(each, here)
        name = profile if isinstance(profile, str) else profile.name
        if name and name in listed:
            here.fault(FaultCode.DUPLICATE, f"lists {name} again")
        listed[name] = profile
    return list(listed.values())


def _read_own_values(written: object, at: Place) -> Mapping[str, Mapping[str, Mapping[str, Written]]]:
    own: dict[str, dict[str, dict[str, Written]]] = {}
    for profile, models, here in at.entries(written):
        own[profile] = {}
        for model, values, there in here.entries(models):
            own[profile][model] = {}
            for variable, each, place in there.entries(values):
                value = read_written(variable, each, place)
                if value is not None:
                    own[profile][model][variable] = value
                elif each is None:
                    place.fault(FaultCode.WRONG_TYPE, "is null: the off value is to be given as it is")
    return own


def typed_own_values(written: Mapping[str, Written], variable_set: VariableSet, at: Place) -> Values:
    """Return what a release itself makes of a model's variables, in their types, its faults reported."""
    values = {}
    for name, each in written.items():
        variable = variable_set.variables.get(name)
        if variable is None:
            (at / name).fault(FaultCode.UNKNOWN_VARIABLE, "is no variable of the set")
        elif variable.is_backend or variable.is_instance:
            (at / name).fault(FaultCode.WRONG_SCOPE, f"is {variable.scope.value}: no profile speaks of it")
        else:
            try:
                values[name] = variable.type.read(each)
            except InvalidValueError as error:
                (at / name).fault(FaultCode.INVALID_VALUE, f"{each!r} {error}")
    return values


def read_variable_set(written: object, at: Place) -> tuple[ReleaseName, ReleaseDocument]:
    """Return one variable set as a document of the release that it is added to.

    Raises InvalidDocumentError with all faults of the document if it does not say which release that is.
    """
    fields = at.fields(written, required=_VARIABLE_SET_FIELDS, optional=variable_set.FIELDS)
    model = read_name(fields["model"], at / "model") if "model" in fields else ""
    implementation = read_name(fields["implementation"], at / "implementation") if "implementation" in fields else ""
    its_version = _read_version(fields["version"], at / "version") if "version" in fields else ""
    stated = {field: value for field, value in fields.items() if field not in _VARIABLE_SET_FIELDS}
    read = VariableSet.read(model, stated, at)
    if not (model and implementation and its_version):
        at.raise_faults()
    place = SetPlace.of(stated, at, has_faults=bool(at.faults))
    return ReleaseName(implementation, its_version), ReleaseDocument({model: read}, {model: place})


def _read_version(written: object, at: Place) -> str:
    if not isinstance(written, str):
        at.fault(FaultCode.WRONG_TYPE, "is no string")
        return ""
    try:
        return version(written)
    except InvalidNameError as error:
        at.fault(FaultCode.INVALID_NAME, str(error))
        return ""
