"""profile-registry token: who may publish and read."""

import re
from typing import Annotated

import typer

from app.cli.client import Registry
from app.cli.output import AsJson, fail, print_json, print_line, print_table, refuse
from app.client import RegistryError
from app.domain.token import Role
from app.settings import ClientSettings

commands = typer.Typer(
    help="""Say who may publish and read; REGISTRY_TOKEN holds an admin's token.

    Example:

        profile-registry token create operator --role reader
    """,
    no_args_is_help=True,
)

_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@commands.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the audit calls whoever uses it.")],
    role: Annotated[Role, typer.Option(help="admin: all; publisher: one vendor's names; reader: read.")],
    vendor: Annotated[str | None, typer.Option(help="Whose names a publisher publishes.")] = None,
    expires_in: Annotated[str | None, typer.Option(help="30m, 12h, 90d or seconds; else it does not expire.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    r"""Create a token, and print its secret: it is shown this once, and kept nowhere.

    Example:

        profile-registry token create "vendor-a's pipeline" --role publisher \
          --vendor vendor-a.com --expires-in 90d
    """
    document: dict[str, object] = {"name": name, "role": role.value, "vendor": vendor}
    if expires_in is not None:
        given = _DURATION.fullmatch(expires_in)
        if given is None:
            fail(f"--expires-in is 30m, 12h, 90d or seconds, not {expires_in}")
        document["expires_in"] = int(given[1]) * _SECONDS[given[2]]
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


def _day(at: str | None) -> str:
    return "" if at is None else at.partition("T")[0]


@commands.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="The id, as list shows it.", metavar="ID")], *, as_json: AsJson = False
) -> None:
    """Revoke a token: it opens nothing any more, at once.

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
    print_line(f"{token_id} is revoked")
