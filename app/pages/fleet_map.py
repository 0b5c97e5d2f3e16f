"""The page Map: which devices of a kind of hosts can move to another kind; each cell links to its reasons."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.identity import Allowed
from app.api.parameters import Filter
from app.api.session import Asking
from app.domain.engine.question import Answer
from app.domain.fleet.kind import HostKind
from app.domain.fleet.leading import Leading
from app.domain.fleet.movement import Movement
from app.domain.verdict.joining import Entry, joined, without_name
from app.domain.verdict.source import Device
from app.pages.host import LabelFields, Runs, conditions
from app.pages.page import PageRoute, long_page, pasted
from app.service import fleet
from app.service.known import known_profile
from app.storage.reader import Reader

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_MAX_KINDS = 40
_MAX_PROFILES = 200
_INSTEAD = "Choose hosts by their labels, or name a profile."


@dataclass(frozen=True, slots=True)
class Square:
    """A cell of the map. heat: its CSS class."""

    to: HostKind
    text: str
    heat: str
    title: str


@router.get("/ui/map")
def get_map_page(
    request: Request,
    asking: Asking,
    allowed: Allowed,
    label: LabelFields = None,
    profile: Filter = None,
    row: Annotated[int, Query(ge=0, le=2**31 - 1, description="the number of kinds to skip")] = 0,
) -> Response:
    """Show what can move between the kinds of the hosts that meet all conditions on labels.

    profile: only devices that it is for, made with it; without one each device with the newest that its release lists.
    """
    allowed.check_hosts()
    labels, profile = conditions(label), pasted(profile)

    def load(reader: Reader) -> tuple[fleet.Selection, Sequence[str]]:
        if profile is not None:
            known_profile(profile, reader.snapshot(profiles=[profile], of_models=()))
        return fleet.select(labels, reader), reader.naming()

    selection, profiles = asking.ask_from_thread(load, _INSTEAD)
    groups = selection.groups[row : row + _MAX_KINDS]
    kinds = [group.kind for group in groups]

    def parts() -> Iterator[Mapping[str, object]]:
        rows = asking.ask_from_thread(lambda reader: _rows(kinds, profile, reader), _INSTEAD)
        for place, (group, movements) in enumerate(zip(groups, rows, strict=True)):
            yield {
                "number": place + 1,
                "group": group,
                "runs": Runs.of(group.kind.first),
                "squares": [_square(kind, movement) for kind, movement in zip(kinds, movements, strict=True)],
                "stuck": len(movements[place].stuck),
            }

    return long_page(
        request,
        "map.html",
        "map_row.html",
        parts(),
        selection=selection,
        groups=groups,
        labels=labels,
        profile=profile,
        profiles=profiles[:_MAX_PROFILES],
        row=row,
        step=_MAX_KINDS,
    )


def _rows(kinds: Sequence[HostKind], profile: str | None, reader: Reader) -> Sequence[Sequence[Movement]]:
    # All in one question: equal devices of several kinds are judged once.
    judged = fleet.fleet_map(kinds, profile, reader)
    return [judged.row(kind) for kind in kinds]


def _square(to: HostKind, movement: Movement) -> Square:
    accepted, count = len(movement.accepted), movement.count
    if not count:
        return Square(to, "-", "none", "no device to judge")
    title = f"{accepted:,} of {count:,} devices that can be migrated at all can move"
    if accepted == count:
        return Square(to, f"{accepted:,}", "all", title)
    if not accepted:
        return Square(to, "0", "no-much", title)
    return Square(to, f"{accepted:,}/{count:,}", "some" if accepted * 2 >= count else "no-little", title)


@dataclass(frozen=True, slots=True)
class Why:
    """A reason against devices. devices: those that it is against, with the model and profile of each."""

    code: str
    message: str
    devices: Sequence[Device]


@router.get("/ui/map/reasons")
def get_map_reasons_page(
    request: Request,
    asking: Asking,
    allowed: Allowed,
    source: Annotated[Filter, Query(alias="from")] = None,
    destination: Annotated[Filter, Query(alias="to")] = None,
    profile: Filter = None,
) -> Response:
    """Show device by device what can move from hosts of one kind to hosts of another, and why not."""
    allowed.check_hosts()
    profile = pasted(profile)

    def load(reader: Reader) -> tuple[fleet.Group, fleet.Group]:
        return fleet.known_kind(source or "", reader), fleet.known_kind(destination or "", reader)

    groups = asking.ask_from_thread(load)
    kinds = (groups[0].kind, groups[1].kind)

    def parts() -> Iterator[Mapping[str, object]]:
        yield asking.ask_from_thread(lambda reader: _reasons_of(kinds, profile, reader), _INSTEAD)

    return long_page(
        request, "map_reasons.html", "map_reasons_part.html", parts(), source=groups[0], to=groups[1], profile=profile
    )


def _reasons_of(kinds: tuple[HostKind, HostKind], profile: str | None, reader: Reader) -> Mapping[str, object]:
    source, to = kinds
    distinct = [source] if source.digest == to.digest else [source, to]
    judged = fleet.fleet_map(distinct, profile, reader)
    movement, leading = judged.row(source)[-1], Leading(judged.registry)
    return {
        "movement": movement,
        "refused": _reasons(movement.refused, leading),
        "stuck": _reasons(movement.stuck, leading),
        "by_profile": Counter(device.profile or "" for device, _ in movement.accepted),
    }


def _reasons(refused: Iterable[tuple[Device, Answer]], leading: Leading) -> Sequence[Why]:
    """Return the reasons against devices, the one against most of them first; those of many variables are one."""
    devices: dict[tuple[str, str], dict[str, Device]] = {}
    for device, answer in refused:
        problems = chain.from_iterable(map(leading.problems, answer.devices))
        for entry in joined(map(Entry.of, problems)):
            message = without_name(entry.message, device.model, "this model")
            devices.setdefault((entry.code, message), {})[device.id] = device
    reasons = [Why(code, message, list(concerned.values())) for (code, message), concerned in devices.items()]
    return sorted(reasons, key=lambda why: (-len(why.devices), why.code, why.message))
