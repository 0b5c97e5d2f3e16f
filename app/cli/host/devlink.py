"""Firmware of network cards: what `devlink dev info` of iproute2 prints (devlink-dev(8), devlink-info.rst of Linux)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.cli.host.facts import Facts, Source, Unit
from app.cli.host.naming import Kernel, Names, vendor_of_driver
from app.cli.host.tool import Machine, NotAskedError, json_output, objects
from app.hypervisor.naming import component

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

    def stated(self) -> tuple[str, str]:
        """Return which board it is, such as its parameter set (PSID), and the version of the firmware that runs.

        Raises NotAskedError if the driver does not state them.
        """
        board, firmware = _first(self.fixed, _BOARDS), _first(self.running, _FIRMWARE)
        if board is None or firmware is None:
            lacks = " and ".join(
                name for name, value in (("the board", board), ("the firmware", firmware)) if value is None
            )
            message = f"{self.handle}: its driver ({self.driver or 'unknown'}) does not state {lacks}"
            raise NotAskedError(message)
        return board, firmware


def _first(versions: Mapping[str, str], keys: Sequence[str]) -> str | None:
    return next((versions[key] for key in keys if versions.get(key)), None)


def cards(document: Any) -> Iterator[Card]:
    """Iterate over the cards that devlink printed; raises NotAskedError for JSON of another form."""
    info = document.get("info") if isinstance(document, dict) else None
    for handle, content in objects(info, "devlink"):
        stated = content.get("versions") or {}
        groups = dict(objects(stated, "devlink"))
        fixed, running = (
            {name: str(value) for name, value in groups.get(group, {}).items()} for group in ("fixed", "running")
        )
        yield Card(handle, str(content.get("driver", "")), fixed, running)


def printed() -> Any:
    """Return what the tool prints of this host; raises NotAskedError."""
    return json_output(*_COMMAND)


def _read(_machine: Machine, _kernel: Kernel | None) -> Facts:
    units, notes, kept = [], [], set()
    for card in cards(printed()):
        unit = f"{_OF_UNIT}{card.handle.removeprefix('pci/')}"
        vendor = vendor_of_driver(card.driver)
        try:
            board, firmware = card.stated()
        except NotAskedError as error:
            kept.add(unit)
            # Parts of a card are devices, too, and state nothing.
            if card.fixed or card.running:
                notes.append(str(error))
            continue
        if vendor is None:
            driver = card.driver or "its driver"
            kept.add(unit)
            notes.append(f"{card.handle} is left out: the vendor of the devices of {driver} is not known here")
            continue
        units.append(Unit(unit, [[f"{vendor}/{component(board)}@{component(firmware)}"]], _published))
    return Facts(units=units, notes=notes, kept=frozenset(kept))


def models(card: Card, model: str) -> dict[str, Any]:
    """Return what a laboratory publishes of a firmware: the models of a release, as `PUT /releases` has them.

    A firmware reads the state that itself writes, on the same board. Whether it reads that of others only its vendor
    knows; until it says so, no device moves to another version. Raises NotAskedError.
    """
    board, firmware = card.stated()
    psid = "psid" if "fw.psid" in card.fixed else "board"
    variables = {
        psid: {"type": "str", "init_value": board, "settable": False, "description": "the board, as devlink says"}
    }
    saved_state = {"writes": firmware, "reads": [firmware]}
    return {model: {"variables": variables, "saved_state": saved_state, "migratable": "unknown"}}


def _published(names: Names, possible: Sequence[str]) -> str | None:
    """Return the published release of a board's firmware: vendors call its implementation `<product>/<board>`."""
    name = names.chosen(possible)
    if name is None or names.is_published(name):
        return name
    vendor, _, end = name.partition("/")
    return names.ending(vendor, end) or name


def _owns(unit: str, _releases: Sequence[str]) -> bool:
    return unit.startswith(_OF_UNIT)


SOURCE = Source("firmware", _read, _owns)
