"""Facts about a host, as its tools state them; the registry's names come later."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from app.cli.host.naming import Kernel, Names
from app.cli.host.tool import Machine, NotAskedError

# By model and variable: what is made of values (`resolves`); the allowed values (`restrict`), None if all are.
Stated: TypeAlias = Mapping[str, Mapping[str, Any]]


def _unrestricted(_names: Names, _releases: Sequence[str]) -> Stated:
    return {}


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of the host that devices are made from. releases: for each release the possible names.

    find: chooses one of them, None if none can be. restrict: given the releases that were chosen, what of them this
    unit does not provide, by variable; variables that it does not name stay as they are registered.
    """

    id: str
    releases: Sequence[Sequence[str]]
    find: Callable[[Names, Sequence[str]], str | None] = Names.chosen
    restrict: Callable[[Names, Sequence[str]], Stated] = _unrestricted
    available: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What one source states. releases: of the whole host, for each the possible names. notes: what it cannot state.

    kept: units that are there and cannot be stated, so that they stay as they are registered. is_partial: more can be
    there than it states, so that all that is registered stays.
    """

    releases: Sequence[Sequence[str]] = ()
    units: Sequence[Unit] = ()
    resolves: Stated = field(default_factory=dict)
    notes: Sequence[str] = ()
    kept: frozenset[str] = frozenset()
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A tool, or a place of the kernel, that states something of a host.

    read: raises NotAskedError; kernel: None where it is not known. owns_unit, owns_release: whether a registered unit,
    by its id and its releases, or a registered release of the whole host, is one that only this source can have
    reported: it stays registered while the source cannot be asked, and goes when the source no longer states it.
    resolves: the variables that it states, by model.
    """

    name: str
    read: Callable[[Machine, Kernel | None], Facts]
    owns_unit: Callable[[str, Sequence[str]], bool] = lambda _id, _releases: False
    owns_release: Callable[[str], bool] = lambda _name: False
    resolves: Mapping[str, Sequence[str]] = field(default_factory=dict)


def known(kernel: Kernel | None) -> Kernel:
    """Return the kernel; raises NotAskedError if it is not known."""
    if kernel is None:
        message = "which kernel runs is not known"
        raise NotAskedError(message)
    return kernel
