"""profile-registry key: makes keys, and registers, lists and revokes those of vendors."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from app.cli import client
from app.cli.mirroring import trusted_keys
from app.cli.output import REFUSED, AsJson, fail, print_json, print_line, print_table, refuse
from app.domain.things import release as release_documents
from app.domain.values.document import Place
from app.signing import envelope as signing_envelope
from app.signing import key as signing_key

commands = typer.Typer(
    help="""Make keys to sign with; register, list and revoke the keys of vendors.

    A registry signs the head of its feed with REGISTRY_SIGNING_KEY_FILE. A vendor signs what it publishes with
    import … --sign FILE.

    Example:

        profile-registry key create registry.example --file registry.key > registry.pub
    """,
    no_args_is_help=True,
)

_SECRET_MODE = 0o600


@commands.command("create", short_help="Make an Ed25519 key.")
def create(
    name: Annotated[
        str,
        typer.Argument(
            help="The name of the key: for a registry its address without https://, for a vendor its domain, with or "
            "without a path.",
        ),
    ],
    file: Annotated[Path, typer.Option(help="The file to write the private key to. It must not exist.")],
    *,
    as_json: AsJson = False,
) -> None:
    r"""Make an Ed25519 key: write the private key to a file that only you can read, and print the public key.

    To replace a registry's key, make another one of the same name, and put both private keys into its file, each on a
    line: both sign until you remove the old one.

    Example:

        profile-registry key create vendor-a.com/2026 --file vendor-a.key
    """
    try:
        key = signing_key.PrivateKey.create(name)
    except signing_key.InvalidKeyError as error:
        fail(f"{name}: {error}")
    try:
        # Nobody else can read the file, not even for a moment.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SECRET_MODE), "w") as opened:
            opened.write(f"{key.text()}\n")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    if as_json:
        print_json({"id": key.public.id, "key": str(key.public), "file": str(file)})
        return
    print_line(str(key.public))


@commands.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="A file with private keys.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Print the public keys of the private keys in a file.

    Example:

        profile-registry key show registry.key
    """
    keys = [key.public for key in signing_keys(file)]
    if as_json:
        print_json([{"id": key.id, "key": str(key)} for key in keys])
        return
    for key in keys:
        print_line(str(key))


@commands.command("register", short_help="Register a public key of a vendor.")
def register(
    vendor: Annotated[str, typer.Argument(help="The vendor.")],
    key: Annotated[str, typer.Argument(help="Its public key, from key create.", metavar="KEY")],
    *,
    as_json: AsJson = False,
) -> None:
    """Register a public key with which a vendor signs; it needs an admin's REGISTRY_TOKEN.

    vendor create NAME --signed then requires signatures.

    Example:

        profile-registry key register vendor-a.com "$(profile-registry key show vendor-a.key)"
    """
    try:
        public = signing_key.PublicKey.read(key)
    except signing_key.InvalidKeyError as error:
        fail(f"KEY: {error}")
    try:
        with client.Registry() as registry:
            registered = registry.put(f"/vendors/{quote(vendor, safe='')}/keys/{public.id}", {"key": key})
    except client.RegistryError as error:
        refuse(error, is_publication=True)
    if as_json:
        print_json(registered)
        return
    print_line(f"{public.label} signs for {vendor}")


@commands.command("list", short_help="List the keys of a vendor, or of the registry.")
def list_keys(
    vendor: Annotated[str | None, typer.Argument(help="A vendor. Default: the keys of the registry itself.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the keys of a vendor, or those that the registry signs its feed with.

    Example:

        profile-registry key list vendor-a.com
    """
    try:
        with client.Registry() as registry:
            answer = registry.get("/keys" if vendor is None else f"/vendors/{quote(vendor, safe='')}/keys")
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json(answer)
        return
    keys = answer["keys"] if vendor is None else answer
    if vendor is None and not keys:
        print_line("the registry is unsigned: it has no key")
        return
    rows = [
        (key["id"], key["key"], f"revoked {key['revoked_at']}" if key.get("revoked_at") else "valid") for key in keys
    ]
    print_table(("id", "key", "state"), rows)


@commands.command("revoke", short_help="Revoke a key of a vendor, for good.")
def revoke(
    vendor: Annotated[str, typer.Argument(help="The vendor.")],
    key_id: Annotated[str, typer.Argument(help="The id of the key, from key list.", metavar="ID")],
    *,
    as_json: AsJson = False,
) -> None:
    """Revoke a key of a vendor, for good; it needs an admin's REGISTRY_TOKEN. What it has signed stays signed.

    Example:

        profile-registry key revoke vendor-a.com 3f2a9c0d
    """
    try:
        with client.Registry() as registry:
            registry.delete(f"/vendors/{quote(vendor, safe='')}/keys/{quote(key_id, safe='')}")
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json({"vendor": vendor, "revoked": key_id})
        return
    print_line(f"key {key_id} of {vendor} revoked")


@commands.command("verify", short_help="Check that a vendor signed a release.")
def verify(
    release: Annotated[str, typer.Argument(help="The release, <implementation>@<version>.")],
    trust: Annotated[
        list[str],
        typer.Option(
            help="A public key of the vendor, or a file with one on each line. Repeatable.", metavar="KEY|FILE"
        ),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Check that a vendor signed a release as the registry shows it, with keys that you trust.

    Every device model of the release must be in a document that such a key has signed, exactly as it is published. The
    registry is not believed. Exit status 0 if all are, 1 if one is not, 2 could not ask.

    Example:

        profile-registry key verify vendor-a.com/my-nic-firmware@2024.1 --trust vendor-a.pub
    """
    keys = trusted_keys(trust)
    try:
        with client.Registry() as registry:
            published = registry.get(f"/releases/{release}")
            envelopes = [registry.get(f"/signatures/{entry['digest']}") for entry in published["signatures"]]
    except client.RegistryError as error:
        refuse(error)
    signed = [entry for envelope in envelopes for entry in _signed_sets(envelope, release, keys)]
    models = {
        entry["model"]: sorted(
            {label for model, digest, label in signed if (model, digest) == (entry["model"], entry["digest"])}
        )
        for entry in published["models"]
    }
    unsigned = [model for model, labels in models.items() if not labels]
    if as_json:
        print_json({"release": release, "verified": not unsigned, "models": models})
    else:
        print_table(
            ("device model", "signed by"), [(model, ", ".join(labels) or "—") for model, labels in models.items()]
        )
        print_line(
            f"{release}: {len(models) - len(unsigned):,} of {len(models):,} device models are signed as published"
        )
    if unsigned:
        raise typer.Exit(REFUSED)


def _signed_sets(
    written: object, release: str, keys: "Sequence[signing_key.PublicKey]"
) -> Iterator[tuple[str, str, str]]:
    """Iterate over the variable sets that trusted keys have signed in an envelope: model, digest, key."""
    envelope = signing_envelope.Envelope.read(written, Place(), signing_envelope.Subject.RELEASE)
    if envelope is None or envelope.name != release:
        return
    for signature in envelope.signatures:
        for key in keys:
            if key.label == signature.key and key.has_signed(envelope.message, signature.content):
                document = release_documents.ReleaseDocument.read(envelope.document, Place())
                yield from ((model, variables.digest, key.label) for model, variables in document.sets.items())


def signing_keys(file: Path | None) -> "Sequence[signing_key.PrivateKey]":
    """Return the private keys in a file, none without a file; print the error and exit if it cannot be read."""
    if file is None:
        return ()
    try:
        return signing_key.read_private_keys(file.read_text(encoding="utf-8"))
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}")
    except (signing_key.InvalidKeyError, UnicodeDecodeError):
        fail(f"{file} must contain private keys of one name, each on a line (profile-registry key create makes one)")
