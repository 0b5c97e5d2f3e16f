"""Answers to a question, in JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import orjson
from fastapi import Response
from fastapi.responses import StreamingResponse

from app.api.answer import json_response
from app.api.wire import compatibility as wire
from app.api.wire.problem import problem_document, warning_document
from app.domain.problem import Caution, WarningCode
from app.domain.question import Answer, Destination, DeviceAnswer
from app.domain.rendering import Form, UnrenderableError, rendered
from app.domain.summary import Summary
from app.storage.catalog import Standing

_EXAMPLES_OF_REASON = 5
# What is larger is sent piece by piece.
_PIECE_BYTES = 4 * 1024 * 1024
_LEAST_BYTES = 64


def summary_document(summary: Summary, destinations: int) -> dict[str, Any]:
    """Return a summary in JSON; destinations: how many were asked about."""
    return {
        "compatible": bool(summary.possible),
        "possible": summary.possible,
        "impossible": destinations - len(summary.possible),
        "reasons": [
            {
                "count": len(each.destinations),
                "code": each.code.value,
                "message": each.message,
                **({} if each.variable is None else {"variable": each.variable}),
                "releases": each.releases,
                "devices": each.devices,
                "examples": each.destinations[:_EXAMPLES_OF_REASON],
            }
            for each in summary.reasons
        ],
    }


# One of the results of an answer in JSON, and about how many bytes it takes.
Result: TypeAlias = tuple[Mapping[str, Any], int]


def sized(document: Mapping[str, Any]) -> Result:
    """Return the result that a document is."""
    return document, len(orjson.dumps(document))


def results_response(results: Sequence[Result], seq: int) -> Response:
    """Return the answer, based on the changes until seq; a large one piece by piece, never in the memory as a whole."""
    if sum(size for _, size in results) <= _PIECE_BYTES:
        return json_response({"results": [document for document, _ in results], "seq": seq})
    return StreamingResponse(_pieces(results, seq), media_type="application/json")


def _pieces(results: Sequence[Result], seq: int) -> Iterator[bytes]:
    before = b'{"results":['
    piece: list[Mapping[str, Any]] = []
    size = 0
    for document, its_size in results:
        piece.append(document)
        size += its_size
        if size >= _PIECE_BYTES:
            yield before + orjson.dumps(piece)[1:-1]
            before, piece, size = b",", [], 0
    yield (before + orjson.dumps(piece)[1:-1] if piece else b"") + b'],"seq":%d}' % seq


class Writer:
    """Writes the answers on one VM; equal answers are written once."""

    def __init__(self, detail: wire.Detail, current: Standing, render: Form | None) -> None:
        self._detail = detail
        self._current = current
        self._render = render
        self._written: dict[int, tuple[orjson.Fragment, int]] = {}

    def results(
        self, of_vm: Mapping[str, Any], destinations: Sequence[Destination], answers: Sequence[Answer]
    ) -> list[Result]:
        """Return the answers for destinations in JSON; the question keeps them alive."""
        pairs = zip(destinations, answers, strict=True)
        if self._detail is wire.Detail.VERDICT:
            return [
                ({**of_vm, "destination": each.id, "compatible": answer.compatible}, _LEAST_BYTES)
                for each, answer in pairs
            ]
        return [self._result({**of_vm, "destination": each.id}, answer) for each, answer in pairs]

    def _result(self, whose: dict[str, Any], answer: Answer) -> Result:
        written = self._written.get(id(answer))
        if written is None:
            devices = orjson.dumps([self._device(each) for each in answer.devices])
            written = self._written[id(answer)] = orjson.Fragment(devices), len(devices)
        whose["compatible"] = answer.compatible
        whose["devices"] = written[0]
        return whose, _LEAST_BYTES + written[1]

    def _device(self, answer: DeviceAnswer) -> dict[str, Any]:
        verdict = answer.verdict
        arguments, cautions = self._arguments(answer)
        document: dict[str, Any] = {
            "id": answer.device.id,
            "compatible": verdict.compatible,
            "release": answer.release,
            "problems": [problem_document(each) for each in verdict.problems],
            "warnings": [warning_document(each) for each in (*verdict.warnings, *cautions)],
        }
        if self._detail is wire.Detail.FULL:
            document["configuration"] = verdict.configuration
        document["carry_over"] = verdict.carry_over
        document["unchecked"] = verdict.unchecked
        document["remedies"] = [
            {"variable": each.variable, "from": each.before, "to": each.after} for each in verdict.remedies
        ]
        if self._render is not None:
            document["arguments"] = arguments
        return document

    def _arguments(self, answer: DeviceAnswer) -> tuple[list[str] | None, list[Caution]]:
        """Return what the destination's program is started with, or why that cannot be said."""
        configuration, device = answer.verdict.configuration, answer.device
        release, model = self._current.release(answer.release), self._current.model(device.model)
        if self._render is None or configuration is None or release is None or model is None:
            return None, []
        profile = self._current.profile(device.profile) if device.profile is not None else None
        try:
            return rendered(self._render, configuration, release, model, profile), []
        except UnrenderableError as error:
            return None, [Caution(WarningCode.NOT_RENDERABLE, str(error))]
