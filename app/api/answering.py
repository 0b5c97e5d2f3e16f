"""Answers to a question, in JSON."""

from typing import Any

from app.api.wire import compatibility as wire
from app.api.wire.problem import problem_document, warning_document
from app.domain.problem import Caution, WarningCode
from app.domain.question import Answer, DeviceAnswer
from app.domain.rendering import Form, UnrenderableError, own_values, rendered
from app.domain.summary import Summary
from app.storage.catalog import Standing

_EXAMPLES_OF_REASON = 5


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


class Writer:
    """Writes the answers on one VM; equal answers are written once."""

    def __init__(self, detail: wire.Detail, current: Standing, render: Form | None) -> None:
        self._detail = detail
        self._current = current
        self._render = render
        self._written: dict[int, dict[str, Any]] = {}

    def document(self, answer: Answer) -> dict[str, Any]:
        """Return an answer in JSON, without whose it is; the question keeps it alive."""
        if self._detail is wire.Detail.VERDICT:
            return {"compatible": answer.compatible}
        written = self._written.get(id(answer))
        if written is None:
            devices = [self._device(each) for each in answer.devices]
            written = self._written[id(answer)] = {"compatible": answer.compatible, "devices": devices}
        return written

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
        # Only a machine type that the release has makes values of its own.
        is_there = profile is not None and release.profiles is not None and profile.name in release.profiles
        variable_set = release.sets[device.model]
        values = profile.values[device.model] if profile is not None and is_there else None
        own = own_values(variable_set, model.off_values(release.name.vendor), values)
        try:
            return rendered(self._render, configuration, variable_set, own), []
        except UnrenderableError as error:
            return None, [Caution(WarningCode.NOT_RENDERABLE, str(error))]
