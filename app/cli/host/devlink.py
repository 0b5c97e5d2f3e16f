"""Firmware of network cards: what `devlink dev info` of iproute2 prints (devlink-dev(8), devlink-info.rst of Linux)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.cli.client import Registry
from app.cli.host.facts import Facts, Source, Unit
from app.cli.host.naming import Kernel, chosen, component, published_ending, vendor_of_driver
from app.cli.host.tool import Machine, NotAskedError, json_output, objects

_COMMAND = ("devlink", "-j", "dev", "info")
_OF_UNIT = "firmware/"
# What names the board that a firmware is for, and the firmware itself: the first that a driver states. A PSID that is
# not fixed is the version of a set of parameters (bnxt_en).
_BOARDS = ("fw.psid", "board.id", "board.part_number")
_FIRMWARE = ("fw.version", "fw", "fw.bundle_id", "fw.mgmt")


@dataclass(frozen=True, slots=True)
class Card:
    """A card. fixed, running: versions by key. What is only stored, until a reboot, does not count."""

    handle: str
    driver: str
    fixed: Mapping[str, str]
    running: Mapping[str, str]

    @property
    def board(self) -> str | None:
        """Which board it is, such as its parameter set (PSID); None if the driver does not say."""
        return _first(self.fixed, _BOARDS)

    @property
    def firmware(self) -> str | None:
        """The version of the firmware that runs; None if the driver does not say."""
        return _first(self.running, _FIRMWARE)


def _first(versions: Mapping[str, str], keys: Sequence[str]) -> str | None:
    return next((versions[key] for key in keys if versions.get(key)), None)


def cards(document: Any) -> Iterator[Card]:
    """Iterate over the cards that devlink printed; raises NotAskedError for JSON of another form."""
    info = document.get("info") if isinstance(document, dict) else None
    for handle, content in objects(info, "devlink"):
        stated = content.get("versions") or {}
        groups = dict(objects(stated, "devlink"))
        if groups:
            fixed, running = (
                {name: str(value) for name, value in groups.get(group, {}).items()} for group in ("fixed", "running")
            )
            yield Card(handle, str(content.get("driver", "")), fixed, running)


def printed() -> Any:
    """Return what the tool prints of this host; raises NotAskedError."""
    return json_output(*_COMMAND)


def _read(_machine: Machine, _kernel: Kernel) -> Facts:
    units, notes = [], []
    for card in cards(printed()):
        if card.board is None or card.firmware is None:
            notes.append(f"{card.handle}: its driver ({card.driver}) does not state the board and the firmware")
            continue
        name = f"{vendor_of_driver(card.driver)}/{component(card.board)}@{component(card.firmware)}"
        units.append(Unit(f"{_OF_UNIT}{card.handle.removeprefix('pci/')}", [[name]], _published))
    return Facts(units=units, notes=notes)


def models(card: Card, model: str) -> dict[str, Any]:
    """Return what a laboratory publishes of a firmware: the models of a release, as `PUT /releases` has them.

    A firmware reads the state that itself writes, on the same board. Whether it reads that of others only its vendor
    knows; until it says so, no device moves to another version. Raises NotAskedError.
    """
    if card.board is None or card.firmware is None:
        message = f"{card.handle}: its driver ({card.driver}) does not state the board and the firmware"
        raise NotAskedError(message)
    psid = "psid" if "fw.psid" in card.fixed else "board"
    variables = {
        psid: {"type": "str", "init_value": card.board, "settable": False, "description": "the board, as devlink says"}
    }
    saved_state = {"writes": card.firmware, "reads": [card.firmware]}
    return {model: {"variables": variables, "saved_state": saved_state, "migratable": "unknown"}}


def _published(registry: Registry, names: Sequence[str]) -> str | None:
    """Return the published release of a board's firmware: vendors call its implementation `<product>/<board>`."""
    name = chosen(registry, names)
    if name is None or registry.find(f"/releases/{name}") is not None:
        return name
    implementation, _, version = name.rpartition("@")
    vendor, _, board = implementation.partition("/")
    return next(published_ending(registry, vendor, board, version), name)


def _owns(unit: str) -> bool:
    return unit.startswith(_OF_UNIT)


SOURCE = Source("firmware", _read, _owns)
