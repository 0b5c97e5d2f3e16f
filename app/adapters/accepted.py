"""What registered hosts accept: for each kind of host and each profile, whether it does, and why not."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from logging import getLogger
from types import MappingProxyType
from typing import Any

from app.client import Registry, RegistryError

# A question names one host of each kind. Small enough for an address, and for the budget of a question (DESIGN 6).
_PROFILES_AT_ONCE = 25
_HOSTS_AT_ONCE = 50
MAX_PROFILES = 200
_RETIRED = "retired"
_OVER_BUDGET = "over-budget"
# What may differ between units that are alike (DESIGN 6, kinds).
_OF_ONE_UNIT = frozenset({"id", "available"})
_LOG = getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which profiles are asked about.

    patterns: names, or shell patterns such as qemu.org/pc-q35-*; vendors: only names of these; models: only profiles
    for these device models, and a host has to accept a profile for all of these that it names. Empty: any. limit: how
    many profiles at most.
    """

    patterns: Sequence[str] = ()
    vendors: Sequence[str] = ()
    models: Sequence[str] = ()
    limit: int = MAX_PROFILES

    def includes(self, profile: str) -> bool:
        """Return whether the patterns include a profile."""
        return not self.patterns or any(fnmatchcase(profile, pattern) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What registered hosts accept at a moment.

    profiles: those that were asked about. hosts: for each registered host and each of these profiles, why the host does
    not accept it; None: it does. Hosts of a kind share one mapping. with_different_units: hosts whose units do not
    state the same, so that the host's answer is not that of each unit.
    """

    profiles: Sequence[str]
    hosts: Mapping[str, Mapping[str, str | None]]
    with_different_units: frozenset[str]

    def refusal(self, host: str, profile: str) -> str | None:
        """Return why a host does not accept a profile; None: it does. What is not known is not accepted (DESIGN 1)."""
        if host not in self.hosts:
            return f"no host {host} is registered"
        return self.hosts[host].get(profile, f"the registry does not say whether the host accepts {profile}")


def read_accepted(
    registry: Registry, choice: Choice, is_preferred: Callable[[str], bool] = lambda _profile: False
) -> Accepted:
    """Return what all registered hosts accept of the chosen profiles; raises RegistryError.

    is_preferred: whether a profile goes first where there are more than the limit, so that no publication displaces it.
    """
    profiles = _chosen(registry, choice, is_preferred)
    kinds: dict[str, str] = {}
    examples: dict[str, str] = {}
    different: set[str] = set()
    for host in registry.items("/hosts"):
        name, kind = host["host"], host["kind"]
        kinds[name] = kind
        examples.setdefault(kind, name)
        if len({json.dumps(_of_any(unit), sort_keys=True) for unit in host["units"]}) > 1:
            different.add(name)
    asked = [name for name, state in profiles.items() if state != _RETIRED]
    answers: dict[str, dict[str, str | None]] = {
        kind: {name: f"{name} is retired" for name, state in profiles.items() if state == _RETIRED} for kind in examples
    }
    names = list(examples.values())
    for hosts, some in product(_batches(names, _HOSTS_AT_ONCE), _batches(asked, _PROFILES_AT_ONCE)):
        _ask(registry, choice.models, hosts, some, answers)
    of_kind = {kind: MappingProxyType(answer) for kind, answer in answers.items()}
    hosts_of = {name: of_kind[kind] for name, kind in kinds.items()}
    return Accepted(list(profiles), hosts_of, frozenset(different))


def _of_any(unit: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in unit.items() if name not in _OF_ONE_UNIT}


def _batches(names: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


def _chosen(registry: Registry, choice: Choice, is_preferred: Callable[[str], bool]) -> Mapping[str, str]:
    """Return the chosen profiles with their states, sorted by name."""
    states: dict[str, str] = {}
    for vendor, model in product(choice.vendors or (None,), choice.models or (None,)):
        filters = {name: value for name, value in (("vendor", vendor), ("model", model)) if value is not None}
        for profile in registry.items("/profiles", **filters):
            if choice.includes(profile["name"]):
                states[profile["name"]] = profile["state"]
    for pattern in choice.patterns:
        if not any(fnmatchcase(name, pattern) for name in states):
            _LOG.warning("no published profile is, or matches, %s", pattern)
    # A retired profile needs no place: no host accepts it.
    order = sorted(states, key=lambda name: (states[name] == _RETIRED, not is_preferred(name), name))
    if len(order) > choice.limit:
        left_out = [name for name in order[choice.limit :] if states[name] != _RETIRED]
        if left_out:
            _LOG.warning(
                "%d of %d profiles are left out, such as %s: the limit is %d; choose fewer, or raise it",
                *(len(left_out), len(order), left_out[0], choice.limit),
            )
    return {name: states[name] for name in sorted(order[: choice.limit])}


def _ask(
    registry: Registry,
    models: Sequence[str],
    hosts: Sequence[str],
    profiles: Sequence[str],
    answers: dict[str, dict[str, str | None]],
) -> None:
    """Add what the kinds of these hosts accept of these profiles to the answers, by kind and profile."""
    try:
        matrix = registry.get("/support-matrix", host=hosts, profile=profiles, model=models)
    except RegistryError as error:
        if error.problem is None or error.problem.get("code") != _OVER_BUDGET:
            raise
        if len(hosts) * len(profiles) <= 1:
            line = str(error).partition("\n")[0]
            _LOG.warning("the registry does not say whether %s accepts %s: %s", hosts[0], profiles[0], line)
            return
        # Over the budget of a question: two smaller ones.
        for some_hosts, some_profiles in _halves(hosts, profiles):
            _ask(registry, models, some_hosts, some_profiles, answers)
        return
    if matrix.get("as_of") is not None:
        message = f"the registry's database is away; it answers from memory, as of {matrix['as_of']}"
        raise RegistryError(message, is_transient=True)
    kinds = {column["kind"] for column in matrix["kinds"]}
    if not kinds <= answers.keys() or len(kinds) < len(hosts):
        message = "a host has changed while the registry was asked"
        raise RegistryError(message, is_transient=True)
    for row in matrix["rows"]:
        for cell in row["cells"]:
            answers[cell["kind"]][row["profile"]] = _refusal(cell, row["profile"])


def _halves(hosts: Sequence[str], profiles: Sequence[str]) -> Iterable[tuple[Sequence[str], Sequence[str]]]:
    if len(profiles) > 1:
        middle = len(profiles) // 2
        return [(hosts, profiles[:middle]), (hosts, profiles[middle:])]
    middle = len(hosts) // 2
    return [(hosts[:middle], profiles), (hosts[middle:], profiles)]


def _refusal(cell: Mapping[str, Any], profile: str) -> str | None:
    """Return why a cell of the support matrix is not compatible; None: it is."""
    if cell["compatible"] is True:
        return None
    problems = cell["problems"]
    if not problems:
        return f"it does not accept {profile}"
    more = cell.get("problem_count", len(problems)) - 1
    return f"{problems[0]['message']} ({problems[0]['code']})" + (f" and {more:,} more" if more > 0 else "")
