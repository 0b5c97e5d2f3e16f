"""Facts about a host, as its tools state them; the registry's names come later."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from app.cli.client import Registry
from app.cli.host.naming import Kernel, chosen
from app.cli.host.tool import Machine

# By model and variable: allowed values of `restrict`, or what is made of values in `resolves`.
Stated: TypeAlias = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of the host that devices are made from. releases: for each release the possible names.

    find: chooses one of them, None if none can be. restrict: given the releases that were chosen, what of
    them this unit does not provide.
    """

    id: str
    releases: Sequence[Sequence[str]]
    find: Callable[[Registry, Sequence[str]], str | None] = chosen
    restrict: Callable[[Registry, Sequence[str]], Stated] = lambda _registry, _releases: {}
    available: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What one source says. releases: of the whole host, for each the possible names. notes: what it cannot say.

    is_partial: more can be there than it states, so what is registered stays.
    """

    releases: Sequence[Sequence[str]] = ()
    units: Sequence[Unit] = ()
    resolves: Stated = field(default_factory=dict)
    notes: Sequence[str] = ()
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A tool, or a place of the kernel, that says something of a host.

    read: raises NotAskedError. owns_unit, owns_implementation: whether only this source reports units with this id, and
    releases of this implementation: what it reported before stays registered while it cannot be asked, and goes when it
    no longer reports it. resolves: the variables that it states, by model.
    """

    name: str
    read: Callable[[Machine, Kernel], Facts]
    owns_unit: Callable[[str], bool] = lambda _id: False
    owns_implementation: Callable[[str], bool] = lambda _name: False
    resolves: Mapping[str, Sequence[str]] = field(default_factory=dict)
