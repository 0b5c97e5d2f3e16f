"""profile-registry mirror, export: copies a registry's feed to another registry or into an archive."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.cli import client, retrying
from app.cli import feed as archive_feed
from app.cli.output import INTERRUPTED, REFUSED, AsJson, fail, print_json, print_line, progress_bar, refuse
from app.signing import checkpoint, key
from app.wire import base

_WAIT_SECONDS = 50
# How long --once tries a registry that cannot be reached: a restart passes, and a script does not hang.
_GIVE_UP_SECONDS = 20
_SOURCE_TOKEN = "REGISTRY_SOURCE_TOKEN"  # noqa: S105 (the name of a variable)

Trust = Annotated[
    list[str] | None,
    typer.Option(
        envvar="REGISTRY_TRUST",
        help="A public key of the source, or a file with one on each line; the source must be signed by such a key. "
        "Repeatable.",
        metavar="KEY|FILE",
    ),
]


def mirror(
    url: Annotated[str, typer.Argument(help="The registry to follow.")],
    token: Annotated[
        str | None, typer.Option(envvar=_SOURCE_TOKEN, help="A token to read that registry, if it is closed.")
    ] = None,
    trust: Trust = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Exit when everything is copied, instead of following.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Copy what another registry publishes into this one (REGISTRY_URL, an admin's REGISTRY_TOKEN), and follow it.

    Every digest is verified; altered content is refused. With --trust, the head of the feed must be signed by such a
    key, and nothing is copied that does not lead to it; without it, somebody who controls the source or the network
    can make another feed. An interrupted copy continues where it stopped. While one of the registries cannot be
    reached, the command retries, with --once for 20 seconds. Neither hosts nor local errata are copied.

    With --once, exit status 0 when everything is copied that was published when it began, 2 if it could not be. 1 if
    the source is not trusted.

    Example:

        REGISTRY_URL=http://registry.inside \
          profile-registry mirror https://registry.example --trust registry.pub
    """
    keys = trusted_keys(trust)
    settings = client.settings_of(url, token)
    url = base.without_credentials(url)
    hint = f"{url} must be the address of a registry"
    try:
        with (
            progress_bar() as progress,
            client.Registry(settings, address_hint=hint, token_variable=_SOURCE_TOKEN, retry_seconds=0) as source,
            client.Registry(retry_seconds=0) as target,
        ):
            seq = 0
            while True:
                result = _copy_with_retries(source, target, url, seq, progress, keys, once=once)
                seq = result.seq
                if as_json and (result.changes or once):
                    print_json({"url": url, **asdict(result)})
                elif result.changes:
                    print_line(
                        f"{result.changes:,} changes from {url}, {result.added:,} new, up to change {seq:,} "
                        f"({result.signature})"
                    )
                if once:
                    break
                progress("waiting for changes", seq, seq)
    except KeyboardInterrupt:
        # Following normally ends with an interrupt; with --once the copy is then incomplete.
        raise typer.Exit(INTERRUPTED if once else 0) from None
    except client.RegistryError as error:
        refuse(error)
    except archive_feed.ArchiveError as error:
        fail(str(error))
    except checkpoint.UntrustedError as error:
        fail(str(error), {"code": "untrusted", "detail": str(error)}, REFUSED)
    if once and not as_json:
        print_line(f"{url} is copied up to change {seq:,} ({result.signature})")


def trusted_keys(trust: Sequence[str] | None) -> "Sequence[key.PublicKey]":
    """Return the keys of --trust; print the error and exit if one cannot be read."""
    try:
        return archive_feed.read_trust(trust or [])
    except key.InvalidKeyError as error:
        fail(f"--trust: {error}")


def _copy_with_retries(  # noqa: PLR0913 (what mirror is given)
    source: "client.Registry",
    target: "client.Registry",
    url: str,
    seq: int,
    progress: "archive_feed.Progress",
    keys: "Sequence[key.PublicKey]",
    *,
    once: bool,
) -> "archive_feed.CopyResult":
    copy = retrying.patient(_GIVE_UP_SECONDS if once else None).wraps(
        lambda: archive_feed.copy_feed(
            archive_feed.RemoteFeed(source, seq, 0 if once else _WAIT_SECONDS), target, url, progress, trust=keys
        )
    )
    result: archive_feed.CopyResult = copy()
    return result


def export(
    file: Annotated[Path, typer.Argument(help="The file to write, such as registry.jsonl.gz.")],
    *,
    as_json: AsJson = False,
) -> None:
    r"""Write everything that the registry has published, and its hosts, to an archive for another registry or a backup.

    The same content always produces the same bytes. Tokens and drafts are not included. If the registry signs its
    feed, the archive contains the signed head, which import archive --trust verifies.

    Example:

        profile-registry export registry.jsonl.gz
        REGISTRY_URL=http://registry.inside \
          profile-registry import archive registry.jsonl.gz
    """
    try:
        # Rename the file only when it is complete.
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as unfinished:
            try:
                with progress_bar() as progress, client.Registry() as registry:
                    feed = archive_feed.RemoteFeed(registry)
                    changes = archive_feed.write_archive(feed, unfinished, progress)
                # What does not fit on the disk would otherwise be noticed only after the file has its name.
                unfinished.flush()
                os.fsync(unfinished.fileno())
                Path(unfinished.name).chmod(0o666 & ~_umask())
                Path(unfinished.name).replace(file)
            except BaseException:
                Path(unfinished.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        size = file.stat().st_size
        print_json({"file": str(file), "changes": changes, "bytes": size, "signature": archive_feed.signature_of(feed)})
        return
    print_line(f"{file}: {changes:,} changes, {file.stat().st_size:,} bytes ({archive_feed.signature_of(feed)})")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
