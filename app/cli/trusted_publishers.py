"""profile-registry trusted-publisher: creates, lists and deletes trusted publishers."""

from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import quote

import typer

from app.cli import client
from app.cli.output import AsJson, fail, print_json, print_line, print_table, refuse
from app.wire import base

commands = typer.Typer(
    help="""Trust pipelines to publish for a vendor without a stored token. REGISTRY_TOKEN must be an admin's token.

    Example:

        profile-registry trusted-publisher list
    """,
    no_args_is_help=True,
)


@commands.command("create", short_help="Trust a pipeline to publish for a vendor.")
def create(
    vendor: Annotated[str, typer.Argument(help="The registered vendor that the pipeline publishes for.")],
    issuer: Annotated[str, typer.Option(help="The URL of the OIDC issuer, exactly as iss in its tokens.")],
    claims: Annotated[
        list[str],
        typer.Option(
            "--claim",
            help="A claim that the tokens must have, name=value. Repeatable: all must hold. One of sub, repository, "
            "repository_id, project_path and project_id is required.",
        ),
    ],
    audience: Annotated[
        str | None,
        typer.Option(help="The audience of the tokens. Default: REGISTRY_URL, without a final slash."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    r"""Create a trusted publisher: runs of the pipeline exchange their OIDC tokens for publisher tokens of 15 minutes.

    Example:

        profile-registry trusted-publisher create vendor-a.com \
          --issuer https://token.actions.githubusercontent.com --audience https://registry.example \
          --claim repository=vendor-a/firmware --claim ref=refs/heads/main
    """
    settings = client.ClientSettings()
    document = {
        "vendor": vendor,
        "issuer": issuer,
        "audience": audience or base.without_credentials(settings.url).rstrip("/"),
        "claims": _claims(claims),
    }
    try:
        with client.Registry(settings) as registry:
            created = registry.post("/trusted-publishers", document)
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(created)
        return
    print_line(f"trusted publisher {created['id']} of {vendor}, for the audience {created['audience']}")


def _claims(pairs: Sequence[str]) -> Mapping[str, str]:
    claims: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            fail(f"--claim must be name=value, not {pair}")
        if name in claims:
            fail(f"--claim names {name} twice; create one trusted publisher for each value")
        claims[name] = value
    return claims


@commands.command("list")
def list_trusted_publishers(
    vendor: Annotated[str | None, typer.Option(help="Only trusted publishers of this vendor.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the trusted publishers.

    Example:

        profile-registry trusted-publisher list --vendor vendor-a.com
    """
    try:
        with client.Registry() as registry:
            publishers = list(registry.items("/trusted-publishers", **({"vendor": vendor} if vendor else {})))
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(publishers)
        return
    rows = [
        (
            publisher["id"],
            publisher["vendor"],
            publisher["issuer"],
            publisher["audience"],
            "\n".join(f"{name}={value}" for name, value in publisher["claims"].items()),
        )
        for publisher in publishers
    ]
    print_table(("id", "vendor", "issuer", "audience", "claims"), rows)


@commands.command("delete")
def delete(
    publisher_id: Annotated[str, typer.Argument(help="The id, from trusted-publisher list.", metavar="ID")],
    *,
    as_json: AsJson = False,
) -> None:
    """Delete a trusted publisher. The tokens that its runs received stop working within a second, too.

    Example:

        profile-registry trusted-publisher delete 80b10f46d420
    """
    try:
        with client.Registry() as registry:
            registry.delete(f"/trusted-publishers/{quote(publisher_id, safe='')}")
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json({"deleted": publisher_id})
        return
    print_line(f"trusted publisher {publisher_id} deleted")
