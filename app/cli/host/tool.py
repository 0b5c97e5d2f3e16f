"""Runs the tools of a host, and reads files below its root; what does not answer is named, never guessed."""

import json
import signal
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
        with suppress(OSError), (self.path(path) if isinstance(path, str) else path).open(errors="replace") as file:
            return file.read(_MAX_FILE_CHARACTERS).strip()
        return None

    def names(self, folder: str) -> Sequence[str]:
        """Return what is in a folder, in order; nothing if it cannot be read."""
        with suppress(OSError):
            return sorted(path.name for path in self.path(folder).iterdir())
        return []

    def target(self, link: str) -> str | None:
        """Return the name of what a symbolic link of sysfs leads to, None if there is no such link."""
        with suppress(OSError):
            return self.path(link).readlink().name
        return None


def is_installed(program: str) -> bool:
    """Return whether the shell finds a program."""
    return which(program) is not None


def output(program: str, *arguments: str) -> str:
    """Return what a program prints; raises NotAskedError if it fails, prints too much or takes too long."""
    command = " ".join([program, *arguments])
    # Files, because a child of the program could hold a pipe open for as long as it likes.
    with TemporaryFile() as printed, TemporaryFile() as said:
        try:
            finished = subprocess.run(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=said,
                timeout=SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            message = f"{program} is not installed"
            raise NotAskedError(message) from error
        except subprocess.TimeoutExpired as error:
            message = f"{command} did not answer within {SECONDS:g} seconds"
            raise NotAskedError(message) from error
        except OSError as error:
            message = f"{command} cannot be run: {error.strerror or error}"
            raise NotAskedError(message) from error
        said.seek(0)
        reason = " ".join(said.read(_MAX_REASON).decode(errors="replace").split())
        if finished.returncode < 0:
            with suppress(ValueError):
                reason = reason or signal.Signals(-finished.returncode).name
            message = f"{command} was killed: {reason}"
            raise NotAskedError(message)
        if finished.returncode:
            message = f"{command} failed: {reason or f'exit status {finished.returncode}'}"
            raise NotAskedError(message)
        printed.seek(0)
        content = printed.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        message = f"{command} printed more than {_MAX_BYTES // 1024 // 1024} MiB"
        raise NotAskedError(message)
    return content.decode(errors="replace")


def json_output(program: str, *arguments: str) -> Any:
    """Return what a program prints as JSON; raises NotAskedError if it does not."""
    text = output(program, *arguments)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{' '.join([program, *arguments])} did not print JSON"
        raise NotAskedError(message) from error


def objects(document: Any, source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Iterate over the named objects of a JSON object; raises NotAskedError if it is anything else.

    White space around names is dropped: some tools print it. source: what printed it.
    """
    if not isinstance(document, dict) or not all(isinstance(content, dict) for content in document.values()):
        message = f"{source} printed JSON of an unknown form"
        raise NotAskedError(message)
    for name, content in document.items():
        yield name.strip(), {key.strip(): value for key, value in content.items()}
