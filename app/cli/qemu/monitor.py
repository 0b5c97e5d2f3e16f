"""Asks a running QEMU over QMP: at a socket of its own, or through libvirt, which keeps the socket to itself."""

import asyncio
import json
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError  # only the types; defusedxml parses

import defusedxml
import defusedxml.ElementTree
from qemu.qmp import ExecuteError, QMPClient, QMPError
from qemu.qmp.protocol import StateError

_SECONDS = 60
# So many commands can be sent before their answers are read.
_AT_ONCE = 200
_FORBIDDEN = frozenset("'\"\\\n\r;")


class MonitorError(Exception):
    """A QEMU that cannot be asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command of QMP."""

    command: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the command as QMP has it."""
        return {"execute": self.command, **({"arguments": self.arguments} if self.arguments else {})}


@dataclass(frozen=True, slots=True)
class Refused:
    """What QEMU answers to a command that it does not carry out."""

    reason: str


class Monitor(Protocol):
    """A connection to a QEMU."""

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine."""

    @property
    def host(self) -> str | None:
        """The name of the host that it runs on, None if nobody says."""

    def vdpa_nodes(self) -> Sequence[tuple[str, str]]:
        """Return the network cards with a vDPA device behind them: the id, and the character device."""

    def ask(self, calls: Sequence[Call]) -> list[Any]:
        """Return the answers in this order, Refused where QEMU refuses a command; raises MonitorError."""


class SocketMonitor:
    """The QMP socket of a QEMU, which takes one client at a time."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._loop = asyncio.Runner()
        self._client = QMPClient("profile-registry")

    def __enter__(self) -> Self:
        try:
            self._loop.run(asyncio.wait_for(self._client.connect(str(self._socket)), _SECONDS))
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            self._loop.close()
            raise self._error(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._loop.run(self._client.disconnect())
        except (QMPError, OSError, EOFError):
            pass
        finally:
            self._loop.close()

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine: the socket is a file."""
        return True

    @property
    def host(self) -> str | None:
        """The name of this machine."""
        return socket.gethostname()

    def vdpa_nodes(self) -> Sequence[tuple[str, str]]:
        """Return none: QEMU does not say which devices it was given."""
        return ()

    def ask(self, calls: Sequence[Call]) -> list[Any]:
        """Return the answers in this order, Refused where QEMU refuses a command; raises MonitorError."""
        try:
            return self._loop.run(asyncio.wait_for(self._ask(calls), _SECONDS))
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            raise self._error(error) from error

    async def _ask(self, calls: Sequence[Call]) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(calls), _AT_ONCE):
            answers += await asyncio.gather(*map(self._ask_one, calls[start : start + _AT_ONCE]))
        return answers

    async def _ask_one(self, call: Call) -> Any:
        try:
            return await self._client.execute(call.command, dict(call.arguments))
        except ExecuteError as error:
            return Refused(str(error))

    def _error(self, error: Exception) -> MonitorError:
        why = "it has ended" if isinstance(error, StateError) else str(error) or "it does not answer"
        return MonitorError(f"{self._socket} cannot be asked over QMP: {why}")


class Libvirt:
    """A libvirt, as virsh reaches it. uri: None: what virsh uses by default (LIBVIRT_DEFAULT_URI)."""

    def __init__(self, uri: str | None = None) -> None:
        self._connection = [] if uri is None else ["--connect", uri]

    @cached_property
    def is_local(self) -> bool:
        """Whether its address names no other host (https://libvirt.org/uri.html)."""
        with suppress(MonitorError, ValueError):
            address = self.run("", "uri").stdout.strip()
            return bool(address) and not urlsplit(address).netloc
        return False

    @cached_property
    def host(self) -> str | None:
        """The name of its host, None if nobody says."""
        with suppress(MonitorError):
            return self.run("", "hostname").stdout.strip() or None
        return None

    def domains(self) -> Mapping[str, str]:
        """Return the names of the domains that run, paused ones included, by their UUIDs; raises MonitorError."""
        done = self.run("", "list", "--uuid", "--name")
        if done.returncode:
            why = ": ".join(line.removeprefix("error: ") for line in done.stderr.strip().splitlines())
            message = f"libvirt cannot be asked through virsh: {why}"
            raise MonitorError(message)
        lines = (line.strip().partition(" ") for line in done.stdout.splitlines() if line.strip())
        return {uuid: name.strip() for uuid, _, name in lines}

    def run(self, commands: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run virsh with a command, or with commands on its standard input; raises MonitorError."""
        try:
            return subprocess.run(  # noqa: S603 (the names of domains are checked)
                ["virsh", "--quiet", *self._connection, *arguments],  # noqa: S607 (as the shell finds it)
                input=commands,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            message = "virsh is not installed; --qmp SOCKET asks a QEMU without libvirt"
            raise MonitorError(message) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            message = f"virsh cannot be asked: {error}"
            raise MonitorError(message) from error


class VirshMonitor:
    """A domain of libvirt."""

    def __init__(self, domain: str, libvirt: Libvirt | None = None) -> None:
        """Raises MonitorError for a name that virsh would read otherwise."""
        if domain.isdecimal():
            message = f"{domain} is an id for virsh; name the domain, or give its UUID"
            raise MonitorError(message)
        if not domain.isprintable() or domain.startswith("-") or _FORBIDDEN.intersection(domain):
            message = f"{domain!r} cannot be the name of a libvirt domain here: it has quotes, semicolons or new lines"
            if domain.startswith("-"):
                message = f"{domain!r} is an option for virsh; give the UUID of the domain"
            raise MonitorError(message)
        self._domain = domain
        self._libvirt = libvirt or Libvirt()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: each time virsh connects anew."""

    @property
    def is_local(self) -> bool:
        """Whether the address of libvirt names no other host."""
        return self._libvirt.is_local

    @property
    def host(self) -> str | None:
        """The name of the host, as libvirt says it."""
        return self._libvirt.host

    def vdpa_nodes(self) -> Sequence[tuple[str, str]]:
        """Return the network cards with a vDPA device behind them, as libvirt has given it to QEMU."""
        with suppress(MonitorError, ParseError, defusedxml.DefusedXmlException):
            dumped = self._libvirt.run("", "dumpxml", "--domain", self._domain).stdout
            return list(_vdpa_nodes(defusedxml.ElementTree.fromstring(dumped)))
        return ()

    def ask(self, calls: Sequence[Call]) -> list[Any]:
        """Return the answers in this order, Refused where QEMU refuses a command; raises MonitorError."""
        # One virsh for all commands: to start one for each takes most of the time.
        commands = "".join(f"qemu-monitor-command '{self._domain}' '{_quoted(call)}'\n" for call in calls)
        done = self._libvirt.run(commands)
        # Where it reads commands, virsh also prints them.
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if len(lines) != len(calls):
            why = next(iter(done.stderr.strip().splitlines()), "it did not answer all commands")
            message = f"{self._domain} cannot be asked through virsh: {why.removeprefix('error: ')}"
            raise MonitorError(message)
        try:
            return [_answer(json.loads(line)) for line in lines]
        except ValueError as error:
            message = f"{self._domain} cannot be asked through virsh: it does not answer with JSON"
            raise MonitorError(message) from error


def _vdpa_nodes(domain: Element) -> Iterator[tuple[str, str]]:
    """Iterate over the network cards of a libvirt domain with a vDPA device behind them: the alias, and the device."""
    for card in domain.findall("devices/interface[@type='vdpa']"):
        alias, source = card.find("alias"), card.find("source")
        if alias is not None and source is not None:
            yield alias.get("name", ""), source.get("dev", "")


def _quoted(call: Call) -> str:
    """Return a command for single quotes, in which virsh has no escapes."""
    return json.dumps(call.document()).replace("'", "\\u0027")


def _answer(document: Mapping[str, Any]) -> Any:
    return document["return"] if "return" in document else Refused(str(document.get("error", {}).get("desc")))
