"""Results: the answers to a question as JSON documents; equal answers are written once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.domain.engine.question import Answer, DeviceAnswer
from app.domain.fleet.form import Form
from app.domain.fleet.group import Group, Listing
from app.domain.fleet.rendering import rendered
from app.domain.fleet.staleness import stale
from app.domain.fleet.summary import Reason, Summary
from app.domain.fleet.unit_rendering import Made, UnrenderableError
from app.domain.things.snapshot import Snapshot
from app.domain.values.budget import spend, write
from app.domain.verdict.destination import Unit
from app.domain.verdict.problem import Caution, WarningCode
from app.service.document import problem_document, warning_document
from app.wire.detail import Detail

# About this many bytes of an answer are written in a step of a request's budget.
_BYTES_OF_A_STEP = 500


def summary_document(summary: Summary) -> dict[str, Any]:
    """Return a summary as JSON."""
    kinds = [*((group, True) for group in summary.possible), *((group, False) for group in summary.impossible)]
    kinds.sort(key=lambda kind: kind[0].examples[0])
    return {
        "compatible": bool(summary.possible),
        "possible_count": summary.possible_count,
        "impossible_count": summary.impossible_count,
        "possible": summary.names,
        "impossible": summary.impossible_count,
        "kinds": [_kind(group, is_possible=is_possible) for group, is_possible in kinds],
        "reasons": list(map(_reason, summary.reasons)),
        **({"warnings": list(map(_reason, summary.warnings))} if summary.warnings else {}),
    }


def _kind(group: Group, *, is_possible: bool) -> dict[str, Any]:
    return {
        "kind": group.digest,
        "count": group.count,
        "compatible": is_possible,
        "releases": group.first.all_releases(),
        "examples": [entry.name for entry in group.examples],
    }


def _reason(reason: Reason) -> dict[str, Any]:
    return {
        "count": reason.count,
        "code": reason.code,
        "message": reason.message,
        **({"variable": reason.variables[0]} if len(reason.variables) == 1 else {}),
        **({"variables": reason.variables} if len(reason.variables) > 1 else {}),
        "releases": reason.releases,
        "devices": reason.devices,
        "examples": reason.examples,
    }


def _unit_document(position: int | None, units: Sequence[Unit]) -> dict[str, Any]:
    """Return the fields of the unit that serves a device; none for the whole host."""
    if position is None:
        return {}
    unit = units[position]
    return {"unit": unit.id, **({} if unit.available is None else {"available": unit.available})}


def _field(name: str, value: object) -> bytes:
    return orjson.dumps({name: value})[1:-1] + b","


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a VM as JSON, written from parts that many share, so that a million of them take little.

    before: how each begins. ids: the destinations. ends: what follows the destination of each. size: the number of
    bytes, with a comma after each.
    """

    before: bytes
    ids: Sequence[bytes]
    ends: Sequence[bytes]
    size: int

    def pieces(self, size: int) -> Iterator[bytes]:
        """Iterate over pieces of at least some size, which commas have to join; the last one can be smaller."""
        piece: list[bytes] = []
        piece_size = 0
        for identifier, end in zip(self.ids, self.ends, strict=True):
            result = b"%b%b%b" % (self.before, identifier, end)
            piece.append(result)
            piece_size += len(result)
            if piece_size >= size:
                yield b",".join(piece)
                piece, piece_size = [], 0
        if piece:
            yield b",".join(piece)


def summary_result(document: Mapping[str, Any]) -> Results:
    """Return a summary as the only result of its VM."""
    written = orjson.dumps(document)
    write(len(written))
    return Results(b"", [b""], [written], len(written) + 1)


class Writer:
    """Writes the answers on VMs; equal answers are written once."""

    def __init__(self, detail: Detail, snapshot: Snapshot, render: Sequence[Form]) -> None:
        """render: also the arguments of the first of these programs that can make a device at the destination."""
        self._detail = detail
        self._snapshot = snapshot
        self._render = render
        self._ids: Sequence[bytes] = ()
        self._size_of_ids = 0
        self._ids_of: Listing | None = None

    def results(self, of_vm: Mapping[str, Any], listing: Listing, answers: Sequence[Answer]) -> Results:
        """Return the answers for destinations, one for each of their kinds; of_vm: the fields that name the VM."""
        if self._ids_of is not listing:
            self._ids_of = listing
            self._ids = [orjson.dumps({"destination": name})[1:-1] for name in listing.ids]
            self._size_of_ids = sum(map(len, self._ids))
        # Kinds of hosts can share an answer, too. It is held, so that its id is not reused.
        written: dict[tuple[object, ...], tuple[bytes, Answer]] = {}

        def end(answer: Answer, units: Sequence[Unit], *, is_stale: bool) -> bytes:
            # Hosts of one kind share the answer, but their units have ids of their own.
            key = (id(answer), is_stale, *((unit.id, unit.available) for unit in units))
            if key not in written:
                written[key] = self._written(answer, units, is_stale=is_stale), answer
            return written[key][0]

        of_kinds = [
            end(answer, (), is_stale=False) if not first.units else b""
            for answer, first in zip(answers, listing.first, strict=True)
        ]
        ends = [of_kinds[number] for number in listing.numbers]
        for position in {*listing.units, *listing.stale}:
            answer, units = answers[listing.numbers[position]], listing.units.get(position, ())
            ends[position] = end(answer, units, is_stale=position in listing.stale)
        before = b"{" + b"".join(_field(*field) for field in of_vm.items())
        size = (len(before) + 1) * len(ends) + self._size_of_ids + sum(map(len, ends))
        spend(len(ends) // 4)
        write(size)
        return Results(before, self._ids, ends, size)

    def _written(self, answer: Answer, units: Sequence[Unit], *, is_stale: bool) -> bytes:
        """Return the end of a result: what follows its destination."""
        document: dict[str, Any] = {"compatible": answer.compatible}
        if self._detail is not Detail.VERDICT:
            document["devices"] = [self._device(device, units, is_stale=is_stale) for device in answer.devices]
        written = b"," + orjson.dumps(document)[1:]
        spend(len(written) // _BYTES_OF_A_STEP)
        return written

    def _device(self, answer: DeviceAnswer, units: Sequence[Unit], *, is_stale: bool) -> dict[str, Any]:
        verdict = answer.verdict
        form, arguments, cautions = self._arguments(answer, units)
        cautions += stale(answer.source.device.host, is_stale=is_stale)
        document: dict[str, Any] = {
            "id": answer.device.id,
            "compatible": verdict.compatible,
            "release": answer.release,
            **_unit_document(answer.unit, units),
            "problems": [problem_document(problem) for problem in verdict.problems],
            "warnings": [warning_document(caution) for caution in (*verdict.warnings, *cautions)],
        }
        if self._detail is Detail.FULL:
            document["configuration"] = verdict.configuration
        document["carry_over"] = verdict.carry_over
        document["unchecked"] = verdict.unchecked
        document["remedies"] = [
            {"variable": change.variable, "from": change.before, "to": change.after} for change in verdict.remedies
        ]
        if self._render:
            document["arguments"] = arguments
            if form is not None:
                document["arguments_of"] = form.value
        return document

    def _arguments(
        self, answer: DeviceAnswer, units: Sequence[Unit]
    ) -> tuple[Form | None, list[str] | None, list[Caution]]:
        """Return a program at the destination and its arguments, or a warning that says why there are none."""
        configuration, device = answer.verdict.configuration, answer.source.device
        if not self._render or configuration is None:
            return None, None, []
        release, model = self._snapshot.release(answer.release), self._snapshot.model(device.model)
        if release is None or model is None:
            return None, None, []
        profile = self._snapshot.profile(device.profile) if device.profile is not None else None
        unit = None if answer.unit is None else units[answer.unit].id
        made = Made(answer.device.id, unit, answer.device.part_of is not None)
        reasons = []
        for form in dict.fromkeys(self._render):
            try:
                return form, rendered(form, configuration, release, model, profile, made), []
            except UnrenderableError as error:
                reasons.append(str(error))
        return None, None, [Caution(WarningCode.NOT_RENDERABLE, " ".join(reasons))]
