"""profile-registry adapter kubernetes*: the extender of kube-scheduler, the labels of nodes, and migrations by them."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.adapters import accepted
from app.adapters import kubernetes as extender
from app.adapters import kubernetes_api as api_server
from app.adapters import kubernetes_labels as labels
from app.cli import client, json_text, lazy, listening
from app.cli.adapter import explaining, running
from app.cli.output import AsJson, fail, print_json, print_line, print_table, refuse, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_LIMIT = 10_000
# A wait for changes takes some seconds itself.
_MIN_HOLD_SECONDS, _MAX_HOLD_SECONDS = 15, 86_400

Api = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The API server, such as that of kubectl proxy. Default: of the cluster that this is a pod of.",
    ),
]


def kubernetes(
    host: Annotated[str, typer.Option(help="The address to listen on.", metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8888,
    api: Api = None,
) -> None:
    """Serve an extender of kube-scheduler, which lets KubeVirt's VMs migrate only to nodes that take their devices.

    A node is the registered host of the same name. VMs say in annotations which devices they have.

    Example:

        profile-registry adapter kubernetes --port 8888
    """
    asker = explaining.read_settings().asker()
    listening.check_free(host, port)
    cluster = _cluster(api)
    _begin()
    extender.serve(extender.Extender(asker, cluster), host, port)


def kubernetes_labels(  # noqa: PLR0913 (the options)
    profile: Annotated[
        list[str] | None,
        typer.Option(help="Only this profile, or those that match a pattern such as 'qemu.org/pc-q35-*'. Repeatable."),
    ] = None,
    vendor: Annotated[list[str] | None, typer.Option(help="Only profiles of this vendor. Repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_MAX_LIMIT, help="At most this many profiles.")] = 200,
    api: Api = None,
    hold: Annotated[
        float,
        typer.Option(
            min=_MIN_HOLD_SECONDS,
            max=_MAX_HOLD_SECONDS,
            help="How long labels stay while the registry gives no answer, in seconds.",
        ),
    ] = 300,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Do it once; if the registry gives no answer, the labels stay.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would change; without a cluster, as if all hosts were new nodes."),
    ] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Remove all these labels, and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a label on each node for each profile that the host of its name accepts.

    A node that accepts qemu.org/pc-q35-7.2 has the label device-profile.qemu.org/pc-q35-7.2=true. Only labels that
    begin with device-profile. are set and removed. The command follows the registry until it is stopped, and logs
    every change with its reason.

    Exit status 0 done, or stopped; 2 could not be done.

    Examples:

        profile-registry adapter kubernetes-labels --dry-run --profile 'qemu.org/pc-q35-*'

        kubectl proxy --port 8001 &
        profile-registry adapter kubernetes-labels --api http://127.0.0.1:8001
    """
    if sum((once, dry_run, withdraw)) > 1:
        fail("only one of --once, --dry-run and --withdraw has an effect")
    if as_json and not (once or dry_run or withdraw):
        fail("--json needs --once, --dry-run or --withdraw; the log says what changes otherwise")
    settings = explaining.read_settings()
    cluster = _cluster(api)
    choice = accepted.Choice(patterns=profile or (), vendors=vendor or (), limit=limit)
    try:
        with settings.registry() as registry:
            if dry_run:
                nodes = None if cluster is None else [*cluster.nodes()]
                _show(labels.planned_changes(registry, choice, nodes), as_json=as_json)
                return
            if cluster is None:
                fail("this is no pod with a service account: name the API server with --api, or use --dry-run")
            labeller = labels.Labeller(registry, cluster, choice)
            if once or withdraw:
                _show(labeller.look() if once else labeller.withdraw("--withdraw"), as_json=as_json)
                return
            _begin()
            labeller.run(running.until_signal(), look_seconds=settings.adapter_look_seconds, hold_seconds=hold)
    except client.RegistryError as error:
        refuse(error)
    except api_server.ClusterError as error:
        fail(str(error))


def kubernetes_migration(
    file: Annotated[
        str,
        typer.Argument(
            help="The VirtualMachineInstance, as kubectl get vmi NAME -o json prints it. -: standard input."
        ),
    ] = "-",
) -> None:
    """Print a migration of a VM to the nodes whose labels have the profiles of all its devices.

    It needs KubeVirt 1.6 or newer, and the labels that adapter kubernetes-labels sets. A label says that a node accepts
    a profile; whether it takes this VM's devices as they are, the extender asks.

    Exit status 0 printed; 2 the VM declares no device with a profile.

    Example:

        kubectl get vmi vm1 -o json | profile-registry adapter kubernetes-migration | kubectl create -f -
    """
    try:
        document, others = labels.migration(json_text.parsed(json_text.read(file)))
    except (OSError, ValueError) as error:
        fail(f"{file}: {error}")
    if not document["spec"]["addedNodeSelector"]:
        fail("the VM declares no device with a profile, so no label says where it can go")
    if others:
        warn(
            f"no label says which nodes accept {', '.join(others)}: without a profile. The extender decides about them."
        )
    print_json(document)


def _cluster(api: str | None) -> "api_server.Cluster | None":
    """Return the API server to ask, None if there is none; print the error and exit if it cannot be asked."""
    try:
        return api_server.Cluster.of_this_pod() if api is None else api_server.Cluster(api)
    except api_server.ClusterError as error:
        fail(str(error))


def _begin() -> None:
    """Prepare for threads, and log to standard error."""
    lazy.load_all()
    running.log_to_standard_error()


def _show(changes: "Sequence[labels.Change]", *, as_json: bool) -> None:
    """Print what changes in the labels of nodes."""
    if as_json:
        print_json(
            {
                "nodes": [
                    {"node": change.node, "added": dict(change.added), "removed": dict(change.removed)}
                    for change in changes
                ]
            }
        )
        return
    rows = [
        (change.node, label, "added", f"it accepts {profile}")
        for change in changes
        for label, profile in change.added.items()
    ]
    rows += [(change.node, label, "removed", why) for change in changes for label, why in change.removed.items()]
    if not rows:
        print_line("no label has to change")
        return
    print_table(("node", "label", "change", "reason"), sorted(rows))
