"""profile-registry adapter nova: the lines for nova.conf, and what Nova's filter decides."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import client
from app.cli.adapter import explaining
from app.cli.output import AsJson, fail, print_json, print_line, print_table, refuse

if TYPE_CHECKING:
    from app.adapters.settings import AdapterSettings

_SECTION = "filter_scheduler"
_OWN_SECTION = "device_profile_registry"
# Where the client's wheel has them, which is installed where Nova is.
_MODULE = "profile_registry_client.adapters.nova"
_FILTER, _WEIGHER = "DeviceProfileFilter", "DeviceProfileWeigher"
# The defaults of Nova 34, of which all that are named replace those that are not.
_DEFAULTS = {
    "available_filters": ["nova.scheduler.filters.all_filters"],
    "enabled_filters": [
        "ComputeFilter",
        "ComputeCapabilitiesFilter",
        "ImagePropertiesFilter",
        "ServerGroupAntiAffinityFilter",
        "ServerGroupAffinityFilter",
    ],
    "weight_classes": ["nova.scheduler.weights.all_weighers"],
}
_OWN = {
    "available_filters": f"{_MODULE}.{_FILTER}",
    "enabled_filters": _FILTER,
    "weight_classes": f"{_MODULE}.{_WEIGHER}",
}
# Nova's option with more than one line.
_REPEATED = "available_filters"


def nova(
    config: Annotated[
        Path | None,
        typer.Option(help="The nova.conf in use, whose filters and weighers are kept. Default: Nova's own."),
    ] = None,
    host: Annotated[list[str] | None, typer.Option(help="A host, as Nova calls it. Repeatable.")] = None,
    extra_spec: Annotated[
        list[str] | None,
        typer.Option(
            help="With --host: an extra spec of the flavor, such as dpr:nic0.model=vendor-a.com/nic. Repeatable.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    source_host: Annotated[
        str | None, typer.Option(help="With --host: the host that a live migration starts from. Default: a new VM.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print the lines for nova.conf. With --host, show what the registry knows of hosts, or what the filter decides.

    The lines name the registry of REGISTRY_URL, and what else REGISTRY_ADAPTER_… sets. With --host alone, the command
    says whether the hosts are registered; with extra specs, which of them the filter lets pass, and why not the others.

    Exit status 0 printed, or all hosts are registered, or one of them passes; 1 not so; 2 could not ask.

    Examples:

        profile-registry adapter nova --config /etc/nova/nova.conf

        profile-registry adapter nova --host host-17 --host host-18

        profile-registry adapter nova --host host-17 --source-host host-18 \
          --extra-spec dpr:nic0.model=vendor-a.com/nic --extra-spec dpr:nic0.profile=vendor-a.com/nic-2024
    """
    properties = explaining.pairs(extra_spec or [], "--extra-spec")
    if not host:
        if properties or source_host:
            fail("--extra-spec and --source-host have no effect without --host")
        _print_lines(config, as_json=as_json)
        return
    if config is not None:
        fail("--config has no effect together with --host")
    if not properties:
        if source_host:
            fail("--source-host has no effect without --extra-spec")
        _print_hosts(host, as_json=as_json)
        return
    verdicts = explaining.read_settings().asker().about_properties(properties, host, source=source_host)
    if verdicts is None:
        fail("no --extra-spec begins with dpr:, so the filter lets the VM pass to every host")
    explaining.print_verdicts(verdicts, as_json=as_json)
    if not any(verdict.is_allowed for verdict in verdicts.values()):
        raise typer.Exit(explaining.NOT_ALLOWED)


def _print_lines(config: Path | None, *, as_json: bool) -> None:
    """Print what nova.conf needs, with the filters and weighers that it has."""
    options = {name: [*_existing(config, name), _OWN[name]] for name in _DEFAULTS}
    own = dict(_own_options(explaining.read_settings()))
    if as_json:
        print_json({_SECTION: options, _OWN_SECTION: own})
        return
    print_line(f"[{_SECTION}]")
    for name, values in options.items():
        for line in values if name == _REPEATED else [",".join(values)]:
            print_line(f"{name} = {line}")
    print_line("")
    print_line(f"[{_OWN_SECTION}]")
    for name, value in own.items():
        print_line(f"{name} = {value}")


def _existing(config: Path | None, name: str) -> Sequence[str]:
    """Return the values of an option in a nova.conf without ours, or the default of Nova; exits if it is no file."""
    try:
        text = "" if config is None else config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{config} cannot be read: {getattr(error, 'strerror', None) or error}")
    lines = list(_lines(text, name))
    # The last line of an option counts.
    counted = lines if name == _REPEATED else lines[-1:]
    values = [value.strip() for line in counted for value in (line.split(",") if name != _REPEATED else [line])]
    return [value for value in values if value and value != _OWN[name]] or _DEFAULTS[name]


def _lines(text: str, name: str) -> Iterator[str]:
    """Iterate over the values of an option, as oslo.config reads them: a line that is indented continues a value."""
    section, is_value = "", False
    value = ""
    for line in [*text.splitlines(), "["]:
        if is_value and line[:1].isspace() and line.strip():
            value += f",{line.strip()}"
            continue
        if is_value:
            yield value
        key, _, rest = line.partition("=")
        is_value = section == _SECTION and key.strip() == name
        value = rest.strip()
        if line.startswith("["):
            section = line.strip().strip("[]")


def _own_options(settings: "AdapterSettings") -> Iterator[tuple[str, str]]:
    """Iterate over the options of the adapter that differ from their defaults; never the token."""
    yield "url", settings.url
    for field, option in (
        ("adapter_ask_seconds", "timeout"),
        ("adapter_policy", "policy"),
        ("adapter_allow_must_be_set", "allow_must_be_set"),
    ):
        value = getattr(settings, field)
        if value != type(settings).model_fields[field].default:
            yield option, str(value).lower()


def _print_hosts(hosts: Sequence[str], *, as_json: bool) -> None:
    """Print what the registry knows of hosts; exits with 1 if one is not registered."""
    try:
        with client.Registry() as registry:
            known = {host: registry.find(f"/hosts/{host}") for host in hosts}
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json({"hosts": known})
    else:
        rows = [
            (host, "stale" if found and found.get("stale") else "registered" if found else "unknown", _releases(found))
            for host, found in known.items()
        ]
        print_table(("host", "state", "releases"), rows)
    if not all(known.values()):
        raise typer.Exit(explaining.NOT_ALLOWED)


def _releases(host: Any) -> str:
    """Return the releases that a host and its units run, for a table cell."""
    parts = [host, *host.get("units", ())] if host else []
    return ", ".join(dict.fromkeys(release for part in parts for release in part["releases"]))
