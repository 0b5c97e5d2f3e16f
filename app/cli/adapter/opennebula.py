"""profile-registry adapter opennebula: an external scheduler, and a scheduler driver."""

import json
import logging
import signal
import subprocess
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer

from app.adapters import opennebula as adapter
from app.cli import lazy
from app.cli.adapter import explaining, running
from app.cli.output import fail, print_line, warn

# As many VMs as mm_sched sends at once take some megabytes.
_MAX_BYTES = 64 * 1024 * 1024
_READ_SECONDS = 30
_LOG = logging.getLogger(__name__)


def opennebula(
    cluster: Annotated[
        str | None, typer.Argument(help="With --driver: what OpenNebula gives the driver, passed on.", metavar="ID")
    ] = None,
    bind: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0: any that is free.", min=0, max=65535)] = 8009,
    label: Annotated[str, typer.Option(help="The label of registered hosts that states their ids in OpenNebula.")] = (
        "opennebula"
    ),
    seconds: Annotated[
        float,
        typer.Option(help="How long to ask about the VMs of a request; those that are left then get no host.", min=1),
    ] = 30,
    driver: Annotated[
        Path | None,
        typer.Option(
            help="Act as a scheduler driver (OpenNebula 7.0 and later): narrow the document on standard input, and "
            "run this driver with it.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Be OpenNebula's external scheduler, or with --driver a scheduler driver.

    Up to OpenNebula 6.10, EXTERNAL_SCHEDULER in sched.conf names the address of this command. It answers with a host
    for each VM that can re-create its devices; a VM that no host takes is not in the answer. From 7.0 on, a driver of
    oned runs this command with --driver: hosts that cannot re-create the devices of a VM are taken out of what the
    next driver may choose from.

    The VM template's attribute DPR describes the devices. If the registry cannot be asked, such VMs get no host.

    Exit status with --driver: that of the next driver, or 1 if it was not run.

    Examples:

        profile-registry adapter opennebula --port 8009

        profile-registry adapter opennebula --driver /var/lib/one/remotes/scheduler/rank/place
    """
    if driver is not None:
        _drive(driver, [] if cluster is None else [cluster], seconds)
    if cluster is not None:
        fail("an argument has no effect without --driver")
    _serve(bind, port, label, seconds)


def _drive(driver: Path, arguments: list[str], seconds: float) -> None:
    """Run the next driver with the narrowed document, and exit with its status."""
    # oned reads the plan from standard output, and lines with a level from standard error.
    asker = explaining.read_settings().asker()
    try:
        document = adapter.narrowed(sys.stdin.buffer.read(), asker, warn, seconds)
        status = subprocess.run([driver, *arguments], input=document, check=False).returncode
    except (adapter.DocumentError, OSError) as error:
        fail(f"ERROR: no VM is placed: {error}", status=1)
    # A signal is a negative status.
    raise typer.Exit(status if status >= 0 else 1)


def _serve(bind: str, port: int, label: str, seconds: float) -> None:
    """Answer requests until the process is stopped."""
    running.log_to_standard_error()
    lazy.load_all()
    settings = explaining.read_settings()
    registry = settings.registry()
    scheduler = adapter.ExternalScheduler(settings.asker(), lambda: adapter.host_names(registry, label), label, seconds)
    try:
        server = ThreadingHTTPServer((bind, port), _handler(scheduler))
    except OSError as error:
        fail(f"cannot listen on {bind}:{port}: {error.strerror}")
    signal.signal(signal.SIGTERM, lambda *_: Thread(target=server.shutdown).start())
    with server:
        print_line(f"listening on http://{bind}:{server.server_port}/")
        sys.stdout.flush()
        server.serve_forever()


def _handler(scheduler: "adapter.ExternalScheduler") -> type[BaseHTTPRequestHandler]:
    """Return the class that answers requests; http.server makes an object of it for each connection."""

    class Handler(BaseHTTPRequestHandler):
        """Answers POST with the hosts that are chosen."""

        timeout = _READ_SECONDS
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Answer a request of mm_sched."""
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > _MAX_BYTES:
                self.close_connection = True
                self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"at most {_MAX_BYTES:,} bytes"})
                return
            try:
                answer = scheduler.answer(json.loads(self.rfile.read(int(length))))
            except ValueError as error:
                # DocumentError is one, too.
                _LOG.warning("a request cannot be read: %s", error)
                self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            except Exception:  # noqa: BLE001 (whatever it is, mm_sched must get an answer)
                # No answer names a host.
                _LOG.exception("a request was not answered")
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "see the log of the adapter"})
            else:
                self._answer(HTTPStatus.OK, answer)

        def _answer(self, status: HTTPStatus, document: object) -> None:
            body = f"{json.dumps(document)}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (http.server's own name)
            """Log a request as the rest is logged."""
            _LOG.debug(format, *arguments)

    return Handler
