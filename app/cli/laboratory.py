"""profile-registry import vdpa, mdev, devlink, vhost-user-descriptor: publishes what a product says of itself."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from app.cli.host import devlink, mdev, tool, vdpa, vhost_user
from app.cli.importing import DryRun, Override, Sign, check_release, commands, print_answer, published_document
from app.cli.output import AsJson, fail, print_json
from app.domain.values.name import ReleaseName
from app.hypervisor import naming

if TYPE_CHECKING:
    from app.cli import client

Product = TypeVar("Product")

_Release = Annotated[str, typer.Option(help="The release to publish, <implementation>@<version>.")]
_File = Annotated[
    str | None,
    typer.Option("--file", help="What the tool printed elsewhere; - for standard input.", metavar="FILE"),
]
# With how many components the implementation of a firmware names the product before the board.
_WITH_BOARD = 3


@commands.command("vdpa", short_help="Publish a vDPA card.")
def import_vdpa(  # noqa: PLR0913 (each is an option of the command)
    release: _Release,
    file: _File = None,
    device: Annotated[str | None, typer.Option(help="The management device. Default: the only one.")] = None,
    kind: Annotated[
        str | None, typer.Option("--class", help="net or block, of a management device that makes both.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The device model. Default: virtio-spec.org/net or …/block if it is published, otherwise "
            "<vendor>/vdpa-net or …-block."
        ),
    ] = None,
    override: Override = None,
    *,
    sign: Sign = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Publish a vDPA card: the features and queues that `vdpa -j mgmtdev show` states of a management device.

    A feature that the device lacks is a variable that allows only off. Exit status 0 published, 1 refused, 2 could not
    ask.

    Example:

        profile-registry import vdpa --release vendor-a.com/dpu@2.0 --device pci/0000:3b:00.2
    """
    check_release(release)
    document = _document(file, vdpa.printed)
    cards = [card for card in _read(lambda: list(vdpa.devices(document))) if kind in {None, card.kind}]
    named_so = [card for card in cards if device in {None, card.handle}]
    if len(named_so) > 1 and len({card.handle for card in named_so}) == 1:
        fail(f"choose one with --class: {', '.join(card.kind for card in named_so)}")
    product = _one(cards, device, lambda card: [card.handle], "--device")
    if product.kind not in vdpa.MODELS:
        fail(f"{product.handle}: devices of the class {product.kind} are not known")

    def models(registry: "client.Registry") -> Mapping[str, Any]:
        shared = vdpa.MODELS[product.kind]
        own = f"{ReleaseName.parse(release).vendor}/vdpa-{product.kind}"
        chosen = model or (shared if registry.find(f"/models/{shared}") is not None else own)
        return vdpa.models(product, chosen)

    _publish(release, models, override, sign, dry_run=dry_run, as_json=as_json)


@commands.command("mdev", short_help="Publish a type of mediated devices.")
def import_mdev(  # noqa: PLR0913 (each is an option of the command)
    release: _Release,
    file: _File = None,
    mdev_type: Annotated[
        str | None, typer.Option("--type", help="The type, or what its driver calls it. Default: the only one.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The device model. Default: <vendor>/<driver>.")] = None,
    override: Override = None,
    *,
    sign: Sign = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Publish a type of mediated devices, as `mdevctl types --dumpjson` states it. Each type is an implementation.

    Exit status 0 published, 1 refused, 2 could not ask.

    Example:

        profile-registry import mdev --release vendor-a.com/gfx/gfx-4g@535.1 --type gfx-4g
    """
    check_release(release)
    if file is None:
        types = _read(lambda: mdev.all_types(tool.Machine(), []))
    else:
        document = _json(file)
        types = _read(lambda: list(mdev.types(document)))
    # Several parents offer the same.
    product = _one(
        list({kind.type: kind for kind in types}.values()),
        mdev_type,
        lambda kind: [kind.type, kind.title],
        "--type",
    )
    name = model or f"{ReleaseName.parse(release).vendor}/{naming.component(product.driver)}"
    _publish(release, lambda _: mdev.models(product, name), override, sign, dry_run=dry_run, as_json=as_json)


@commands.command("devlink", short_help="Publish the firmware of a card.")
def import_devlink(  # noqa: PLR0913 (each is an option of the command)
    release: _Release,
    file: _File = None,
    device: Annotated[str | None, typer.Option(help="The card, as in pci/0000:3b:00.0. Default: the only one.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The device model. Default: <vendor>/<product>-vf, of the release's implementation."),
    ] = None,
    override: Override = None,
    *,
    sign: Sign = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    r"""Publish the firmware of a card, as `devlink -j dev info` states it: the board, and the version that runs.

    A firmware reads the saved state of its own version on the same board; publish what else it reads with import
    migration-info. Exit status 0 published, 1 refused, 2 could not ask.

    Example:

        profile-registry import devlink --device pci/0000:3b:00.0 \
          --release nvidia.com/connectx-7/MT_0000000834@28.41.1000
    """
    check_release(release)
    document = _document(file, devlink.printed)
    product = _one(_read(lambda: list(devlink.cards(document))), device, lambda card: [card.handle], "--device")
    implementation, version = ReleaseName.parse(release).implementation, ReleaseName.parse(release).version
    _, firmware = _read(product.stated)
    if (running := naming.component(firmware)) != version:
        fail(f"{product.handle} runs firmware {firmware}, not {version}: name the release {implementation}@{running}")
    parts = implementation.split("/")
    name = model or "/".join(parts[:-1] if len(parts) >= _WITH_BOARD else parts) + "-vf"
    stated = _read(lambda: devlink.models(product, name))
    _publish(release, lambda _: stated, override, sign, dry_run=dry_run, as_json=as_json)


@commands.command("vhost-user-descriptor", short_help="Publish a vhost-user program.")
def import_vhost_user_descriptor(  # noqa: PLR0913 (each is an option of the command)
    file: Annotated[str, typer.Argument(help="The descriptor that the program installs; - for standard input.")],
    release: _Release,
    model: Annotated[str | None, typer.Option(help="The device model. Default: <vendor>/vhost-user-<type>.")] = None,
    override: Override = None,
    *,
    sign: Sign = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    r"""Publish a vhost-user program: the type of device that it serves, and its features.

    Exit status 0 published, 1 refused, 2 could not ask.

    Example:

        profile-registry import vhost-user-descriptor /usr/share/qemu/vhost-user/50-virtiofsd.json \
          --release gitlab.com/virtio-fs/virtiofsd@1.13.2
    """
    check_release(release)
    text = _text(file)
    program = _read(lambda: vhost_user.descriptor(text))
    name = model or f"{ReleaseName.parse(release).vendor}/vhost-user-{naming.component(program.type)}"
    _publish(release, lambda _: vhost_user.models(program, name), override, sign, dry_run=dry_run, as_json=as_json)


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        fail(f"{file} cannot be read: {error}")


def _document(file: str | None, ask: Callable[[], Any]) -> Any:
    """Return what a tool printed: in a file, or when it is asked here."""
    return _read(ask) if file is None else _json(file)


def _json(file: str) -> Any:
    try:
        return tool.read_json(_text(file))
    except ValueError as error:
        fail(f"{file} cannot be read as JSON: {error}")


def _read(read: Callable[[], Product]) -> Product:
    try:
        return read()
    except tool.NotAskedError as error:
        fail(str(error))


def _one(
    products: Sequence[Product], wanted: str | None, names_of: Callable[[Product], Sequence[str]], option: str
) -> Product:
    """Return the product that is wanted, or the only one; exits with an error that names all."""
    chosen = [product for product in products if wanted is None or wanted in names_of(product)]
    names = ", ".join(" or ".join(dict.fromkeys(names_of(product))) for product in products)
    if not products:
        fail("there is nothing to publish: the tool lists nothing")
    if not chosen:
        fail(f"{option} {wanted} is not there; there is {names}")
    if len(chosen) > 1:
        fail(f"choose one with {option}: {names}")
    return chosen[0]


def _publish(
    release: str,
    models: "Callable[[client.Registry], Mapping[str, Any]]",
    override: str | None,
    sign: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    def document_of(registry: "client.Registry") -> Mapping[str, Any]:
        return {"models": _read(lambda: models(registry))}

    document, answer = published_document(release, document_of, override, sign, dry_run=dry_run)
    if as_json:
        print_json({**answer, **document})
        return
    print_answer(release, answer)
