"""profile-registry token: creates, lists and revokes tokens, and exchanges a pipeline's OIDC token for one."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from app.cli.client import Registry
from app.cli.output import AsJson, fail, print_json, print_line, print_table, refuse
from app.cli.pipeline import PipelineError, oidc_token
from app.client import RegistryError
from app.domain.publishing.token import Role
from app.settings import ClientSettings
from app.wire.base import without_credentials

commands = typer.Typer(
    help="""Create, list and revoke tokens: REGISTRY_TOKEN must be an admin's token. Pipelines exchange theirs for one.

    Example:

        profile-registry token create operator --role reader
    """,
    no_args_is_help=True,
)

_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@commands.command("create")
def create(
    name: Annotated[str, typer.Argument(help="The name of its user in the audit log.")],
    role: Annotated[
        Role, typer.Option(help="admin: everything; publisher: publish names of one vendor; reader: only read.")
    ],
    vendor: Annotated[str | None, typer.Option(help="The vendor of a publisher.")] = None,
    expires_in: Annotated[
        str | None, typer.Option(help="The lifetime: 30m, 12h, 90d or seconds. Default: the token does not expire.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    r"""Create a token and print its secret. The secret is shown only once; the registry stores only its hash.

    Example:

        profile-registry token create "vendor-a's pipeline" --role publisher \
          --vendor vendor-a.com --expires-in 90d
    """
    document: dict[str, object] = {"name": name, "role": role.value, "vendor": vendor}
    if expires_in is not None:
        duration = _DURATION.fullmatch(expires_in)
        if duration is None:
            fail(f"--expires-in must be a duration such as 30m, 12h or 90d, or a number of seconds, not {expires_in}")
        document["expires_in"] = int(duration[1]) * _SECONDS[duration[2]]
    try:
        with Registry(ClientSettings()) as registry:
            created = registry.post("/tokens", document)
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json(created)
        return
    print_line(created["token"])


@commands.command("list")
def list_tokens(*, as_json: AsJson = False) -> None:
    """List the tokens, without their secrets.

    Example:

        profile-registry token list
    """
    try:
        with Registry(ClientSettings()) as registry:
            tokens = list(registry.items("/tokens"))
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json(tokens)
        return
    rows = [
        (
            token["id"],
            token["name"],
            f"{token['role']} of {token['vendor']}" if token["vendor"] else token["role"],
            f"revoked {_day(token['revoked_at'])}" if token["revoked_at"] else _day(token["expires_at"]),
            _day(token["last_used_at"]),
        )
        for token in tokens
    ]
    print_table(("id", "name", "role", "until", "last used"), rows)


def _day(timestamp: str | None) -> str:
    return "" if timestamp is None else timestamp.partition("T")[0]


@commands.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="The token's id, from token list.", metavar="ID")],
    *,
    as_json: AsJson = False,
) -> None:
    """Revoke a token. It stops working within a second.

    Example:

        profile-registry token revoke 3f2a9c0d1b4e
    """
    try:
        with Registry(ClientSettings()) as registry:
            registry.delete(f"/tokens/{token_id}")
    except RegistryError as error:
        refuse(error)
    if as_json:
        print_json({"revoked": token_id})
        return
    print_line(f"token {token_id} revoked")


@commands.command("exchange")
def exchange(
    vendor: Annotated[
        str | None, typer.Option(help="The vendor to publish for. Default: the one that trusts this pipeline.")
    ] = None,
    audience: Annotated[
        str | None,
        typer.Option(help="The audience of the OIDC token, on GitHub. Default: REGISTRY_URL, without a final slash."),
    ] = None,
    *,
    github_env: Annotated[
        bool,
        typer.Option(
            "--github-env", help="Set REGISTRY_TOKEN for the next steps of the job on GitHub, masked in its log."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Exchange the OIDC token of this pipeline's run for a publisher token of 15 minutes, and print it.

    An admin has made the pipeline a trusted publisher. On GitHub the job needs the permission id-token: write. On
    GitLab, name the OIDC token REGISTRY_ID_TOKEN under id_tokens. Each OIDC token can be exchanged once.

    Exit status 0 exchanged, 1 refused, 2 could not ask.

    Example:

        REGISTRY_TOKEN="$(profile-registry token exchange)"; export REGISTRY_TOKEN
        profile-registry token exchange --github-env
    """
    settings = ClientSettings()
    environment = os.environ.get("GITHUB_ENV")
    if github_env and not environment:
        fail("--github-env works only in a step on GitHub Actions: GITHUB_ENV is not set")
    try:
        document = {"token": oidc_token(settings, audience or without_credentials(settings.url).rstrip("/"))}
        # An expired token of an earlier step must not get in the way.
        with Registry(settings.model_copy(update={"token": None})) as registry:
            exchanged = registry.post("/tokens/exchange", document | ({"vendor": vendor} if vendor else {}))
    except PipelineError as error:
        fail(str(error))
    except RegistryError as error:
        refuse(error, is_publication=True)
    if github_env and environment:
        # The runner reads this line from the log, and masks the token from then on.
        print_line(f"::add-mask::{exchanged['token']}")
        with Path(environment).open("a", encoding="utf-8") as variables:
            variables.write(f"REGISTRY_TOKEN={exchanged['token']}\n")
        print_line(f"REGISTRY_TOKEN publishes for {exchanged['vendor']} until {exchanged['expires_at']}")
    elif as_json:
        print_json(exchanged)
    else:
        print_line(exchanged["token"])
