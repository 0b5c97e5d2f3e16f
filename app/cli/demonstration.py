"""profile-registry demo: serves the registry with real sample data and asks it a question."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import httpx
import orjson
import typer
from pydantic import SecretStr

from app.cli.client import Registry
from app.cli.output import fail, print_line, progress_bar
from app.cli.qemu import publication
from app.cli.qemu.capture import Capture
from app.cli.service import check_free, read_settings
from app.client import RegistryError
from app.settings import ClientSettings

_SAMPLE = Path(__file__).parent / "sample"
_TOKEN = "demo-token"
_START_SECONDS = 30
# QEMU 10.0 does not accept everything that 7.2 accepts, so the evolution gate would refuse it.
_OVERRIDE = "upstream's decision: QEMU 10.0 dropped pc-i440fx-1.4, and with it the switch mitigation of e1000"
_QUESTION = {
    "devices": [
        {
            "id": "net0",
            "model": "qemu.org/virtio-net-pci",
            "release": "qemu.org/qemu-system-x86_64@10.0.13",
            "profile": "qemu.org/pc-q35-7.2",
            "values": {"guest_uso4": True},
        }
    ],
    "destinations": [
        {"id": "new-host", "releases": ["qemu.org/qemu-system-x86_64@10.0.13"]},
        {"id": "old-host", "releases": ["qemu.org/qemu-system-x86_64@7.2.22"]},
    ],
}


def demo(
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8000,
    *,
    once: Annotated[bool, typer.Option("--once", help="Exit after the question is answered.")] = False,
) -> None:
    """Serve the registry with some devices of two real QEMU releases, ask it a question, and keep serving.

    Example:

        profile-registry demo --port 8080
    """
    check_free("127.0.0.1", port)
    # SIGTERM must also stop the service: exit through the finally block.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    token = read_settings().admin_token
    secret = token.get_secret_value() if token else _TOKEN
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "REGISTRY_ADMIN_TOKEN": secret}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port), "--no-access-log"]
    server = subprocess.Popen(command, env=environment)
    try:
        _wait(server, url)
        settings = ClientSettings(url=url, token=SecretStr(secret))
        with Registry(settings) as registry:
            publish_sample(registry)
            _ask(registry, url)
        if not once:
            print_line(
                f"\nOpen {url} in a browser; the API is at {url}/docs. The admin token is {secret}. Ctrl-C stops it."
            )
            server.wait()
    except RegistryError as error:
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


def publish_sample(registry: Registry) -> None:
    """Publish some devices of two QEMU releases."""
    for name in ("qemu-7.2.json.gz", "qemu-10.0.json.gz"):
        capture = Capture.load(_SAMPLE / name)
        with progress_bar() as progress:
            release = publication.default_name(capture)
            published = publication.publish(registry, capture, release, progress, override=_OVERRIDE)
        print_line(f"published {release}: {published.models} models, {published.profiles} profiles")


def _ask(registry: Registry, url: str) -> None:
    question = orjson.dumps(_QUESTION).decode()
    print_line("\nCan a network card with USO (new in QEMU 10.0) enabled move to these hosts? The same with curl:\n")
    token = "" if read_settings().read == "open" else "-H 'Authorization: Bearer …' "
    print_line(f"curl -s {url}/compatibility {token}-H 'Content-Type: application/json' -d '{question}'\n")
    answer = registry.post("/compatibility", _QUESTION)
    print_line(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
