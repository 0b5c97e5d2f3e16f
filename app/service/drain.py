"""A drain: where many VMs can move, by kinds of hosts, and why not elsewhere."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.engine.question import Answer
from app.domain.fleet.drain import by_scarcity
from app.domain.fleet.kind import HostKind
from app.domain.fleet.leading import Leading
from app.domain.values.state import State
from app.domain.verdict.joining import Entry, joined, without_name
from app.domain.verdict.judge import Change
from app.service import compatibility, fleet
from app.storage.reader import Reader
from app.wire import compatibility as wire
from app.wire.detail import Detail


@dataclass(frozen=True, slots=True)
class Place:
    """Where VMs can move: hosts of a kind, or, where none is registered, a release.

    kind: None for a release. count: the number of hosts, 1 for a release. example: the first host by name, or the
    release. releases: what they run, the emulator's first.
    """

    kind: HostKind | None
    count: int
    example: str
    releases: Sequence[str]
    stale: int = 0

    @property
    def digest(self) -> str | None:
        """What names the kind."""
        return self.kind.digest if self.kind is not None else None


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a device cannot move to some places, by their positions. remedy: changes after which it could."""

    device: str
    code: str
    message: str
    places: Sequence[int]
    remedy: Sequence[Change]


@dataclass(frozen=True, slots=True)
class VmPlaces:
    """Where one VM can move. unasked: what of it was not asked, with the reason; so no "yes" is a whole one.

    possible: by place. warnings: those about the possible places, each with its devices.
    """

    vm: str
    devices: int
    unasked: Mapping[str, str]
    possible: Sequence[bool]
    host_count: int
    obstacles: Sequence[Obstacle]
    warnings: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Ask:
    """A VM to ask about. unasked: what of it is left out, with the reason."""

    vm: wire.Vm
    unasked: Mapping[str, str] = field(default_factory=dict)


def places_of_hosts(labels: Sequence[str], sources: Collection[str], reader: Reader) -> Sequence[Place]:
    """Return the kinds of hosts that meet all conditions on labels, the one with most hosts first; none without hosts.

    sources: the hosts that are drained, which are no places to go to.
    """
    groups = fleet.groups(labels, reader, sources)
    return [
        Place(
            group.kind,
            group.count,
            group.examples[0],
            tuple(dict.fromkeys(name for _, name in group.kind.releases())),
            group.stale,
        )
        for group in groups
    ]


def drain(
    asks: Sequence[Ask], places: Sequence[Place], policy: wire.Policy, reader: Reader
) -> tuple[Sequence[Place], Sequence[VmPlaces]]:
    """Return the places, and for each VM where it can move; VMs with the fewest possible hosts first.

    places: none: all releases that implement one of the models; nothing is answered where none does. Raises
    InvalidDocumentError and OverBudgetError.
    """
    places = places or _releases(asks, reader)
    if not places:
        return [], []
    destinations = list(map(_destination, places))
    results: list[VmPlaces] = []
    for batch in _batches(asks):
        question = wire.Question.model_construct(
            devices=None,
            vms=[ask.vm for ask in batch],
            destinations=destinations,
            policy=policy,
            detail=Detail.PROBLEMS,
        )
        loaded = compatibility.ask(question, Detail.PROBLEMS, reader)
        leading = Leading(loaded.snapshot)
        for ask, of_vm in zip(batch, loaded.answers, strict=True):
            results.append(_places_of(ask, of_vm.answers, places, leading))
    return places, sorted(results, key=lambda vm: by_scarcity(vm.host_count, sum(vm.possible), vm.vm))


def _destination(place: Place) -> wire.Destination:
    if place.digest is None:
        return wire.Destination(releases=list(place.releases))
    return wire.Destination(host=place.example)


def _releases(asks: Sequence[Ask], reader: Reader) -> Sequence[Place]:
    """Return the releases that implement a model of the VMs and are not retired, each a place; the same for all VMs."""
    models = sorted({device.model for ask in asks for device in ask.vm.devices})
    names = reader.implementing(models)
    known = reader.snapshot(releases=names, of_models=()).known_releases()
    usable = [str(release.name) for release in known if release.state is not State.RETIRED]
    return [Place(None, 1, name, [name]) for name in usable]


def _batches(asks: Sequence[Ask]) -> Sequence[Sequence[Ask]]:
    """Return VMs in batches of at most as many devices as a question can have."""
    batches: list[list[Ask]] = []
    count = wire.MAX_DEVICES
    for ask in asks:
        count += len(ask.vm.devices)
        if count > wire.MAX_DEVICES:
            batches.append([])
            count = len(ask.vm.devices)
        batches[-1].append(ask)
    return batches


def _places_of(ask: Ask, answers: Sequence[Answer], places: Sequence[Place], leading: Leading) -> VmPlaces:
    obstacles: dict[tuple[str, Entry], tuple[list[int], Sequence[Change]]] = {}
    warnings: dict[str, dict[str, None]] = {}
    for position, answer in enumerate(answers):
        for served in answer.devices:
            if answer.compatible:
                for caution in served.verdict.warnings:
                    message = without_name(caution.message, served.source.device.model, "the device")
                    warnings.setdefault(message, {})[served.device.id] = None
                continue
            verdict = served.verdict
            for entry in joined(map(Entry.of, leading.problems(served))):
                obstacles.setdefault((served.device.id, entry), ([], verdict.remedies))[0].append(position)
    listed = [
        Obstacle(device, entry.code, entry.message, positions, remedy)
        for (device, entry), (positions, remedy) in obstacles.items()
    ]
    listed.sort(key=lambda obstacle: -sum(places[position].count for position in obstacle.places))
    possible = [answer.compatible for answer in answers]
    return VmPlaces(
        ask.vm.id or "",
        len(ask.vm.devices),
        ask.unasked,
        possible,
        sum(place.count for place, is_possible in zip(places, possible, strict=True) if is_possible),
        listed,
        {message: list(devices) for message, devices in warnings.items()},
    )
