"""Files from elsewhere, read up to stated limits: what is compressed can unpack to a thousand times its size."""

import gzip
from collections.abc import Iterator
from pathlib import Path

_MEBIBYTE = 1024 * 1024
# A document is in memory as a whole. A capture of QEMU has some 7 MiB, a change of a feed rarely more.
MAX_DOCUMENT_BYTES = 64 * _MEBIBYTE
# An archive is read line by line, so its size costs time only.
MAX_ARCHIVE_BYTES = 16 * 1024 * _MEBIBYTE
_MAGIC = b"\x1f\x8b"


class TooLargeError(ValueError):
    """A file unpacks to more than is read; the message states the limit."""


def read_document(path: Path) -> bytes:
    """Return the content of a file, unpacked if it is compressed with gzip; raises OSError, EOFError, ValueError."""
    with path.open("rb") as raw:
        is_packed = raw.read(len(_MAGIC)) == _MAGIC
        raw.seek(0)
        content = (gzip.GzipFile(fileobj=raw) if is_packed else raw).read(MAX_DOCUMENT_BYTES + 1)
    if len(content) > MAX_DOCUMENT_BYTES:
        message = f"it unpacks to more than {MAX_DOCUMENT_BYTES // _MEBIBYTE:,} MiB"
        raise TooLargeError(message)
    return content


def read_lines(path: Path) -> Iterator[bytes]:
    """Iterate over the lines of a file compressed with gzip; raises OSError, EOFError, zlib.error, TooLargeError."""
    total = 0
    with gzip.open(path) as file:
        while line := file.readline(MAX_DOCUMENT_BYTES + 1):
            total += len(line)
            if len(line) > MAX_DOCUMENT_BYTES:
                message = f"a line has more than {MAX_DOCUMENT_BYTES // _MEBIBYTE:,} MiB"
                raise TooLargeError(message)
            if total > MAX_ARCHIVE_BYTES:
                message = f"it unpacks to more than {MAX_ARCHIVE_BYTES // _MEBIBYTE:,} MiB"
                raise TooLargeError(message)
            yield line
