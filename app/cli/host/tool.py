"""Runs the tools of a host, and reads files below its root; what does not answer is named, never guessed."""

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from tempfile import TemporaryFile
from typing import Any

SECONDS = 20.0
_MAX_BYTES = 16 * 1024 * 1024
_MAX_FILE_CHARACTERS = 64 * 1024
_MAX_REASON = 300
# A file that becomes larger than this many blocks of 512 bytes ends the program that writes it.
_LIMITED = f'ulimit -f {_MAX_BYTES // 512 + 1}; exec "$@"'
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotAskedError(Exception):
    """Something of the host that could not be asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The host that reports. root: where its file system is, for a report from within a container."""

    root: Path = Path("/")

    def path(self, path: str) -> Path:
        """Return an absolute path of the host as this process sees it."""
        return self.root / path.lstrip("/")

    def text(self, path: str | Path) -> str | None:
        """Return the content of a small file without white space around it, None if it cannot be read."""
        file = self.path(path) if isinstance(path, str) else path
        with suppress(OSError, ValueError):
            # To open anything else can take for ever.
            if file.is_file():
                with file.open(errors="replace") as opened:
                    return opened.read(_MAX_FILE_CHARACTERS).strip()
        return None

    def names(self, folder: str) -> Sequence[str]:
        """Return what is in a folder, in order; nothing if it cannot be read."""
        with suppress(OSError, ValueError):
            return sorted(path.name for path in self.path(folder).iterdir())
        return []

    def target(self, link: str) -> str | None:
        """Return the name of what a symbolic link of sysfs leads to, None if there is no such link."""
        with suppress(OSError, ValueError):
            return self.path(link).readlink().name
        return None


def check_trusted(binary: Path) -> Path:
    """Return the program that root can run where somebody else names it; raises NotAskedError if others can change it.

    What is returned is to be run: a link to it can be changed at any time.
    """
    if os.geteuid() != 0:
        return binary
    try:
        resolved = binary.resolve(strict=True)
        for path in (resolved, *resolved.parents):
            state = path.stat()
            is_shared = stat.S_ISDIR(state.st_mode) and state.st_mode & stat.S_ISVTX
            if state.st_uid != 0 or (state.st_mode & _OTHERS_WRITE and not is_shared):
                message = f"{binary} is not run as root, because others than root can change {path}"
                raise NotAskedError(message)
    except (OSError, RuntimeError) as error:
        message = f"{binary} cannot be run: {getattr(error, 'strerror', None) or error}"
        raise NotAskedError(message) from error
    if not binary.is_absolute():
        message = f"{binary} is not run as root, because it is no absolute path"
        raise NotAskedError(message)
    return resolved


def is_installed(program: str) -> bool:
    """Return whether the shell finds a program."""
    return which(program) is not None


def output(program: str, *arguments: str) -> str:
    """Return what a program prints; raises NotAskedError if it fails, prints too much or takes too long."""
    command = " ".join([program, *arguments])
    if not is_installed(program):
        message = f"{program} is not installed"
        raise NotAskedError(message)
    # Files, because a child of the program could hold a pipe open for as long as it likes.
    with TemporaryFile() as printed, TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _LIMITED, "sh", program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            message = f"{command} cannot be run: {error.strerror or error}"
            raise NotAskedError(message) from error
        try:
            status = process.wait(SECONDS)
        except subprocess.TimeoutExpired as error:
            message = f"{command} did not answer within {SECONDS:g} seconds"
            raise NotAskedError(message) from error
        finally:
            # What it has started ends with it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            # One that hangs in the kernel does not even end then.
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
        errors.seek(0)
        reason = " ".join(errors.read(_MAX_REASON).decode(errors="replace").split())
        printed.seek(0)
        content = printed.read(_MAX_BYTES + 1)
    if status == -signal.SIGXFSZ or len(content) > _MAX_BYTES:
        message = f"{command} printed more than {_MAX_BYTES // 1024 // 1024} MiB"
        raise NotAskedError(message)
    if status < 0:
        message = f"{command} was killed: {reason or signal.Signals(-status).name}"
        raise NotAskedError(message)
    if status:
        message = f"{command} failed: {reason or f'exit status {status}'}"
        raise NotAskedError(message)
    return content.decode(errors="replace")


def json_output(program: str, *arguments: str) -> Any:
    """Return what a program prints as JSON; raises NotAskedError if it does not."""
    command = " ".join([program, *arguments])
    try:
        return read_json(output(program, *arguments))
    except ValueError as error:
        message = f"{command} did not print JSON"
        raise NotAskedError(message) from error


def read_json(text: str) -> Any:
    """Return what JSON says; raises ValueError if it is none, or if it has half characters that nobody can send."""
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as error:
        message = "it is nested too deeply"
        raise ValueError(message) from error
    return document


def objects(document: Any, source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Iterate over the named objects of a JSON object; raises NotAskedError if it is anything else.

    White space around names is dropped: some tools print it. source: what printed it.
    """
    if not isinstance(document, dict) or not all(isinstance(content, dict) for content in document.values()):
        message = f"{source} printed JSON of an unknown form"
        raise NotAskedError(message)
    for name, content in document.items():
        yield name.strip(), {key.strip(): value for key, value in content.items()}
