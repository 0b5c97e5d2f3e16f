"""An erratum (DESIGN 5): what a published release turned out to do wrong, as a rule for verdicts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from app.domain.things.condition import Condition, MigrationBlock, matches
from app.domain.things.variable_set import VariableSet
from app.domain.values.canonical import canonical_json, digest
from app.domain.values.document import MAX_QUOTED, FaultCode, Place, must_be_one_of
from app.domain.values.name import InvalidNameError, ReleaseName, name, numeric, read_name
from app.domain.values.value import Value

_REQUIRED = frozenset({"release", "model", "description"})
_OPTIONAL = frozenset({"when", "with", "direction", "url", "local"})
_MAX_RELEASES = 100
_MAX_URL = 2048
_ID_LENGTH = 16
_COMPARISON = re.compile(r"(>=|<=|>|<|=)([A-Za-z0-9][A-Za-z0-9._+~:-]{0,63})")


class Way(StrEnum):
    """The migrations that an erratum forbids, seen from its release: `to` others, `from` others, or both."""

    TO = "to"
    FROM = "from"
    BOTH = "both"


# The ways of an erratum that a migration from its release, and one to it, can take.
LEAVING = frozenset({Way.TO, Way.BOTH})
ENTERING = frozenset({Way.FROM, Way.BOTH})


@dataclass(frozen=True, slots=True)
class Others:
    """The releases that `with` names: one, or those of an implementation whose versions meet every comparison.

    comparisons: operator and version; versions are compared by their numeric components (DESIGN 5).
    """

    implementation: str
    version: str | None
    comparisons: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Others":
        """Read `<implementation>@<version>`, `<implementation>@>=7.2,<8.0` or `<implementation>@*`.

        Raises InvalidNameError.
        """
        implementation, separator, versions = text.partition("@")
        if separator and versions == "*":
            return cls(name(implementation), None)
        if not separator or versions[:1] not in {"<", ">", "="}:
            release = ReleaseName.parse(text)
            return cls(release.implementation, release.version)
        parts = [_COMPARISON.fullmatch(part.strip()) for part in versions.split(",")]
        if not all(parts):
            message = "a range of releases must be <implementation>@ and comparisons, such as >=7.2,<8.0 or *"
            raise InvalidNameError(message)
        comparisons = tuple((part[1], part[2]) for part in parts if part)
        for _, version in comparisons:
            if not numeric(version):
                message = f"a range of releases must compare versions that have a number, not {version}"
                raise InvalidNameError(message)
        if not _can_be_met(comparisons):
            message = f"a range of releases must have versions in it, not {versions}"
            raise InvalidNameError(message)
        return cls(name(implementation), None, comparisons)

    def __str__(self) -> str:
        versions = self.version or ",".join(map("".join, self.comparisons)) or "*"
        return f"{self.implementation}@{versions}"

    def has(self, release: ReleaseName) -> bool:
        """Return whether a release is one of them."""
        if release.implementation != self.implementation:
            return False
        if self.version is not None:
            return release.version == self.version
        number = numeric(release.version)
        return all(_meets(number, operator, numeric(version)) for operator, version in self.comparisons)


def _can_be_met(comparisons: Sequence[tuple[str, str]]) -> bool:
    """Return whether some version meets all comparisons: one of those compared with, or one next to it."""
    numbers = [numeric(version) for _, version in comparisons]
    tried = [candidate for number in numbers for candidate in (number, (*number, 1), _below(number))]
    return any(all(_meets(number, operator, numeric(version)) for operator, version in comparisons) for number in tried)


def _below(number: tuple[int, ...]) -> tuple[int, ...]:
    last = max((index for index, part in enumerate(number) if part), default=None)
    # Nothing is below 0.
    return number if last is None else (*number[:last], number[last] - 1, 2**31)


def _meets(number: tuple[int, ...], operator: str, other: tuple[int, ...]) -> bool:
    # 8 and 8.0.0 are the same version.
    length = max(len(number), len(other))
    one, two = (part + (0,) * (length - len(part)) for part in (number, other))
    return {">=": one >= two, "<=": one <= two, ">": one > two, "<": one < two, "=": one == two}[operator]


@dataclass(frozen=True)
class Erratum:
    """A model of a release cannot be migrated: in configurations that `when` matches, from or to certain releases.

    others: the other releases of the migrations that are forbidden; None: all, so that it cannot be migrated at all.
    local: an admin's own, which mirrors do not take.
    """

    release: ReleaseName
    model: str
    when: Condition
    others: tuple[Others, ...] | None
    way: Way
    description: str
    url: str | None
    local: bool
    document: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The first characters of the digest of its document: equal errata are one."""
        return digest(canonical_json(self.document)).partition(":")[2][:_ID_LENGTH]

    def concerns(self, configuration: Mapping[str, Value] | None) -> bool:
        """Return whether a configuration at its release is one that `when` matches; one that is not known can be."""
        return not self.when or configuration is None or matches(self.when, configuration)

    def forbids(self, other: ReleaseName | None) -> bool:
        """Return whether another release is one that it forbids; None: the other release is not known."""
        return self.others is None or (other is not None and any(others.has(other) for others in self.others))


def read_erratum(document: object, place: Place) -> Mapping[str, Any]:
    """Read an erratum from a JSON object, every default filled in; report its faults.

    Its condition is checked by `understood`, once the release is known.
    """
    fields = place.fields(document, required=_REQUIRED, optional=_OPTIONAL)
    read: dict[str, Any] = {
        "release": read_name(fields["release"], place / "release", _release) if "release" in fields else "",
        "model": read_name(fields["model"], place / "model") if "model" in fields else "",
        "when": dict(_entries(fields.get("when", {}), place / "when")),
        "with": None,
        "direction": Way.BOTH.value,
        "description": (place / "description").text(fields.get("description", "")),
        "url": None,
        "local": (place / "local").flag(fields["local"]) if "local" in fields else False,
    }
    if "description" in fields and not read["description"].strip():
        message = "must not be blank: it says what is wrong, for the people whose migrations it refuses"
        (place / "description").fault(FaultCode.INVALID_VALUE, message)
    if fields.get("with") is not None:
        read["with"] = _read_others(fields["with"], place / "with")
    if "direction" in fields:
        if fields["direction"] not in list(Way):
            message = must_be_one_of([way.value for way in Way], fields["direction"])
            (place / "direction").fault(FaultCode.INVALID_VALUE, message)
        read["direction"] = fields["direction"]
    if fields.get("url") is not None:
        read["url"] = (place / "url").text(fields["url"])
        if not re.match(r"https?://[^\s]+\Z", read["url"]) or len(read["url"]) > _MAX_URL:
            message = f"must be an address that begins with https:// or http://, of at most {_MAX_URL:,} characters"
            (place / "url").fault(FaultCode.INVALID_VALUE, message)
    return read


def _release(text: str) -> str:
    return str(ReleaseName.parse(text))


def _entries(document: object, place: Place) -> list[tuple[str, object]]:
    return [(name, values) for name, values, _ in place.entries(document)]


def _read_others(document: object, place: Place) -> list[str]:
    others = []
    for item, item_place in place.items(document):
        try:
            others.append(item if isinstance(item, str) and Others.parse(item) else str(item)[:MAX_QUOTED])
            if not isinstance(item, str):
                item_place.fault(FaultCode.WRONG_TYPE, "must be a string: a release, or a range of releases")
        except InvalidNameError as error:
            item_place.fault(FaultCode.INVALID_NAME, str(error))
    if isinstance(document, list) and not 1 <= len(document) <= _MAX_RELEASES:
        message = f"must name 1 to {_MAX_RELEASES} releases; leave it out if the device cannot be migrated at all"
        place.fault(FaultCode.LIMIT_EXCEEDED, message)
    return others


def understood(read: Mapping[str, Any], variable_set: VariableSet, place: Place) -> Erratum:
    """Return the erratum that `read_erratum` read, with its condition in the types of the set; report faults.

    variable_set: what the erratum's release states about its model. The document of the erratum is the shortest form of
    what was read: equal errata have one id.
    """
    when = variable_set.condition(read["when"], place / "when")
    for variable_name, values in when.items():
        variable, own_name = variable_set.variables[variable_name], variable_set.own_name(variable_name)
        written = read["when"].get(own_name, read["when"].get(variable_name))
        if values.is_empty and written:
            # None of them could be read, which is reported.
            continue
        if values.intersection(variable.allowed).is_empty:
            message = f"must name a value that the release allows: {variable.allowed.shown()}"
            (place / "when" / own_name).fault(FaultCode.INVALID_VALUE, message)
    others = None if read["with"] is None else tuple(dict.fromkeys(map(Others.parse, sorted(read["with"]))))
    document = {
        **read,
        "when": {name: values.listed() for name, values in variable_set.under_own_condition(when).items()},
        "with": None if others is None else list(map(str, others)),
    }
    return Erratum(
        ReleaseName.parse(read["release"]),
        read["model"],
        when,
        others,
        Way(read["direction"]),
        read["description"],
        read["url"],
        read["local"],
        document,
    )


def with_errata(variable_set: VariableSet, errata: Sequence[Erratum]) -> VariableSet:
    """Return a set with what errata forbid as migration blocks, to search for values that they allow."""
    blocks = tuple(MigrationBlock(erratum.when, erratum.description) for erratum in errata)
    return replace(variable_set, blocks_migration=variable_set.blocks_migration + blocks) if blocks else variable_set


def forbidding(
    errata: Sequence[Erratum],
    ways: frozenset[Way],
    configuration: Mapping[str, Value] | None,
    other: ReleaseName | None,
) -> list[Erratum]:
    """Return the errata of one release and model that forbid a migration.

    ways: those of the migration, seen from their release. configuration: there. other: the release at the other end.
    """
    return [
        erratum
        for erratum in errata
        if erratum.way in ways and erratum.concerns(configuration) and erratum.forbids(other)
    ]
