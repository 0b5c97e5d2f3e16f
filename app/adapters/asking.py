"""Which hosts take a VM: the question of a scheduler.

Whatever goes wrong, the host is not allowed, and the reason says why: unknown never means compatible (DESIGN 1).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from logging import getLogger
from threading import Lock
from typing import Any, TypeAlias

from pydantic import ValidationError

from app.adapters.devices import PREFIX, DevicesError, read_devices
from app.adapters.limit import LateError, within
from app.client import Registry, RegistryError
from app.wire.compatibility import (
    MAX_DESTINATIONS,
    MAX_PAIRS,
    Answer,
    DestinationAnswer,
    DeviceAnswer,
    Policy,
    Question,
)

# A scheduler waits for the answer, and others wait for the scheduler.
ASK_SECONDS = 5.0
# Schedulers start VMs from what they were defined with, so nobody sets what this warning names; the guest would find
# other hardware. It counts as a problem.
MUST_BE_SET = "must-be-set"
# How much longer the connection of a question that was given up waits, so that it is given up for one reason.
_LATER_SECONDS = 1.0
_SHOWN_HOSTS = 5
_SHOWN_FAULTS = 3
_LOG = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a host takes a VM, and why (not), in a sentence.

    warnings, unchecked: how many warnings there are about the host, and variables that nothing can check.
    """

    is_allowed: bool
    reason: str
    warnings: int = 0
    unchecked: int = 0


# By the name of the host.
Verdicts: TypeAlias = Mapping[str, Verdict]


def refused(hosts: Iterable[str], reason: str) -> Verdicts:
    """Return the verdict that none of the hosts is allowed, for a reason."""
    return dict.fromkeys(hosts, Verdict(is_allowed=False, reason=reason))


class Asker:
    """Asks a registry for a scheduler. Nothing here raises an exception, and nothing takes longer than its limit.

    Safe to share between threads. It connects with its first question, so it can be made before a process forks.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        seconds: float = ASK_SECONDS,
        policy: Policy = Policy.STRICT,
        allow_must_be_set: bool = False,
        connect: Callable[..., Registry] = Registry,
    ) -> None:
        """seconds: how long a question can take in all. policy: as in POST /compatibility.

        allow_must_be_set: whoever starts the VM sets what the warning must-be-set names.
        """
        self._url = url
        self._token = token
        self._seconds = seconds
        self._policy = policy
        self._allow_must_be_set = allow_must_be_set
        self._connect = connect
        self._registry: Registry | None = None
        self._connecting = Lock()
        self._is_from_memory = False

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        registry, self._registry = self._registry, None
        if registry is not None:
            registry.close()

    def about_properties(
        self, properties: Mapping[str, str], hosts: Sequence[str], *, source: str | None = None, prefix: str = PREFIX
    ) -> Verdicts | None:
        """Return a verdict for each host about the devices that properties describe; None if they describe none.

        source: the registered host that the VM runs on; None: it does not run yet. prefix: see read_devices.
        """
        try:
            devices = read_devices(properties, prefix)
        except DevicesError as error:
            return refused(hosts, f"the VM's devices cannot be read: {error}")
        if not devices:
            return None
        return self.about({"devices": devices} if source is None else {"host": source, "devices": devices}, hosts)

    def about(self, vm: Mapping[str, Any], hosts: Sequence[str]) -> Verdicts:
        """Return for each host whether it can take the VM.

        vm: one of the `vms` of POST /compatibility: its devices, and its `host` or `release` if it runs already. hosts:
        names of registered hosts; all of them are one question, beyond the registry's limits a few.
        """
        names = list(dict.fromkeys(hosts))
        devices = vm.get("devices")
        size = max(1, min(MAX_DESTINATIONS, MAX_PAIRS // max(1, len(devices) if isinstance(devices, list) else 1)))
        batches = [names[start : start + size] for start in range(0, len(names), size)]
        answered = self._within_limit(
            lambda: {
                host: verdict
                for batch in batches
                for host, verdict in self._verdicts(vm, [{"host": name} for name in batch]).items()
            }
        )
        if isinstance(answered, str):
            return refused(names, answered)
        missing = refused(names, "the registry's answer does not mention the host")
        return {name: answered.get(name, missing[name]) for name in names}

    def _within_limit(self, ask: Callable[[], Verdicts]) -> Verdicts | str:
        """Return the verdicts that a function returns, or why there are none."""
        try:
            return within(self._seconds, ask)
        except LateError as error:
            return f"the registry gave {error}"
        except (RegistryError, ValueError) as error:
            return f"the registry gave no answer: {_line(error)}"
        except Exception as error:  # noqa: BLE001 (a scheduler must go on, and choose no host)
            return f"the registry was not asked: {type(error).__name__}: {_line(error)}"

    def _verdicts(self, vm: Mapping[str, Any], destinations: Sequence[Mapping[str, Any]]) -> Verdicts:
        question = Question.model_validate(
            {"vms": [{"id": "vm", **vm}], "destinations": destinations, "policy": self._policy.value}
        )
        answer = self._connected().ask(question)
        self._note_memory(answer)
        ids = [device.id or str(position) for position, device in enumerate((question.vms or [])[0].devices)]
        return dict(self._judged(answer, ids))

    def _note_memory(self, answer: Answer) -> None:
        """Log once that the registry answers from memory; again only after it has had its database meanwhile."""
        if answer.as_of is not None and not self._is_from_memory:
            _LOG.warning("the registry's database is away: it answers from memory, as of %s", answer.as_of)
        self._is_from_memory = answer.as_of is not None

    def _judged(self, answer: Answer, ids: Sequence[str]) -> Iterator[tuple[str, Verdict]]:
        for result in answer.results:
            if isinstance(result, DestinationAnswer):
                yield result.destination, self._verdict(result, ids)

    def _verdict(self, result: DestinationAnswer, ids: Sequence[str]) -> Verdict:
        reasons = [f"{device.id}: {reason}" for device in result.devices for reason in self._reasons(device)]
        missing = set(ids) - {device.id for device in result.devices}
        reasons += [
            f"{identifier}: the registry's answer does not mention the device" for identifier in sorted(missing)
        ]
        warnings = sum(len(device.warnings) for device in result.devices)
        unchecked = sum(len(device.unchecked) for device in result.devices)
        if reasons or not result.compatible:
            more = f" (and {len(reasons) - 1:,} more)" if len(reasons) > 1 else ""
            reason = f"{reasons[0]}{more}" if reasons else "the registry answers that it is incompatible"
            return Verdict(is_allowed=False, reason=reason, warnings=warnings, unchecked=unchecked)
        return Verdict(is_allowed=True, reason="it can re-create all devices", warnings=warnings, unchecked=unchecked)

    def _reasons(self, device: DeviceAnswer) -> Iterator[str]:
        problems = [f"{problem.message} ({problem.code})" for problem in device.problems]
        yield from problems
        if not self._allow_must_be_set:
            yield from (
                f"{warning.message} ({warning.code})" for warning in device.warnings if warning.code == MUST_BE_SET
            )
        if not device.compatible and not problems:
            yield "the registry answers that it is incompatible"

    def _connected(self) -> Registry:
        with self._connecting:
            if self._registry is None:
                # Questions are not sent again: the scheduler does that. One that is given up ends by itself soon after.
                seconds = self._seconds + _LATER_SECONDS
                self._registry = self._connect(self._url, self._token, retry_seconds=0, timeout_seconds=seconds)
            return self._registry


def _line(error: Exception) -> str:
    """Return the message of an error on one line."""
    if isinstance(error, ValidationError):
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return f"{error.title} is not valid: {'; '.join(islice(faults, _SHOWN_FAULTS))}"
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip()) or "no message"


def by_reason(verdicts: Verdicts) -> Iterator[str]:
    """Iterate over lines for a log: each reason against hosts once, with how many and the first of them."""
    reasons: dict[str, list[str]] = {}
    for host, verdict in verdicts.items():
        if not verdict.is_allowed:
            reasons.setdefault(verdict.reason, []).append(host)
    for reason, hosts in sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0])):
        more = f" and {len(hosts) - _SHOWN_HOSTS:,} more" if len(hosts) > _SHOWN_HOSTS else ""
        yield f"{', '.join(hosts[:_SHOWN_HOSTS])}{more}: {reason}"
