"""profile-registry demo: serves the registry with real sample data and asks it a question."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_urlsafe
from typing import Annotated, Any

import httpx
import typer

from app.cli import client, json_text, listening, service
from app.cli.output import fail, print_line, progress_bar
from app.cli.qemu import capture as qemu_capture
from app.cli.qemu import publication

_SAMPLE = Path(__file__).parent / "sample"
_TOKEN = "demo-token"
_START_SECONDS = 30
# QEMU 10.0 does not accept everything that 7.2 accepts, so the evolution gate would refuse it.
_OVERRIDE = "upstream's decision: QEMU 10.0 dropped pc-i440fx-1.4, and with it the switch mitigation of e1000"
# The firmware of the hosts' network cards, in turn: each fourth host has two. The types that a GPU can be divided into.
_CARDS = ("1.1", "1.1", "2.0", "1.0", "2.0")
_GPUS = ("gfx-2g", "gfx-4g", "gfx-8g")
_OLD_KERNEL_RACK, _OLD_RACK = 3, 4


def demo(
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8000,
    *,
    once: Annotated[bool, typer.Option("--once", help="Exit after the question is answered.")] = False,
) -> None:
    """Serve the registry with sample data, ask it a question, and keep serving.

    The sample: some devices of two real QEMU releases, a vDPA network card with three firmware versions, a GPU with
    three types of mediated devices, and forty hosts with such cards.

    Example:

        profile-registry demo --port 8080
    """
    listening.check_free("127.0.0.1", port)
    # SIGTERM must also stop the service: exit through the finally block.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    service.read_settings()
    # An operator's database gets no token that everybody knows.
    default = token_urlsafe() if "REGISTRY_DATABASE_URL" in os.environ else _TOKEN
    environment = {"REGISTRY_ADMIN_TOKEN": default, **os.environ}
    secret = environment["REGISTRY_ADMIN_TOKEN"]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port), "--no-access-log"]
    server = subprocess.Popen(command, env=environment)
    try:
        _wait(server, url)
        settings = client.settings_of(url, secret)
        with client.Registry(settings) as registry:
            _ask(registry, url, publish_sample(registry))
        if not once:
            print_line(
                f"\nOpen {url} in a browser; the API is at {url}/docs. The admin token is {secret}. Ctrl-C stops it."
            )
            server.wait()
    except client.RegistryError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print_line("")
    finally:
        server.terminate()
        server.wait()


def _wait(server: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    fail(f"the service did not start at {url}")


def publish_sample(registry: "client.Registry") -> Mapping[str, Any]:
    """Publish devices of two QEMU releases and of two other vendors, and hosts; return a question about them."""
    for name in ("qemu-7.2.json.gz", "qemu-10.0.json.gz"):
        capture = qemu_capture.Capture.load(_SAMPLE / name)
        with progress_bar() as progress:
            release = publication.default_name(capture)
            published = publication.publish(registry, capture, release, progress, override=_OVERRIDE)
        print_line(f"published {release}: {published.models} models, {published.profiles} profiles")
    devices = json_text.parsed((_SAMPLE / "devices.json").read_bytes())
    for vendor, document in devices["vendors"].items():
        registry.put(f"/vendors/{vendor}", document)
    for entry in devices["releases"]:
        reason = {"override": entry["override"]} if "override" in entry else {}
        registry.put(f"/releases/{entry['release']}", entry["document"], **reason)
        print_line(f"published {entry['release']}: {entry['document']['description']}")
    for release, state in devices["states"].items():
        registry.patch(f"/releases/{release}", {"state": state})
    for erratum in devices["errata"]:
        registry.post("/errata", erratum)
    hosts = dict(_hosts())
    with progress_bar() as progress:
        for done, (host, document) in enumerate(hosts.items()):
            progress("hosts", done, len(hosts))
            registry.put(f"/hosts/{host}", document)
    print_line(f"registered {len(hosts)} hosts, with network cards and GPUs")
    question: Mapping[str, Any] = devices["question"]
    return question


def _hosts() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Iterate over forty hosts in four racks: the emulator they run, their cards, and what their kernel lacks."""
    for number in range(1, 41):
        firmware = [_CARDS[number % 5], *([_CARDS[(number + 1) % 5]] if number % 4 == 0 else [])]
        units: list[Mapping[str, Any]] = [
            {"id": f"pci/0000:{slot}b:00.2", "releases": [f"acme.example/dpu@{version}"], "available": number % 7}
            for slot, version in enumerate(firmware, 3)
        ]
        if number % 2 == 0:
            units += [
                {"id": f"0000:41:00.0/{kind}", "releases": [f"pixel.example/gfx/{kind}@535.1"], "available": 4}
                for kind in _GPUS
            ]
        rack = (number - 1) // 10 + 1
        document: dict[str, Any] = {
            "releases": [f"qemu.org/qemu-system-x86_64@{'7.2.22' if rack == _OLD_RACK else '10.0.13'}"],
            "units": units,
            "labels": {"rack": f"r{rack}", "gpu": "yes" if number % 2 == 0 else "no"},
        }
        if rack == _OLD_KERNEL_RACK:
            # Its kernel is older than Linux 6.2: its tap devices cannot segment UDP.
            lacking = {name: {"on": False} for name in ("guest_uso4", "guest_uso6", "host_uso")}
            document["resolves"] = {"qemu.org/virtio-net-pci": lacking}
        yield f"host-{number:02}", document


def _ask(registry: "client.Registry", url: str, asked: Mapping[str, Any]) -> None:
    question = json_text.line(asked)
    print_line(
        "\nA VM on host-01 has a vDPA network card with 16 queue pairs. Can it move to host-08, or to host-33?\n"
    )
    token = "" if service.read_settings().read == "open" else "-H 'Authorization: Bearer …' "
    print_line(f"curl -s {url}/compatibility {token}-H 'Content-Type: application/json' -d '{question}'\n")
    answer = registry.post("/compatibility", asked)
    print_line(json_text.indented(answer))
