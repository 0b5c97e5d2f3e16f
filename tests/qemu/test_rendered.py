"""Starts devices on another QEMU with the arguments that an answer renders, and reads what it makes of them."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.cli.client import Registry
from app.cli.qemu.backends import back_ends
from app.cli.qemu.board import Board
from app.cli.qemu.capture import Capture
from app.cli.qemu.properties import kind_of
from app.cli.qemu.publication import default_name, publish
from tests.qemu.migration import BINARIES

_DATA = Path(__file__).parents[1] / "data" / "qemu"
_MACHINE = "pc-q35-7.2"

pytestmark = pytest.mark.skipif(len(BINARIES) == 1, reason="there is no second QEMU to start devices on")


def test_rendered_arguments_start_and_give_what_was_answered(api: Registry) -> None:
    source, destination = (Capture.load(_DATA / f"x86_64-{version}.json.gz") for version in ("7.2", "10.0"))
    for capture in (source, destination):
        publish(api, capture, default_name(capture), lambda *_: None, override="machine types that were dropped")
    answers = _answers(api, source, destination)
    values = asyncio.run(_started(BINARIES[1], destination, answers))
    counts: Counter[str] = Counter()
    for device, own in values.items():
        answer = answers[device]
        assert own is not None, f"{device} does not start with {answer['arguments']}"
        for name, answered in answer["configuration"].items():
            if name not in answer["unchecked"] and name in own:
                kind = kind_of(destination.properties[device][name])
                assert kind is not None
                value = kind.value(own[name])
                # -1 is the later spelling of 1.
                assert value == answered or (name, value, answered) == ("rombar", -1, 1), (device, name)
                counts["values"] += 1
        counts["devices"] += 1
    assert counts["devices"] > 25, counts
    assert counts["values"] > 500, counts


def _answers(api: Registry, source: Capture, destination: Capture) -> Mapping[str, Any]:
    """Return the answers about the devices that can move, by device type."""
    devices = [
        device
        for device in source.effective[_MACHINE]
        if device in destination.effective[_MACHINE] and not device.endswith("-board")
    ]
    question = {
        "devices": [
            {
                "id": device,
                "model": f"qemu.org/{device}",
                "release": default_name(source),
                "profile": f"qemu.org/{_MACHINE}",
            }
            for device in devices
        ],
        "destinations": [{"releases": [default_name(destination)]}],
        "detail": "full",
    }
    answers = api.post("/compatibility", question, render="qemu")["results"][0]["devices"]
    return {answer["id"]: answer for answer in answers if answer["compatible"] and answer["arguments"]}


async def _started(
    binary: Path, capture: Capture, answers: Mapping[str, Any]
) -> Mapping[str, Mapping[str, Any] | None]:
    async with back_ends() as made:
        board = Board(binary, "board", _MACHINE, capture, made, 2)
        await board.learn(list(answers))
        values = {}
        # Others are devices that the board has itself.
        for device, start in board.starts.items():
            options = (option.partition("=") for option in answers[device]["arguments"][1].split(",")[1:])
            given = {name: value for name, _, value in options if name != "id" and name not in start.back_ends}
            values[device] = await board.read_one(replace(start, settings={**start.settings, **given}))
        return values
