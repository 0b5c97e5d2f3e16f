"""profile-registry adapter: lets the schedulers that people have ask the registry."""

import typer

from app.cli.adapter import incus, kubernetes, nova, opennebula, ovirt, placement, proxmox

commands = typer.Typer(
    help="""Let a scheduler ask the registry.

    Example:

        profile-registry adapter nova
    """,
    no_args_is_help=True,
)
# Each adapter's command is in a module of its own.
commands.command("nova", short_help="Show what Nova's filter needs and decides.")(nova.nova)
commands.command("placement", short_help="Keep what hosts accept as traits in Placement.")(placement.placement)
commands.command("incus", short_help="Keep the scriptlet that places instances of Incus.")(incus.incus)
commands.command("opennebula", short_help="Be OpenNebula's external scheduler.")(opennebula.opennebula)
commands.command("ovirt", short_help="Act as a hook of oVirt's VDSM.")(ovirt.ovirt)
commands.command("proxmox", short_help="Act as a hookscript of Proxmox VE.")(proxmox.proxmox)
commands.command("kubernetes", short_help="Serve kube-scheduler's extender.")(kubernetes.kubernetes)
commands.command("kubernetes-labels", short_help="Label nodes with what they accept.")(kubernetes.kubernetes_labels)
commands.command("kubernetes-migration", short_help="Print a migration by these labels.")(
    kubernetes.kubernetes_migration
)
