"""The plan of a drain, with the answers that it is made from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from app.cli import asking, client
from app.cli.drain.cures import Cure, cures
from app.cli.drain.question import Question
from app.cli.drain.rooms import Rooms, read_rooms, unlimited
from app.cli.drain.vms import Vm, without_cpu_models
from app.cli.output import fail, warn
from app.cli.qemu.live import Progress
from app.domain.fleet.drain import Move, Plan, plan

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Planned:
    """What is known of a drain. answers: the summaries of the VMs that were asked about, by name.

    question_count: how many questions the registry was asked for them: one, unless its limits are exceeded. basis: the
    position in the feed that they are based on.
    """

    vms: Sequence[Vm]
    question: Question
    answers: Mapping[str, Mapping[str, Any]]
    rooms: Rooms
    plan: Plan
    cures: Mapping[str, Sequence[Cure]]
    question_count: int
    basis: Mapping[str, Any]

    @property
    def stuck(self) -> Sequence[Vm]:
        """The VMs that can go nowhere, those that QEMU does not migrate included."""
        stuck = set(self.plan.stuck)
        return [vm for vm in self.vms if vm.name in stuck or vm.blocked]

    @property
    def unread(self) -> Sequence[Vm]:
        """The VMs of which nothing could be asked."""
        return [vm for vm in self.vms if vm.unread is not None and not vm.blocked]

    @property
    def kinds(self) -> Sequence[Mapping[str, Any]]:
        """The kinds of hosts to which a VM can go, the one with most hosts first."""
        answers = self.answers.values()
        kinds = {kind["kind"]: kind for answer in answers for kind in answer["kinds"] if kind["compatible"]}
        return sorted(kinds.values(), key=lambda kind: (-kind["count"], kind["examples"][0]))

    @property
    def in_order(self) -> Sequence[str]:
        """All VMs as shown: those that can go nowhere first, then those without room, then those that leave."""
        first = [*self.unread, *self.stuck]
        return [*(vm.name for vm in first), *self.plan.placeless, *(move.vm for move in self.plan.moves)]

    def unknown(self) -> tuple[Sequence[Any], set[str]]:
        """Return the VMs that can go nowhere, as they were asked about, and the codes of the reasons."""
        asked = [vm for vm in self.stuck if vm.name in self.answers]
        reasons = (reason for vm in asked for reason in self.answers[vm.name]["reasons"])
        return [vm.asked() for vm in asked], {reason["code"] for reason in reasons}

    def moves(self) -> Mapping[str, tuple[int, Move]]:
        """Return by VM where it moves, and its turn, from 1."""
        return {move.vm: (turn, move) for turn, move in enumerate(self.plan.moves, 1)}

    def units(self, move: Move) -> Sequence[str]:
        """Return the units of its host that a VM takes a place of."""
        return [self.rooms.units[move.host][unit] for unit in move.units] if move.host is not None else []

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        vms = {vm.name: vm for vm in self.vms}
        moves = self.moves()
        return {
            "order": [move.vm for move in self.plan.moves],
            "without_room": list(self.plan.placeless),
            "stuck": [vm.name for vm in self.stuck],
            "unread": {vm.name: vm.unread for vm in self.unread},
            "most_leave": self.plan.is_best,
            "left_out": list(self.question.leave_out),
            "question_count": self.question_count,
            **self.basis,
            "vms": [self._vm(vms[name], *moves.get(name, (None, None))) for name in self.in_order],
        }

    def _vm(self, vm: Vm, turn: int | None, move: Move | None) -> Mapping[str, Any]:
        answer = self.answers.get(vm.name, {})
        return {
            "vm": vm.name,
            "compatible": bool(answer.get("compatible")),
            "possible_count": answer.get("possible_count", 0),
            "impossible_count": answer.get("impossible_count", 0),
            "kinds": answer.get("kinds", []),
            "turn": turn,
            "move": None if move is None else self._move(move),
            "reasons": answer.get("reasons", []),
            "warnings": answer.get("warnings", []),
            "help": [cure.document() for cure in self.cures.get(vm.name, ())],
            "unasked": dict(vm.unasked),
            "blocked": list(vm.blocked),
        }

    def _move(self, move: Move) -> Mapping[str, Any]:
        return {
            "host": move.host,
            "kinds": list(move.kinds),
            "units": list(self.units(move)),
            "room_stated": not move.is_unstated,
            "others": list(move.others),
        }


def planned(vms: Sequence[Vm], question: Question, registry: "client.Registry", progress: Progress) -> Planned:
    """Return the plan for VMs; exits with an error if there is no host to go to. Raises RegistryError."""
    progress("questions", 0, 3)
    vms = without_cpu_models(vms, question.document([])["destinations"], registry)
    asked = [vm for vm in vms if vm.can_be_asked]
    answers = _answers(asked, question, registry)
    results = {result["vm"]: result for answer in answers for result in answer["results"]}
    for result in results.values():
        if not any(kind["kind"] for kind in result["kinds"]):
            fail(f"there is no host to go to: {result['reasons'][0]['message']}")
    progress("room at the hosts", 1, 3)
    possible = {name: [kind for kind in result["kinds"] if kind["compatible"]] for name, result in results.items()}
    rooms = _within_limits(
        lambda: read_rooms(asked, possible, question, registry),
        "how much room the units of hosts have is left out of the plan",
    ) or unlimited(asked, possible)
    made = plan(rooms.leavers, rooms.rooms)
    progress("what would help", 2, 3)
    stuck = [vm for vm in asked if vm.name in set(made.stuck)]
    kinds: Sequence[Mapping[str, Any]] = next((results[vm.name]["kinds"] for vm in stuck), [])
    helping = _within_limits(lambda: cures(stuck, kinds, question, registry), "what would help is not known")
    basis = {name: value for name, value in (answers[0] if answers else {}).items() if name != "results"}
    return Planned(vms, question, results, rooms, made, helping or {}, len(answers), basis)


def _within_limits(find: Callable[[], Found], without: str) -> Found | None:
    """Return what is found beyond the verdicts; None, with a warning, if the registry refuses to answer that much."""
    try:
        return find()
    except client.RegistryError as error:
        if not asking.is_too_much(error):
            raise
        warn(f"{without}: {error}")
        return None


def _answers(asked: Sequence[Vm], question: Question, registry: "client.Registry") -> Sequence[Any]:
    if not asked:
        return []
    try:
        return asking.answers(registry, question.document([vm.asked() for vm in asked]))
    except client.RegistryError as error:
        # The registry names the place in the question; a user wants to know the file.
        if (error.problem or {}).get("code") == "invalid":
            for vm in (vm for vm in asked if vm.is_question):
                _check(vm, question, registry)
        raise


def _check(vm: Vm, question: Question, registry: "client.Registry") -> None:
    """Exit with an error if the registry finds faults in a VM."""
    try:
        registry.post("/compatibility", question.document([vm.asked()]))
    except client.RegistryError as error:
        fail(f"{vm.origin}: {error}", error.problem)
