"""Starts QEMU binaries without a guest."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError

from app.cli.qemu.capture import CaptureError

_START_SECONDS = 30
# A process that is told to quit can hang in its device.
_RUN_SECONDS = 20
# How long one process can be asked.
_ASKED_SECONDS = 600
HANGS = "it does not exit when it is told to"
_POLL_SECONDS = 0.02
_WITHOUT_GUEST = ("-S", "-nodefaults", "-display", "none", "-serial", "none")
# How much of what a binary prints is kept for an error, in characters.
_KEPT = 2_000


def executable(text: str) -> Path:
    """Return the binary that a user names: one of a folder by its path, any other as the shell finds it.

    Raises CaptureError.
    """
    path = shutil.which(text)
    if path is None:
        message = f"{text} is not a program that can be started"
        raise CaptureError(message)
    return Path(path).absolute()


async def run(binary: Path, *arguments: str, monitor: Sequence[str] = ()) -> tuple[int, str]:
    """Run a binary to its end, with these lines for its monitor (HMP) and then `quit`.

    Returns its exit status and output.
    """
    options = (*_WITHOUT_GUEST, "-monitor", "stdio") if monitor else ()
    lines = "".join(f"{line}\n" for line in (*monitor, "quit"))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        binary, *options, *arguments, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(lines.encode()), _RUN_SECONDS)
    except TimeoutError:
        return 1, HANGS
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


@asynccontextmanager
async def start_qemu(binary: Path, *arguments: str) -> AsyncIterator[QMPClient]:
    """Start a QEMU binary without a guest and yield its QMP connection.

    Raises QMPError if it does not start, or ends while it is used, with what it said.
    """
    with TemporaryDirectory(prefix="qmp-") as folder:
        socket, errors = Path(folder) / "qmp.sock", Path(folder) / "errors"
        command = [str(binary), *_WITHOUT_GUEST, "-monitor", "none", "-qmp", f"unix:{socket},server=on,wait=off"]
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [*command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
            )
        qmp = QMPClient("profile-registry")
        try:
            if not await _connect(qmp, socket, process):
                said = _said(errors) or "it does not answer"
                message = f"{binary.name} {' '.join(arguments[:2])} does not start: \n{said}"
                raise QMPError(message)
            async with _with_words(binary, errors), asyncio.timeout(_ASKED_SECONDS):
                yield qmp
        finally:
            with suppress(QMPError, OSError, EOFError, TimeoutError):
                await asyncio.wait_for(qmp.disconnect(), _RUN_SECONDS)
            process.kill()
            process.wait()


def _said(errors: Path) -> str:
    return errors.read_text(errors="replace").strip()[-_KEPT:]


@asynccontextmanager
async def _with_words(binary: Path, errors: Path) -> AsyncIterator[None]:
    """Add what a process said to the error if it ends, or does not answer any more."""
    try:
        yield
    except ExecuteError:
        raise
    except (QMPError, OSError, EOFError) as error:
        message = f"{binary.name} ends: \n{_said(errors) or error or 'it does not answer'}"
        raise QMPError(message) from error


async def _connect(qmp: QMPClient, socket: Path, process: "subprocess.Popen[bytes]") -> bool:
    """Wait until the binary answers; return False if it exits or takes too long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_START_SECONDS):
            while process.poll() is None:
                if socket.exists():
                    with suppress(ConnectError):
                        await qmp.connect(str(socket))
                        return True
                await asyncio.sleep(_POLL_SECONDS)
    return False
