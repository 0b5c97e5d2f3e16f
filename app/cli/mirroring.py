"""profile-registry mirror, export: what a registry published, for another one."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, stop_never, wait_random_exponential

from app.cli.client import Registry
from app.cli.feed import ArchiveError, Copied, Progress, RemoteFeed, copied, written
from app.cli.output import AsJson, fail, print_json, print_line, progress_bar, refuse, warn
from app.client import RegistryError
from app.settings import ClientSettings

_WAIT_SECONDS = 50
_LONGEST_PAUSE_SECONDS = 15
_GIVEN_UP_SECONDS = 120
_SOURCE_TOKEN = "REGISTRY_SOURCE_TOKEN"  # noqa: S105 (the name of a variable)
# As a shell says that a program was interrupted.
_INTERRUPTED = 130


def mirror(
    url: Annotated[str, typer.Argument(help="The registry to follow.")],
    token: Annotated[
        str | None, typer.Option(envvar=_SOURCE_TOKEN, help="A token to read it with, if it needs one.")
    ] = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="End when all is here, instead of following on.")] = False,
    as_json: AsJson = False,
) -> None:
    r"""Make what another registry publishes here (REGISTRY_URL; REGISTRY_TOKEN, an admin's), and follow it.

    Every digest is verified; what was altered on the way is refused. It goes on where it stopped, whoever was stopped
    or killed; while one of the two cannot be reached it tries again. Hosts stay each registry's own.

    Example:

        REGISTRY_URL=http://registry.inside \
          profile-registry mirror https://registry.example
    """
    source = ClientSettings(url=url, token=SecretStr(token) if token else None)
    try:
        with (
            progress_bar() as progress,
            Registry(source, called=f"{url} is to be a registry", token_variable=_SOURCE_TOKEN, patience=0) as theirs,
            Registry(ClientSettings(), patience=0) as here,
        ):
            seq = 0
            while True:
                done = _copied_persistently(theirs, here, url, seq, progress, once=once)
                seq = done.seq
                if as_json and (done.changes or once):
                    print_json({"url": url, "changes": done.changes, "added": done.added, "seq": seq})
                elif done.changes:
                    print_line(f"{done.changes:,} changes of {url}, {done.added:,} of them new here, until {seq:,}")
                if once:
                    break
                progress("waiting for changes", seq, seq)
    except KeyboardInterrupt:
        # Following ends by being interrupted; but with --once something is missing then.
        raise typer.Exit(_INTERRUPTED if once else 0) from None
    except RegistryError as error:
        refuse(error)
    except ArchiveError as error:
        fail(str(error))
    if once and not as_json:
        print_line(f"all of {url} is here, until its change {seq:,}")


def _copied_persistently(
    theirs: Registry, here: Registry, url: str, seq: int, progress: Progress, *, once: bool
) -> Copied:
    retrying = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, RegistryError) and error.may_pass),
        wait=wait_random_exponential(multiplier=0.2, max=_LONGEST_PAUSE_SECONDS),
        stop=stop_after_delay(_GIVEN_UP_SECONDS) if once else stop_never,
        before_sleep=_tell,
        reraise=True,
    )
    copy = retrying.wraps(lambda: copied(RemoteFeed(theirs, seq, 0 if once else _WAIT_SECONDS), here, url, progress))
    done: Copied = copy()
    return done


def _tell(attempt: RetryCallState) -> None:
    if attempt.attempt_number == 1 and attempt.outcome is not None:
        warn(f"{attempt.outcome.exception()}; trying again and again")


def export(
    file: Annotated[Path, typer.Argument(help="The file to write, such as registry.jsonl.gz.")],
    *,
    as_json: AsJson = False,
) -> None:
    r"""Write all that the registry ever published into a file, hosts included: to carry it elsewhere, or as a backup.

    The same registry is always the same file, byte by byte. Tokens and drafts are not in it.

    Example:

        profile-registry export registry.jsonl.gz
        REGISTRY_URL=http://registry.inside \
          profile-registry import archive registry.jsonl.gz
    """
    try:
        # Only a whole file takes the name.
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as unfinished:
            try:
                with progress_bar() as progress, Registry(ClientSettings()) as registry:
                    changes = written(RemoteFeed(registry), unfinished, progress)
                Path(unfinished.name).chmod(0o666 & ~_umask())
                Path(unfinished.name).replace(file)
            except BaseException:
                Path(unfinished.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json({"file": str(file), "changes": changes, "bytes": file.stat().st_size})
        return
    print_line(f"{file}: {changes:,} changes, {file.stat().st_size:,} bytes")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
