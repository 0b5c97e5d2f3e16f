"""profile-registry token: creates, lists and revokes tokens, and exchanges a pipeline's OIDC token for one."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from app.cli import client, pipeline
from app.cli.output import AsJson, fail, print_json, print_line, print_table, refuse
from app.domain.publishing.token import Role
from app.wire import base

commands = typer.Typer(
    help="""Create, list and revoke tokens with an admin's REGISTRY_TOKEN; say what a token is; exchange a pipeline's.

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
        str | None,
        typer.Option(
            help="The lifetime: 30m, 12h, 90d or seconds. Default: the token does not expire.", metavar="DURATION"
        ),
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
        with client.Registry() as registry:
            created = registry.post("/tokens", document)
    except client.RegistryError as error:
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
        with client.Registry() as registry:
            tokens = list(registry.items("/tokens"))
    except client.RegistryError as error:
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
        with client.Registry() as registry:
            registry.delete(f"/tokens/{token_id}")
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json({"revoked": token_id})
        return
    print_line(f"token {token_id} revoked")


@commands.command("whoami", short_help="Show what the token in REGISTRY_TOKEN is.")
def whoami(*, as_json: AsJson = False) -> None:
    """Show what the token in REGISTRY_TOKEN is: its role, vendor and expiry, and what it may do.

    Exit status 0 it is valid, 2 it is not, or the registry could not be asked.

    Example:

        profile-registry token whoami
    """
    try:
        with client.Registry() as registry:
            token = registry.get("/tokens/self")
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(token)
        return
    rows = [
        ("name", token["name"]),
        ("id", token["id"] or "none: the operator's token, a setting (REGISTRY_ADMIN_TOKEN)"),
        ("role", token["role"]),
        ("vendor", token["vendor"] or ""),
        ("expires", token["expires_at"] or "never"),
        ("may", _may(Role(token["role"]), token["vendor"])),
    ]
    print_table(("token", ""), [row for row in rows if row[1]])


def _may(role: Role, vendor: str | None) -> str:
    """Return what a token may do, for people."""
    match role:
        case Role.ADMIN:
            return "read and write everything, also hosts, vendors and tokens, and override the evolution gate"
        case Role.PUBLISHER:
            return f"read, publish names that begin with {vendor}/, and change their states"
        case Role.READER:
            return "read, also where reading needs a token"


@commands.command("exchange", short_help="Exchange a pipeline's OIDC token for a token.")
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
    settings = client.ClientSettings()
    environment = os.environ.get("GITHUB_ENV")
    if github_env and not environment:
        fail("--github-env works only in a step on GitHub Actions: GITHUB_ENV is not set")
    try:
        document = {
            "token": pipeline.oidc_token(settings, audience or base.without_credentials(settings.url).rstrip("/"))
        }
        # An expired token of an earlier step must not get in the way.
        with client.Registry(settings.model_copy(update={"token": None})) as registry:
            exchanged = registry.post("/tokens/exchange", document | ({"vendor": vendor} if vendor else {}))
    except pipeline.PipelineError as error:
        fail(str(error))
    except client.RegistryError as error:
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
