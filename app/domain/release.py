"""A release: one version of an implementation, its variable sets and the profiles that it supports."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain import variable_set
from app.domain.document import FaultCode, Place
from app.domain.name import InvalidNameError, ReleaseName, version
from app.domain.profile import ProfileDocument, read_name, read_state
from app.domain.variable_set import VariableSet

_FIELDS = frozenset({"profiles", "description", "state"})
_VARIABLE_SET_FIELDS = frozenset({"model", "implementation", "version"})


@dataclass(frozen=True, slots=True)
class Release:
    """A published release: its variable set of each device model, and the profiles on its list.

    profiles: None says nothing about profiles; an empty list supports none.
    """

    name: ReleaseName
    sets: Mapping[str, VariableSet]
    profiles: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ReleaseDocument:
    """A release as a vendor publishes it; listed profiles are names, or documents published with it."""

    sets: Mapping[str, VariableSet]
    profiles: tuple[str | ProfileDocument, ...] | None = None
    description: str | None = None

    @classmethod
    def read(cls, written: object, at: Place) -> "ReleaseDocument":
        """Return the release that a JSON object states, or the RFC's migration information, its faults reported."""
        fields = at.fields(written, required=frozenset({"models"}), optional=_FIELDS)
        read_state(fields, at)
        sets = {}
        for model, each, here in (at / "models").entries(fields.get("models", {})):
            read_name(model, here)
            sets[model] = VariableSet.read(model, here.fields(each, optional=variable_set.FIELDS), here)
        return cls(
            sets,
            tuple(_read_listed(fields["profiles"], at / "profiles")) if "profiles" in fields else None,
            (at / "description").text(fields["description"]) if "description" in fields else None,
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


def read_variable_set(written: object, at: Place) -> tuple[ReleaseName | None, VariableSet]:
    """Return one variable set and the release that it is added to, its faults reported."""
    fields = at.fields(written, required=_VARIABLE_SET_FIELDS, optional=variable_set.FIELDS)
    texts = {}
    for field in _VARIABLE_SET_FIELDS & fields.keys():
        text = fields[field]
        if not isinstance(text, str):
            (at / field).fault(FaultCode.WRONG_TYPE, "is no string")
        texts[field] = str(text)
    model = read_name(texts["model"], at / "model") if "model" in texts else ""
    implementation = read_name(texts["implementation"], at / "implementation") if "implementation" in texts else ""
    release = None
    if "version" in texts:
        try:
            release = ReleaseName(implementation, version(texts["version"]))
        except InvalidNameError as error:
            (at / "version").fault(FaultCode.INVALID_NAME, str(error))
    stated = {field: value for field, value in fields.items() if field not in _VARIABLE_SET_FIELDS}
    return release, VariableSet.read(model, stated, at)
