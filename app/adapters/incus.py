"""Incus: keeps the scriptlet current that places instances on members that can re-create their devices.

Incus calls the Starlark function instance_placement(request, candidate_members) of the setting
instances.placement.scriptlet (its documentation, "Instance placement scriptlet"). Nothing in it can ask over the
network, so it gets tables: for each description of devices and each member that such instances run on, which members
take them. The descriptions are the keys user.dpr:ID.model and so on (app.adapters.devices) of instances and profiles.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from logging import getLogger
from pathlib import Path
from threading import Event, Lock
from time import monotonic
from typing import Any
from urllib.parse import quote

import httpx

from app.adapters.asking import Asker, Verdict, Verdicts, refused
from app.adapters.devices import PREFIX
from app.adapters.following import Confirmation, Look

SOCKET = Path("/var/lib/incus/unix.socket")
SETTING = "instances.placement.scriptlet"
# How long what was written holds without the adapter, and how often the adapter looks at Incus.
LEASE_SECONDS = 900
LOOK_SECONDS = 10.0
_TIMEOUT_SECONDS = 30.0
# Users choose the keys that begin so.
_USER = "user."
_MARK = "# Written by profile-registry adapter incus. Changes are overwritten."
_RENEWALS = 3
_MAX_REASON = 300
_LOG = getLogger(__name__)

# By description and source (empty: new), the verdict about each member.
Table = Mapping[tuple[str, str], Verdicts]


class IncusError(Exception):
    """Incus cannot be reached, or refuses; the message says why."""


class Incus:
    """A cluster of Incus, by the API of one of its members; every method raises IncusError."""

    def __init__(self, socket: Path = SOCKET, *, transport: httpx.BaseTransport | None = None) -> None:
        """socket: that of the member's daemon."""
        self._socket = socket
        self._http = httpx.Client(
            base_url="http://incus",
            transport=transport or httpx.HTTPTransport(uds=str(socket)),
            timeout=_TIMEOUT_SECONDS,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def members(self) -> Sequence[str]:
        """Return the names of the cluster's members."""
        return sorted(member["server_name"] for member in self._get("/1.0/cluster/members?recursion=1"))

    def uptimes(self, members: Sequence[str]) -> Mapping[str, int]:
        """Return the uptimes of members in seconds; those that do not say are not in it."""
        uptimes = {}
        for member in members:
            try:
                state = self._get(f"/1.0/cluster/members/{quote(member, safe='')}/state")
            except IncusError as error:
                _LOG.info("%s does not say its uptime: %s", member, error)
            else:
                uptimes[member] = state["sysinfo"]["uptime"]
        return uptimes

    def described(self) -> "Mapping[str, Described]":
        """Return the devices that profiles and instances describe, by their descriptions."""
        found: dict[str, Described] = {}
        for profile in self._get("/1.0/profiles?recursion=1&all-projects=true"):
            _add(found, profile["config"])
        for instance in self._get("/1.0/instances?recursion=1&all-projects=true"):
            _add(found, instance["expanded_config"], instance["location"])
        return found

    def scriptlet(self) -> str:
        """Return the scriptlet; empty if there is none."""
        scriptlet: str = self._get("/1.0")["config"].get(SETTING, "")
        return scriptlet

    def set_scriptlet(self, text: str) -> None:
        """Set the scriptlet."""
        self._send("PATCH", "/1.0", {"config": {SETTING: text}})

    def _get(self, address: str) -> Any:
        return self._send("GET", address)

    def _send(self, method: str, address: str, document: object = None) -> Any:
        try:
            response = self._http.request(method, address, json=document)
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            message = f"{self._socket} does not answer as Incus does: {error}"
            raise IncusError(message) from error
        if not response.is_success:
            message = f"Incus refuses {method} {address}: {answer.get('error', response.status_code)}"
            raise IncusError(message)
        return answer["metadata"]


@dataclass(frozen=True, slots=True)
class Described:
    """Devices that are described. properties: as read_devices takes them. members: those that instances run on."""

    properties: Mapping[str, str]
    members: set[str] = field(default_factory=set)


def _add(found: dict[str, Described], config: Mapping[str, str], member: str | None = None) -> None:
    """Add the devices that a configuration describes, if it does."""
    properties = {key.removeprefix(_USER): value for key, value in config.items() if key.startswith(f"{_USER}{PREFIX}")}
    if properties:
        described = found.setdefault(_description(properties), Described(properties))
        described.members.update([] if member is None else [member])


def _description(properties: Mapping[str, str]) -> str:
    """Return the description of devices; the scriptlet makes the same of a request."""
    return "\n".join(sorted(f"{key}={_on_a_line(value)}" for key, value in properties.items()))


def _on_a_line(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def scriptlet_of(table: Table, uptimes: Mapping[str, int], seconds: int = LEASE_SECONDS) -> str:
    """Return the scriptlet with a table; after so many seconds, it refuses everything.

    uptimes: of the members now; one that is not in it gets no instance.
    """
    rows: list[Mapping[str, str]] = []
    sources: dict[str, dict[str, int]] = {}
    for (description, source), verdicts in sorted(table.items()):
        # Instances from members of one kind have the same row.
        row = {member: _reason(verdict) for member, verdict in sorted(verdicts.items())}
        if row not in rows:
            rows.append(row)
        sources.setdefault(description, {})[source] = rows.index(row)
    data = {"SECONDS": seconds, "UPTIMES": dict(uptimes), "ROWS": rows, "TABLE": sources}
    # These documents of JSON are expressions of Starlark, too: there is no null, true or false.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False, sort_keys=True)}" for name, value in data.items()]
    code = files("app.adapters").joinpath("incus.star").read_text(encoding="utf-8")
    return "\n".join([_MARK, *lines, code])


def _reason(verdict: Verdict) -> str:
    if verdict.is_allowed:
        return ""
    return verdict.reason if len(verdict.reason) <= _MAX_REASON else f"{verdict.reason[: _MAX_REASON - 1]}…"


@dataclass(slots=True)
class Placement:
    """Writes the scriptlet whenever what members accept, or what instances there are, has changed.

    look and heard are for a Follower of the registry's feed, in another thread.
    """

    incus: Incus
    asker: Asker
    lease_seconds: int = LEASE_SECONDS
    replace: bool = False
    wake: Event = field(default_factory=Event)
    _lock: Lock = field(default_factory=Lock)
    _known: dict[tuple[str, str], Verdicts] = field(default_factory=dict)
    _away: str | None = None
    # What was written, and when it must be written again.
    _written: tuple[object, str, float] | None = None
    _confirmation: Confirmation = field(init=False)

    def __post_init__(self) -> None:
        self._confirmation = Confirmation(self.lease_seconds)

    def look(self, _: Look) -> None:
        """Ask the registry about everything again."""
        with self._lock:
            self._known, self._away = {}, None
        self._confirmation.confirm()
        self.wake.set()

    def heard(self, error: Exception | None) -> None:
        """Let no member take anything, as long as the registry is away."""
        if error is None:
            self._confirmation.confirm()
        with self._lock:
            if error is None or self._away is not None:
                return
            self._away = f"the registry gave no answer: {error}"
        self.wake.set()

    def run(self, stop: Event, seconds: float = LOOK_SECONDS) -> None:
        """Renew the scriptlet every this many seconds, and when something changes, until the event is set."""
        failure = ""
        while not stop.is_set():
            self.wake.clear()
            try:
                self.renew()
            except Exception as error:  # noqa: BLE001 (the scriptlet must be renewed later, whatever went wrong now)
                said = str(error) if isinstance(error, IncusError) else repr(error)
                if said != failure:
                    _LOG.warning("%s; trying again", said)
                failure = said
            else:
                failure = ""
            if not stop.is_set():
                self.wake.wait(seconds)

    def renew(self) -> None:
        """Write the scriptlet if it is not what it must be, or a third of its time is over; raises IncusError."""
        table = self.table()
        current = self.incus.scriptlet()
        if current and not current.startswith(_MARK) and not self.replace:
            message = f"{SETTING} has a scriptlet of somebody else, which --replace would overwrite"
            raise IncusError(message)
        shown = {pair: {member: _reason(verdict) for member, verdict in row.items()} for pair, row in table.items()}
        if self._written is not None:
            what, text, due_at = self._written
            if what == shown and text == current and monotonic() < due_at:
                return
            is_new = what != shown
        else:
            is_new = True
        seconds, text = self._lease(table)
        due_at = monotonic() + seconds / _RENEWALS
        self.incus.set_scriptlet(text)
        self._written = shown, text, due_at
        if is_new:
            for line in _lines(table):
                _LOG.info(line)

    def text(self, table: Table) -> str:
        """Return the scriptlet with a table; raises IncusError."""
        return self._lease(table)[1]

    def _lease(self, table: Table) -> tuple[int, str]:
        """Return how many seconds a table holds, and the scriptlet with it; raises IncusError."""
        uptimes = self.incus.uptimes(self.incus.members())
        # A member that restarts passes the same uptime again. If that is soon after its start, nobody may have written
        # again by then.
        uptimes = {member: uptime for member, uptime in uptimes.items() if uptime >= self.lease_seconds}
        seconds = self.lease_seconds
        if any(verdict.is_allowed for verdicts in table.values() for verdict in verdicts.values()):
            # The table is as old as its confirmation.
            seconds = math.ceil(self._confirmation.remaining)
            if seconds <= 0:
                raise IncusError(self._unconfirmed())
        return seconds, scriptlet_of(table, uptimes, seconds)

    def _unconfirmed(self) -> str:
        return f"the registry has confirmed nothing for more than {self.lease_seconds} seconds"

    def table(self) -> Table:
        """Return what the members accept of the devices that instances and profiles describe; raises IncusError."""
        members = self.incus.members()
        described = self.incus.described()
        pairs = [
            (description, source) for description, devices in described.items() for source in {"", *devices.members}
        ]
        with self._lock:
            known = self._known
        table = {}
        for description, source in pairs:
            # It can go while it is asked.
            away = self._away if self._confirmation.is_current else self._away or self._unconfirmed()
            if away is not None:
                return dict.fromkeys(pairs, refused(members, away))
            verdicts = known.get((description, source), {})
            # What nobody takes is asked about again: the question itself may have failed.
            if set(verdicts) != set(members) or not any(verdict.is_allowed for verdict in verdicts.values()):
                properties = described[description].properties
                verdicts = self.asker.about_properties(properties, members, source=source or None) or {}
            table[description, source] = known[description, source] = verdicts
        return table


def _lines(table: Table) -> Sequence[str]:
    """Return lines for a log about what was written."""
    lines = []
    for (description, source), verdicts in sorted(table.items()):
        allowed = ", ".join(member for member, verdict in sorted(verdicts.items()) if verdict.is_allowed) or "no member"
        lines.append(f"{' '.join(description.split())}{f' from {source}' if source else ''}: {allowed}")
    return lines
