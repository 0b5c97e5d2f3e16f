"""Keeps what a binary has said so far in a file, so that an import that was interrupted goes on."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from app import VERSION

# What was asked longer ago is asked again, in seconds: a host changes.
_MAX_AGE = 24 * 3600


def cache_folder() -> Path:
    """Return the folder of this user's caches (XDG_CACHE_HOME)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "profile-registry"


class Journal:
    """The answers of one binary to one import, by kind and name; a line of the file for each.

    folder: where the file is; None: nothing is kept.
    """

    def __init__(self, folder: Path | None, binary: Path, stated: Mapping[str, Any], wanted: Sequence[Any]) -> None:
        """Read what is there of the same binary, which states the same, and of the same question."""
        self._file: Path | None = None
        self._entries: dict[tuple[str, str], Any] = {}
        if folder is None:
            return
        status = binary.stat()
        key = [VERSION, str(binary), status.st_size, status.st_mtime_ns, stated, wanted]
        self._file = folder / f"{sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}.jsonl"
        self._entries = dict(_entries(self._file))

    def get(self, kind: str, name: str) -> Any:
        """Return what is kept, None if it was not asked yet."""
        return self._entries.get((kind, name))

    def add(self, kind: str, name: str, document: Any) -> None:
        """Keep an answer; a file that cannot be written is no reason to end the import."""
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps([kind, name, document]) + "\n")
        except OSError:
            self._file = None

    def forget(self) -> None:
        """Remove the file: the import has all answers."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def _entries(file: Path) -> Sequence[tuple[tuple[str, str], Any]]:
    try:
        if time.time() - file.stat().st_mtime > _MAX_AGE:
            file.unlink()
            return []
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        return []
    entries = []
    for line in lines:
        try:
            kind, name, document = json.loads(line)
        except ValueError:
            # The last line of a process that was killed; what follows it is asked again.
            break
        entries.append(((kind, name), document))
    return entries
