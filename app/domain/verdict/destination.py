"""A destination: a host that a VM could move to, or that it runs on."""

from types import MappingProxyType
from typing import NamedTuple

from app.domain.things.restriction import Restrictions
from app.domain.verdict.problem import Problem


class Destination(NamedTuple):
    """A host that a VM could move to, or that a device runs on.

    releases: what it runs, in its own order of preference.
    restrict: per model and variable the only values that this host allows.
    problem: why nothing can be said about it: it is not a registered host.
    """

    id: str
    releases: tuple[str, ...]
    restrict: Restrictions = MappingProxyType({})
    problem: Problem | None = None
