"""An inventory: what many hosts state, read and checked at the cost of what differs between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa

from app.domain.things.restriction import Unknown
from app.domain.values.document import Place
from app.domain.values.name import InvalidNameError, host_name
from app.service.host import check_host, models_of, stated_by
from app.storage import fleet, lookup
from app.storage.host import LabelSet, Registration, Stated
from app.wire.host import HostDocument, Inventory, Labelled
from app.wire.reading import MAX_FAULTS, Fault, InvalidShapeError, Read, frame_of, read_shape

# An inventory without what its hosts state.
_FRAME = frame_of(Inventory, {"hosts": dict[str, Any]})


@dataclass(frozen=True, slots=True)
class _Read:
    """What some hosts state alike. document: without labels."""

    document: HostDocument
    stated: Mapping[str, Any]
    stored: Stated
    hosts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class InventoryDocument:
    """An inventory that has its shape. statements: what the hosts state, each once."""

    registrations: Mapping[str, Registration]
    statements: Sequence[_Read]
    forget_others: bool


def read(document: object) -> InventoryDocument:
    """Read an inventory; raises InvalidShapeError with the faults of all hosts."""
    frame: Any = read_shape(_FRAME, document)
    reading = _Reading()
    registrations = {
        name: registration
        for name, host in frame.hosts.items()
        if (registration := reading.registration(name, host)) is not None
    }
    if reading.faults:
        raise InvalidShapeError(reading.faults[:MAX_FAULTS])
    return InventoryDocument(registrations, list(reading.statements.values()), frame.forget_others)


class _Reading:
    """Reads hosts; those that state the same, or have the same labels, cost one."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.statements: dict[bytes, _Read] = {}
        self._label_sets: dict[bytes, LabelSet] = {}
        self._registrations: dict[Registration, Registration] = {}
        self._invalid: dict[bytes, Sequence[Fault]] = {}

    def registration(self, name: str, host: object) -> Registration | None:
        """Return what is stored of a host; None if it has faults, which are added."""
        if len(self.faults) >= MAX_FAULTS:
            return None
        try:
            host_name(name)
        except InvalidNameError as error:
            self.faults.append({"type": "value_error", "loc": ("hosts", name), "msg": str(error), "input": name})
        labels: object = host.pop("labels", {}) if isinstance(host, dict) else {}
        key, label_key = _key(host), b"labels" + _key(labels)
        statement = self.statements.get(key) or self._statement(name, key, host)
        label_set = self._label_sets.get(label_key) or self._label_set(name, label_key, labels)
        if statement is None or label_set is None:
            return None
        statement.hosts.append(name)
        registration = Registration(statement.stored, label_set)
        return self._registrations.setdefault(registration, registration)

    def _statement(self, name: str, key: bytes, host: object) -> _Read | None:
        document = self._shape(HostDocument, name, key, host)
        if document is None:
            return None
        stated = stated_by(document)
        return self.statements.setdefault(key, _Read(document, stated, Stated(stated)))

    def _label_set(self, name: str, key: bytes, labels: object) -> LabelSet | None:
        labelled = self._shape(Labelled, name, key, {"labels": labels})
        return None if labelled is None else self._label_sets.setdefault(key, LabelSet(labelled.labels))

    def _shape(self, shape: type[Read], name: str, key: bytes, document: object) -> Read | None:
        """Return a document of a host as its shape; None if it has faults, which are added."""
        if key not in self._invalid:
            try:
                return read_shape(shape, document)
            except InvalidShapeError as error:
                self._invalid[key] = error.faults
        self.faults += [{**fault, "loc": ("hosts", name, *fault["loc"])} for fault in self._invalid[key]]
        return None


def _key(document: object) -> bytes:
    """Return a text that differs for different documents."""
    try:
        return orjson.dumps(document)
    except TypeError:
        # An integer of more than 64 bits, or a document that is nested deeply. Each of these is read alone.
        return f"at {id(document)}".encode()


def check(inventory: InventoryDocument, connection: sa.Connection) -> dict[str, Any]:
    """Return the names in an inventory that are not published; raises InvalidDocumentError with all faults."""
    models = lookup.models(
        connection, dict.fromkeys(model for one in inventory.statements for model in models_of(one.stated))
    )
    unknown = Unknown()
    place = Place()
    for statement in inventory.statements:
        attempt = Place()
        check_host(statement.document, statement.stated, {}, models, attempt)
        existing: Mapping[str, fleet.Host] = {}
        if attempt.faults:
            # What is registered for a host stays valid for it.
            existing = {host.name: host for host in fleet.all_hosts(connection, statement.hosts)}
        for name in statement.hosts if attempt.faults else statement.hosts[:1]:
            stated = existing[name].stated if name in existing else {}
            of_host = check_host(statement.document, statement.stated, stated, models, place / "hosts" / name)
            unknown.models.update(of_host.models)
            for model, variables in of_host.variables.items():
                unknown.variables.setdefault(model, {}).update(variables)
            if len(place.faults) >= MAX_FAULTS:
                place.raise_faults()
    place.raise_faults()
    releases = dict.fromkeys(
        name for one in inventory.statements for part in (one.stated, *one.stated["units"]) for name in part["releases"]
    )
    published = lookup.published(connection, releases)
    return {
        "unknown_releases": [release for release in releases if release not in published],
        "unknown_models": list(unknown.models),
        "unknown_variables": {model: list(variables) for model, variables in unknown.variables.items()},
    }
