"""The feed of a registry: reads it from the registry or an archive, writes archives, copies it to another registry."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import groupby, takewhile
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import quote

import orjson

from app.cli.client import Registry
from app.cli.packed import read_lines
from app.client import RegistryError
from app.domain.publishing.change import ChangeKind
from app.domain.values.canonical import canonical_json, digest
from app.signing.checkpoint import Checkpoint, Note, UntrustedError, check_history
from app.signing.key import InvalidKeyError, PublicKey

Progress = Callable[[str, int, int], None]

_HOST_KINDS = {ChangeKind.HOST_REGISTERED.value, ChangeKind.HOST_CHANGED.value}
FORMAT = "device-profile-registry feed"
_VERSION = 1
_PAGE = 1000
# The limits of a batch that the target applies in one transaction; a larger transaction of the source stays whole.
_MAX_CHANGES = 500
_MAX_BYTES = 8 * 1024 * 1024
# What a target takes at once, however it is set.
_MAX_TRANSACTION = 10_000
_MAX_TRANSACTION_BYTES = 256 * 1024 * 1024
# What is read here of the entry of a change; the target checks all of it.
_ENTRY: Mapping[str, Any] = {
    "seq": int,
    "part_of": int,
    "at": str,
    "by": str,
    "kind": str,
    "name": str,
    "digest": str | None,
    "detail": dict,
    "document_digest": str | None,
    "link": str,
}
_REGISTRY = re.compile(r"[A-Za-z0-9-]{1,100}")
UNSIGNED = "unsigned"


class ArchiveError(Exception):
    """An archive cannot be read, or a feed cannot be continued; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change: its entry in the feed, the document that it added, and the document's contents by digest.

    size: the approximate size in bytes.
    """

    entry: Mapping[str, Any]
    document: Mapping[str, Any] | None
    contents: Mapping[str, Any]
    size: int

    @classmethod
    def read(cls, entry: Any, document: Any, contents: Any) -> "Change":
        """Return a change whose parts come from elsewhere; raises ArchiveError if they are not a change."""
        try:
            size = len(orjson.dumps([entry, document, contents]))
        except TypeError as error:
            message = f"it cannot be written as JSON: {error}"
            raise ArchiveError(message) from None
        is_change = (
            isinstance(entry, dict)
            and entry.keys() >= _ENTRY.keys()
            and all(isinstance(entry[field], kind) for field, kind in _ENTRY.items())
            and isinstance(document, dict | None)
            and isinstance(contents, dict)
        )
        if not is_change:
            message = f"it must have {', '.join(_ENTRY)}, each of its type"
            raise ArchiveError(message)
        return cls(entry, document, contents, size)

    @property
    def seq(self) -> int:
        """The position in the feed."""
        seq: int = self.entry["seq"]
        return seq


class Feed(Protocol):
    """A source of changes."""

    @property
    def registry(self) -> str:
        """The id of the registry."""

    @property
    def head(self) -> int:
        """The seq of the last change."""

    @property
    def note(self) -> str | None:
        """The signed head, not verified; None: the registry is unsigned."""

    def entries(self, after: int) -> Iterator[Mapping[str, Any]]:
        """Iterate over the entries of the changes after a seq, up to the head, without what they added."""

    def changes(self, after: int) -> Iterator[Change]:
        """Iterate over the changes after a seq, up to the head."""

    def link(self, seq: int) -> str | None:
        """Return the link of a change, None if there is no such change."""


class RemoteFeed:
    """The feed of a registry, read over HTTP."""

    def __init__(self, source: Registry, after: int = 0, wait: int = 0) -> None:
        """Read the head; wait: seconds to wait for a change after `after`. Raises RegistryError."""
        self._source = source
        page = source.get("/changes", after=after, limit=1, wait=wait)
        if not _REGISTRY.fullmatch(str(page.get("registry"))) or not isinstance(page.get("head"), int):
            message = "the source does not answer as a registry"
            raise ArchiveError(message)
        self.registry: str = page["registry"]
        self.note = _read_note(source)
        # The head is signed after the page was read, and can be a later one.
        self.head: int = max(page["head"], _signed_head(self.note))

    def entries(self, after: int) -> Iterator[Mapping[str, Any]]:
        """Iterate over the entries of the changes after a seq, up to the head; raises RegistryError."""
        return (change.entry for change in self._without_content(after))

    def changes(self, after: int) -> Iterator[Change]:
        """Iterate over the changes after a seq, up to the head; raises RegistryError."""
        return map(self._with_content, self._without_content(after))

    def link(self, seq: int) -> str | None:
        """Return the link of a change, None if there is no such change; raises RegistryError."""
        page = self._page(seq - 1, 1)
        return page[0].entry["link"] if page and page[0].seq == seq else None

    def _without_content(self, after: int) -> Iterator[Change]:
        while after < self.head:
            page = self._page(after, _PAGE)
            for change in page:
                if change.seq > self.head:
                    return
                yield change
            if not page:
                return
            after = page[-1].seq

    def _page(self, after: int, limit: int) -> Sequence[Change]:
        """Return the changes after a seq, without what they added; raises ArchiveError unless they are in order."""
        page = self._source.get("/changes", after=after, limit=limit)
        items = page.get("items") if isinstance(page, dict) else None
        try:
            changes = [Change.read(entry, None, {}) for entry in items or ()]
        except (ArchiveError, TypeError):
            changes = []
        seqs = [after, *(change.seq for change in changes)]
        if not isinstance(items, list) or len(changes) < len(items) or seqs != sorted(set(seqs)):
            message = f"the source does not answer with changes after {after}"
            raise ArchiveError(message)
        return changes

    def _with_content(self, change: Change) -> Change:
        if change.entry["document_digest"] is None:
            return change
        added = self._source.get(f"/changes/{change.seq}")
        if not isinstance(added, dict) or not added.keys() >= {"document", "contents"}:
            message = f"the source does not answer with change {change.seq}"
            raise ArchiveError(message)
        return Change.read(change.entry, added["document"], added["contents"])


def _read_note(source: Registry) -> str | None:
    """Return the signed head of a registry; None if it has none, or is of a version that does not sign."""
    try:
        return source.text("/checkpoint", "text/plain")
    except RegistryError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise


def _signed_head(note: str | None) -> int:
    """Return the seq that a note states, 0 if it states none; nothing is verified."""
    try:
        return 0 if note is None else Note.read(note).checkpoint.seq
    except UntrustedError:
        return 0


class Archive:
    """The feed in a file: a header line, then a line for each change; content is stored with its first change."""

    def __init__(self, path: Path) -> None:
        """Read the header; raises ArchiveError."""
        self._path = path
        header: Any = next(self._lines(), None)
        is_header = (
            isinstance(header, dict)
            and (header.get("format"), header.get("version")) == (FORMAT, _VERSION)
            and _REGISTRY.fullmatch(str(header.get("registry"))) is not None
            and isinstance(header.get("head"), int)
        )
        if not is_header:
            message = f"{path} is not a registry archive"
            raise ArchiveError(message)
        self.registry: str = header["registry"]
        self.head: int = header["head"]
        # Archives of versions that did not sign have none.
        note = header.get("checkpoint")
        self.note: str | None = note if isinstance(note, str) else None

    def entries(self, after: int) -> Iterator[Mapping[str, Any]]:
        """Iterate over the entries of the changes after a seq; raises ArchiveError."""
        return (change.entry for change in self.changes(after))

    def changes(self, after: int) -> Iterator[Change]:
        """Iterate over the changes after a seq; raises ArchiveError."""
        lines = self._lines()
        next(lines)
        last = 0
        for line in lines:
            parts = line if isinstance(line, dict) else {}
            try:
                change = Change.read(*map(parts.get, ("change", "document", "contents")))
            except ArchiveError as error:
                message = f"{self._path}: the line after change {last} is not a change: {error}"
                raise ArchiveError(message) from None
            last = change.seq
            # The target already has the content of the skipped changes.
            if last > after:
                yield change
        if last != self.head:
            message = f"{self._path} is incomplete: it ends at change {last}, not at change {self.head}"
            raise ArchiveError(message)

    def link(self, seq: int) -> str | None:
        """Return the link of a change, None if there is no such change; raises ArchiveError."""
        change = next(self.changes(seq - 1), None)
        return change.entry.get("link") if change is not None and change.seq == seq else None

    def _lines(self) -> Iterator[Any]:
        count = 0
        try:
            for line in read_lines(self._path):
                yield orjson.loads(line)
                count += 1
        except (OSError, EOFError, zlib.error, ValueError) as error:
            message = f"{self._path} cannot be read after line {count}: {getattr(error, 'strerror', None) or error}"
            raise ArchiveError(message) from error


def write_archive(feed: Feed, target: IO[bytes], progress: Progress) -> int:
    """Write a feed as an archive, byte for byte reproducible; return the number of changes."""
    written: set[str] = set()
    with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as file:
        header = {"format": FORMAT, "version": _VERSION, "registry": feed.registry, "head": feed.head}
        # Programs that do not know the signed head ignore it.
        file.write(_line(header if feed.note is None else {**header, "checkpoint": feed.note}))
        for change in feed.changes(0):
            new = {key: content for key, content in change.contents.items() if key not in written}
            written.update(new)
            file.write(_line({"change": change.entry, "document": change.document, "contents": new}))
            progress("writing changes", change.seq, feed.head)
    return feed.head


def _line(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class CopyResult:
    """The result of a copy: the number of changes, how many of them were new in the target, and the last seq.

    signature: what the signed head says about the feed, for people.
    """

    changes: int
    added: int
    seq: int
    signature: str = UNSIGNED


def copy_feed(
    feed: Feed,
    target: Registry,
    url: str,
    progress: Progress,
    *,
    with_hosts: bool = False,
    trust: Sequence[PublicKey] = (),
) -> CopyResult:
    """Apply a feed's changes to another registry, after the last one applied.

    trust: a key that must have signed the head of the feed, or several; a feed that does not lead to that head is not
    applied at all. Raises RegistryError, ArchiveError, UntrustedError.
    """
    mirror = target.find(f"/mirrors/{feed.registry}")
    seq = mirror["seq"] if mirror else 0
    signature = signature_of(feed)
    if trust:
        signature = _check_signed(feed, url, trust, mirror, with_hosts=with_hosts)
    if seq > feed.head:
        message = (
            f"{url} ends at change {feed.head}, but {seq} of its changes are already here: it is an older archive, "
            f"or the source was restored from a backup"
        )
        raise ArchiveError(message)
    if mirror and feed.link(seq) != mirror["link"]:
        message = (
            f"change {seq} of {url} differs from change {seq} here: the source was restored from a backup and has "
            f"changed since"
        )
        raise ArchiveError(message)
    changes = added = 0
    if with_hosts and seq:
        added += _restore_operators_own(feed, target, seq)
    for batch in _batches(_read_changes(feed, seq, progress)):
        document = {
            "url": url,
            "changes": [{**change.entry, "document": change.document} for change in batch],
            "contents": {key: content for change in batch for key, content in change.contents.items()},
            "hosts": with_hosts,
        }
        answer = target.post(f"/mirrors/{feed.registry}/changes", document)
        changes, added, seq = changes + len(batch), added + answer["added"], answer["seq"]
        progress("applying changes", seq, feed.head)
    return CopyResult(changes, added, seq, signature)


def signature_of(feed: Feed) -> str:
    """Return whether a feed is signed, and by which keys as it says itself."""
    if feed.note is None:
        return UNSIGNED
    try:
        return f"signed by {Note.read(feed.note).signers}; not verified (--trust)"
    except UntrustedError:
        return "not verified: its signature cannot be read"


def _check_signed(
    feed: Feed, url: str, trust: Sequence[PublicKey], mirror: Mapping[str, Any] | None, *, with_hosts: bool
) -> str:
    """Check that a trusted key signed the head of a feed, and that its changes lead there from those applied.

    Return the result for people; raises UntrustedError.
    """
    seq, link = (mirror["seq"], mirror["link"]) if mirror else (0, feed.registry)
    try:
        checkpoint = _signed_by(trust, feed)
        check_history(seq, link, feed.entries(seq), checkpoint)
        if with_hosts and seq:
            # Hosts and local errata are restored from the changes before.
            check_history(0, feed.registry, feed.entries(0), checkpoint)
    except UntrustedError as error:
        message = f"{url} is not trusted: {error}"
        raise UntrustedError(message) from error
    trusted = {key.label for key in trust}
    signers = [label for label, _ in Note.read(feed.note or "").signatures if label in trusted]
    return f"verified: signed by {', '.join(signers)}"


def _signed_by(trust: Sequence[PublicKey], feed: Feed) -> Checkpoint:
    """Return the signed head of a feed if a trusted key signed it; raises UntrustedError."""
    if feed.note is None:
        message = f"it is {UNSIGNED}: it has no signed head that the trusted keys could verify"
        raise UntrustedError(message)
    checkpoint = Note.read(feed.note).verified(trust)
    if checkpoint.seq < feed.head:
        message = f"its signed head is change {checkpoint.seq}, but it goes on to change {feed.head}"
        raise UntrustedError(message)
    return checkpoint


def read_trust(given: Sequence[str]) -> Sequence[PublicKey]:
    """Return trusted keys, each given as its text or as a file with a key on each line; raises InvalidKeyError."""
    texts: list[str] = []
    for text in given:
        path = Path(text)
        try:
            texts += path.read_text(encoding="utf-8").split() if path.is_file() else [text]
        except (OSError, UnicodeDecodeError) as error:
            message = f"{text} cannot be read: {error}"
            raise InvalidKeyError(message) from error
    return [PublicKey.read(text) for text in texts]


def _restore_operators_own(feed: Feed, target: Registry, until: int) -> int:
    """Add the hosts and local errata of changes that were applied before without them; return how many are new.

    Hosts that are registered already stay as they are: they can be more recent. Raises ArchiveError for a document
    that does not match its digest.
    """
    hosts: dict[str, Mapping[str, Any]] = {}
    errata: dict[str, Mapping[str, Any]] = {}
    for change in takewhile(lambda change: change.seq <= until, feed.changes(0)):
        kind, name, document = change.entry["kind"], change.entry["name"], change.document or {}
        if change.document is not None and digest(canonical_json(document)) != change.entry["document_digest"]:
            message = f"the document of change {change.seq} ({kind} {name}) does not match its digest: it was altered"
            raise ArchiveError(message)
        if kind in _HOST_KINDS:
            hosts[name] = document
        elif kind == ChangeKind.HOST_FORGOTTEN.value:
            hosts.pop(name, None)
        elif kind == ChangeKind.ERRATUM_PUBLISHED.value and document.get("local"):
            errata[str(change.entry["detail"].get("erratum"))] = document
        elif kind == ChangeKind.ERRATUM_WITHDRAWN.value:
            errata.pop(str(document.get("erratum")), None)
    missing = [name for name in hosts if target.find(f"/hosts/{quote(name, safe='')}") is None]
    for name in missing:
        target.put(f"/hosts/{quote(name, safe='')}", hosts[name])
    unknown = [erratum for key, erratum in errata.items() if target.find(f"/errata/{quote(key, safe='')}") is None]
    for erratum in unknown:
        target.post("/errata", {field: value for field, value in erratum.items() if value is not None})
    return len(missing) + len(unknown)


def _read_changes(feed: Feed, seq: int, progress: Progress) -> Iterator[Change]:
    """Iterate over a feed's changes and report progress."""
    for change in feed.changes(seq):
        progress("reading changes", change.seq, feed.head)
        yield change


def _batches(changes: Iterator[Change]) -> Iterator[Sequence[Change]]:
    """Iterate over batches of changes; a batch never splits a transaction."""
    batch: list[Change] = []
    size = 0
    for _, group in groupby(changes, key=lambda change: change.entry["part_of"]):
        transaction: list[Change] = []
        transaction_size = 0
        for change in group:
            transaction.append(change)
            transaction_size += change.size
            if len(transaction) > _MAX_TRANSACTION or transaction_size > _MAX_TRANSACTION_BYTES:
                message = (
                    f"the transaction of change {change.seq} is too large: more than {_MAX_TRANSACTION:,} changes, or "
                    f"{_MAX_TRANSACTION_BYTES:,} bytes"
                )
                raise ArchiveError(message)
        if batch and (len(batch) + len(transaction) > _MAX_CHANGES or size + transaction_size > _MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch += transaction
        size += transaction_size
    if batch:
        yield batch
