"""Results: the answers to a question as JSON documents; equal answers are written once."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from app.domain.engine.question import Answer, DeviceAnswer
from app.domain.fleet.rendering import Form, rendered
from app.domain.fleet.summary import Reason, Summary
from app.domain.fleet.unit_rendering import Made, UnrenderableError
from app.domain.things.snapshot import Snapshot
from app.domain.verdict.destination import Destination
from app.domain.verdict.problem import Caution, WarningCode
from app.service.document import problem_document, warning_document
from app.wire.compatibility import Detail

_MAX_EXAMPLES = 5
# The approximate size of a result without its devices, in bytes.
_SMALL_BYTES = 64

# A result as a JSON document, and its approximate size in bytes.
Result: TypeAlias = tuple[Mapping[str, Any], int]


def sized(document: Mapping[str, Any]) -> Result:
    """Return a document with its size."""
    return document, len(orjson.dumps(document))


def summary_document(summary: Summary, destinations: int) -> dict[str, Any]:
    """Return a summary as JSON; destinations: how many were asked about."""
    return {
        "compatible": bool(summary.possible),
        "possible": summary.possible,
        "impossible": destinations - len(summary.possible),
        "reasons": list(map(_reason, summary.reasons)),
        **({"warnings": list(map(_reason, summary.warnings))} if summary.warnings else {}),
    }


def _reason(reason: Reason) -> dict[str, Any]:
    return {
        "count": len(reason.destinations),
        "code": reason.code,
        "message": reason.message,
        **({"variable": reason.variables[0]} if len(reason.variables) == 1 else {}),
        **({"variables": reason.variables} if len(reason.variables) > 1 else {}),
        "releases": reason.releases,
        "devices": reason.devices,
        "examples": reason.destinations[:_MAX_EXAMPLES],
    }


def _unit_document(position: int | None, destination: Destination) -> dict[str, Any]:
    """Return the fields of the unit that serves a device; none for the whole host."""
    if position is None:
        return {}
    unit = destination.units[position]
    return {"unit": unit.id, **({} if unit.available is None else {"available": unit.available})}


class Writer:
    """Writes the answers on VMs; equal answers are written once."""

    def __init__(self, detail: Detail, snapshot: Snapshot, render: Sequence[Form]) -> None:
        """render: also the arguments of the first of these programs that can make a device at the destination."""
        self._detail = detail
        self._snapshot = snapshot
        self._render = render
        self._written: dict[tuple[object, ...], tuple[orjson.Fragment, int, Answer]] = {}

    def results(
        self, of_vm: Mapping[str, Any], destinations: Sequence[Destination], answers: Sequence[Answer]
    ) -> list[Result]:
        """Return the answers for destinations as JSON documents; of_vm: the fields that name the VM."""
        pairs = zip(destinations, answers, strict=True)
        if self._detail is Detail.VERDICT:
            return [
                ({**of_vm, "destination": destination.id, "compatible": answer.compatible}, _SMALL_BYTES)
                for destination, answer in pairs
            ]
        return [
            self._result({**of_vm, "destination": destination.id}, answer, destination) for destination, answer in pairs
        ]

    def _result(self, result: dict[str, Any], answer: Answer, destination: Destination) -> Result:
        # Hosts of one kind share the answer, but their units have ids of their own.
        units = tuple((unit.id, unit.available) for unit in destination.units)
        key = (id(answer), units)
        written = self._written.get(key)
        if written is None:
            devices = orjson.dumps([self._device(device, destination) for device in answer.devices])
            # The answer is held too, so that its id is not reused.
            written = self._written[key] = orjson.Fragment(devices), len(devices), answer
        result["compatible"] = answer.compatible
        result["devices"] = written[0]
        return result, _SMALL_BYTES + written[1]

    def _device(self, answer: DeviceAnswer, destination: Destination) -> dict[str, Any]:
        verdict = answer.verdict
        form, arguments, cautions = self._arguments(answer, destination)
        document: dict[str, Any] = {
            "id": answer.device.id,
            "compatible": verdict.compatible,
            "release": answer.release,
            **_unit_document(answer.unit, destination),
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
        self, answer: DeviceAnswer, destination: Destination
    ) -> tuple[Form | None, list[str] | None, list[Caution]]:
        """Return a program at the destination and its arguments, or a warning that says why there are none."""
        configuration, device = answer.verdict.configuration, answer.source.device
        if not self._render or configuration is None:
            return None, None, []
        release, model = self._snapshot.release(answer.release), self._snapshot.model(device.model)
        if release is None or model is None:
            return None, None, []
        profile = self._snapshot.profile(device.profile) if device.profile is not None else None
        unit = None if answer.unit is None else destination.units[answer.unit].id
        made = Made(answer.device.id, unit, answer.device.part_of is not None)
        reasons = []
        for form in dict.fromkeys(self._render):
            try:
                return form, rendered(form, configuration, release, model, profile, made), []
            except UnrenderableError as error:
                reasons.append(str(error))
        return None, None, [Caution(WarningCode.NOT_RENDERABLE, " ".join(reasons))]
