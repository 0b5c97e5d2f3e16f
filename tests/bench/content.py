"""Content of the measured registry, made from two whole QEMU releases, and the questions about it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from pydantic import SecretStr

from app.cli.client import Registry
from app.cli.qemu.capture import Capture
from app.cli.qemu.publication import default_name, publish
from app.settings import ClientSettings
from tests.bench.load import Request
from tests.cli.conftest import DATA
from tests.conftest import AUTHORIZATION, TOKEN

MODELS = [
    "virtio-net-pci", "virtio-blk-pci", "virtio-scsi-pci", "virtio-balloon-pci", "virtio-rng-pci",
    "virtio-serial-pci", "virtio-vga", "qemu-xhci", "pcie-root-port", "ich9-ahci",
]  # fmt: skip
PROFILE = "qemu.org/pc-q35-7.2"
IMPLEMENTATION = "qemu.org/qemu-system-x86_64"
_VALUES = 10
_DIFFERENT = 64
BULK_MODELS = 200
_BULK_VARIABLES = 6
_HOSTS = 1_000
_OVERRIDE = "a benchmark"


def registry_at(url: str) -> Registry:
    """Return the client that the commands use."""
    return Registry(ClientSettings(url=url, token=SecretStr(TOKEN)))


def fill(url: str) -> list[str]:
    """Publish two whole QEMU releases and 18 more with the ten models; return the names of all."""
    captures = [Capture.load(DATA / f"qemu-{version}.json.gz") for version in ("7.2", "10.0")]
    releases = [default_name(capture) for capture in captures]
    part = captures[1].selected([], MODELS)
    with registry_at(url) as registry:
        for release, capture in zip(releases, captures, strict=True):
            publish(registry, capture, release, lambda *_: None, override=_OVERRIDE)
        for number in range(1, 19):
            releases.append(f"{releases[1]}.{number}")
            publish(registry, part, releases[-1], lambda *_: None, override=_OVERRIDE)
    return releases


def register_hosts(url: str, releases: Sequence[str]) -> None:
    """Register 1,000 hosts that run these releases."""
    with httpx.Client(base_url=url, headers=AUTHORIZATION, timeout=60) as client:
        for number in range(_HOSTS):
            document = {"releases": [releases[number % len(releases)]], "labels": {"rack": f"r{number % 20}"}}
            client.put(f"/hosts/host-{number:04}", json=document).raise_for_status()


def fill_in_bulk(url: str, variable_sets: int) -> None:
    """Publish this number of different variable sets, in releases of 200 models."""
    with httpx.Client(base_url=url, headers=AUTHORIZATION, timeout=300) as client:
        client.put("/vendors/bulk.example", json={}).raise_for_status()
        client.put("/implementations/bulk.example/dpu", json={"evolution": "none"}).raise_for_status()
        for release in range(variable_sets // BULK_MODELS):
            models = {f"bulk.example/model-{number}": _bulk_set(release, number) for number in range(BULK_MODELS)}
            path = f"/releases/bulk.example/dpu@{release}"
            client.put(path, json={"models": models}).raise_for_status()


_BULK_VARIABLE = {"type": "int", "off_value": 0}


def _bulk_set(release: int, number: int) -> Mapping[str, Any]:
    variables = {
        f"variable-{place}": {
            "type": "int",
            "init_value": place,
            "off_value": 0,
            "allowed_values": [f"0-{release + 9}"],
        }
        for place in range(_BULK_VARIABLES)
    }
    return {"variables": {**variables, "number": {"type": "int", "init_value": number, "settable": False}}}


def small_releases(count: int) -> list[Request]:
    """Return publications of releases, each with one model that no other release has."""
    return [
        Request(
            "PUT",
            f"/releases/small.example/card@{number}",
            json.dumps({"models": {f"small.example/card-{number}": _bulk_set(number, 0)}}),
        )
        for number in range(1, count + 1)
    ]


def covering_questions(releases: int) -> Iterator[Request]:
    """Iterate over short questions that together read every bulk variable set."""
    for number in range(BULK_MODELS):
        path = f"/compatibility?model=bulk.example/model-{number}&source=bulk.example/dpu@{releases - 1}&detail=verdict"
        yield Request("GET", path)


class Questions:
    """Questions about the ten devices, no two of them equal."""

    def __init__(self, url: str, releases: Sequence[str]) -> None:
        self._releases = list(releases)
        with registry_at(url) as registry:
            self._switches = {name: _switches(registry, f"qemu.org/{name}", releases) for name in MODELS}

    def ask(
        self, destinations: int, releases: int, *, detail: str = "problems", different: int = _DIFFERENT
    ) -> list[Request]:
        """Return questions about one VM of ten devices and these numbers of destinations and releases."""
        hosts = [
            {"id": f"host{place}", "releases": [self._releases[place % releases]]} for place in range(destinations)
        ]
        return [
            _post("/compatibility", {"devices": self.devices(number), "destinations": hosts, "detail": detail})
            for number in range(different)
        ]

    def ask_refused(self, destinations: int, releases: int, *, different: int = _DIFFERENT) -> list[Request]:
        """Return the same questions with devices that are refused: 78 % of the pairs of a device and a host are not.

        Two of the ten devices are refused everywhere, a third one at the first release, one in five.
        """
        hosts = [
            {"id": f"host{place}", "releases": [self._releases[place % releases]]} for place in range(destinations)
        ]
        questions = []
        for number in range(different):
            devices = [{**device, "release": self._releases[1]} for device in self.devices(number)]
            for place, values in enumerate(_REFUSED):
                # Every device is one of the refused in some question.
                devices[(number + 3 * place) % len(devices)]["values"] |= values
            questions.append(_post("/compatibility", {"devices": devices, "destinations": hosts}))
        return questions

    def devices(self, number: int, prefix: str = "") -> list[dict[str, Any]]:
        """Return the ten devices of a question, each with ten values that depend on the number."""
        return [
            {
                "id": f"{prefix}device{place}",
                "model": f"qemu.org/{name}",
                "release": self._releases[number % 2],
                "profile": PROFILE,
                "values": self._values(name, number * len(MODELS) + place),
            }
            for place, name in enumerate(MODELS)
        ]

    def _values(self, name: str, seed: int) -> dict[str, Any]:
        values: dict[str, Any] = {"addr": f"{seed % 31:02x}.{seed % 8}", "acpi-index": _NUMBER}
        for place, (variable, choices) in enumerate(self._switches[name]):
            values[variable] = choices[(seed >> place % 7) % len(choices)]
        return values

    def short(self) -> list[Request]:
        """Return short questions: one device, its source and one destination."""
        return [
            Request(
                "GET",
                f"/compatibility?model=qemu.org/virtio-net-pci&profile={PROFILE}&source={self._releases[number % 2]}"
                f"&destination={self._releases[(number + 1) % 5]}&value=acpi-index={{#}}",
            )
            for number in range(10)
        ]

    def one_device(self) -> list[Request]:
        """Return questions about one device with five values and all registered hosts."""
        questions = []
        for number in range(_DIFFERENT):
            device = self.devices(number)[0]
            device["values"] = dict(list(device["values"].items())[1:6])
            document = {"devices": [device], "destinations": [{"all_hosts": True}], "detail": "verdict"}
            questions.append(_post("/compatibility", document))
        return questions

    def drain(self, number: int) -> list[Request]:
        """Return a question about the 40 VMs of a host and all hosts."""
        vms = [{"id": f"vm{vm}", "devices": self.devices(number * 40 + vm)} for vm in range(40)]
        return [_post("/compatibility", {"vms": vms, "destinations": [{"all_hosts": True}], "detail": "summary"})]

    def baselines(self) -> list[Request]:
        """Return baseline questions over all releases, each in a different order."""
        return [
            _post(
                "/baseline",
                {"models": ["qemu.org/virtio-net-pci"], "releases": self._releases[place:] + self._releases[:place]},
            )
            for place in range(len(self._releases))
        ]


_NUMBER = "{#}"
# Explicit values that are refused: out of range, of a variable that no release has, and of one that 7.2 lacks.
_REFUSED: Sequence[Mapping[str, Any]] = (
    {"romsize": 5_000_000_000},
    {"x-no-such-variable": True},
    {"x-pcie-ari-nextfn-1": False},
)


def _post(path: str, document: Mapping[str, Any]) -> Request:
    # The number is not a string in the JSON.
    return Request("POST", path, json.dumps(document, separators=(",", ":")).replace(f'"{_NUMBER}"', _NUMBER))


def _switches(registry: Registry, model: str, releases: Sequence[str]) -> list[tuple[str, list[Any]]]:
    """Return variables of a model, with values that every release allows."""
    sets = [
        registry.get("/variable-sets", model=model, implementation=IMPLEMENTATION, version=release.partition("@")[2])[
            "items"
        ][0]
        for release in releases[:3]
    ]
    switches = []
    for name, variable in sorted(sets[0]["variables"].items()):
        variables = [variable_set["variables"].get(name) for variable_set in sets]
        if any(
            variable is None or not variable["settable"] or variable["scope"] != "interface" for variable in variables
        ):
            continue
        if variable["type"] == "bool" and all("allowed_values" not in variable for variable in variables if variable):
            switches.append((name, [False, True]))
        elif variable["type"] == "int":
            switches.append((name, [variable["init_value"]]))
    # Variables with a choice of values come first.
    switches.sort(key=lambda entry: -len(entry[1]))
    return switches[: _VALUES - 2]


def send_all(url: str, requests: Sequence[Request], writers: int) -> None:
    """Send requests with this number of concurrent writers."""
    with ThreadPoolExecutor(writers) as pool, httpx.Client(base_url=url, headers=AUTHORIZATION, timeout=60) as client:
        for response in pool.map(
            lambda request: client.request(request.method, request.path, content=request.body), requests
        ):
            response.raise_for_status()
