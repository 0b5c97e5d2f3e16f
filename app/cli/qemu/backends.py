"""What QEMU's devices need outside QEMU, made for as long as a binary is asked: null back ends and stand-ins."""

import asyncio
import shutil
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from app.cli.qemu.capture import CaptureError

_TPM_SECONDS = 10
_POLL_SECONDS = 0.02
# Of the vhost-user protocol (docs/interop/vhost-user.rst of QEMU): the header, and the requests that are answered.
_HEADER = struct.Struct("<III")
_VERSION, _IS_REPLY, _NEEDS_REPLY = 0x1, 0x4, 0x8
_GET_FEATURES, _GET_VRING_BASE, _GET_PROTOCOL_FEATURES, _GET_QUEUE_NUM, _GET_CONFIG = 1, 11, 15, 17, 24
_GET_MAX_MEM_SLOTS = 36
# All features: QEMU switches off what a back end does not have, and a profile has what the machine type wants.
# Not VIRTIO_F_IOMMU_PLATFORM, for which QEMU would ask back, nor VIRTIO_GPU_F_VIRGL, with which QEMU does not migrate.
# Of the protocol's own: MQ, LOG_SHMFD, REPLY_ACK, CONFIG.
_FEATURES = (2**64 - 1) & ~(1 << 33 | 1 << 0)
_PROTOCOL_FEATURES = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 9
_QUEUES, _SLOTS = 256, 509


@dataclass(frozen=True, slots=True)
class BackEnds:
    """Where the back ends are: a folder to share, and the socket of the vhost-user back end."""

    folder: Path

    @property
    def vhost_user(self) -> Path:
        """The socket of the vhost-user back end, which serves any number of devices."""
        return self.folder / "vhost-user"

    @contextmanager
    def filled_in(self, arguments: Sequence[str]) -> Iterator[Sequence[str]]:
        """Yield the arguments with the paths of the back ends that they name; a TPM runs as long as that.

        Raises CaptureError if a program is missing.
        """
        if not any("{tpm}" in argument for argument in arguments):
            yield [self._with_paths(argument) for argument in arguments]
            return
        with _tpm() as socket:
            yield [self._with_paths(argument).replace("{tpm}", str(socket)) for argument in arguments]

    def _with_paths(self, argument: str) -> str:
        return argument.replace("{folder}", str(self.folder)).replace("{vhost-user}", str(self.vhost_user))


@asynccontextmanager
async def back_ends() -> AsyncIterator[BackEnds]:
    """Serve the back ends of any number of processes."""
    with TemporaryDirectory(prefix="back-ends-") as folder:
        made = BackEnds(Path(folder))
        connections: set[asyncio.Task[None]] = set()

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = asyncio.create_task(_serve_vhost_user(reader, writer))
            connections.add(connection)
            connection.add_done_callback(connections.discard)

        server = await asyncio.start_unix_server(serve, str(made.vhost_user))
        try:
            yield made
        finally:
            server.close()
            for connection in connections:
                connection.cancel()
            await asyncio.gather(*connections, return_exceptions=True)


async def _serve_vhost_user(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one device as a back end that does nothing: what it is sent is read, and forgotten."""
    try:
        while True:
            request, flags, size = _HEADER.unpack(await reader.readexactly(_HEADER.size))
            payload = await reader.readexactly(size)
            reply = _reply(request, payload)
            if reply is None and flags & _NEEDS_REPLY:
                reply = struct.pack("<Q", 0)
            if reply is not None:
                writer.write(_HEADER.pack(request, _VERSION | _IS_REPLY, len(reply)) + reply)
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        # The device is gone.
        pass
    finally:
        writer.close()


def _reply(request: int, payload: bytes) -> bytes | None:
    numbers = {
        _GET_FEATURES: _FEATURES,
        _GET_PROTOCOL_FEATURES: _PROTOCOL_FEATURES,
        _GET_QUEUE_NUM: _QUEUES,
        _GET_MAX_MEM_SLOTS: _SLOTS,
    }
    if request in numbers:
        return struct.pack("<Q", numbers[request])
    return payload if request in {_GET_CONFIG, _GET_VRING_BASE} else None


@contextmanager
def _tpm() -> Iterator[Path]:
    """Start a software TPM, which serves one VM, and yield its socket."""
    program = shutil.which("swtpm")
    if program is None:
        message = "it needs a TPM, and swtpm is not installed"
        raise CaptureError(message)
    with TemporaryDirectory(prefix="swtpm-") as folder:
        socket = Path(folder) / "control"
        command = [program, "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--ctrl", f"type=unixio,path={socket}"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            # It makes its socket as soon as it can be asked, or ends.
            for _ in range(int(_TPM_SECONDS / _POLL_SECONDS)):
                if socket.exists():
                    break
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
            yield socket
        finally:
            process.kill()
            process.wait()
