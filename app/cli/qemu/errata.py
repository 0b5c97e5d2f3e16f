"""The errata of upstream's releases: real migrations that failed though every property is equal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.cli.client import Registry
from app.hypervisor.facts import FAILURES
from app.hypervisor.naming import UPSTREAM, component, without_epoch


def vendorless(model: str) -> str:
    """Return the name of a device model without its vendor."""
    return model.partition("/")[2]


def errata_of(release: str, lineages: Mapping[str, Iterable[str]]) -> Sequence[Mapping[str, Any]]:
    """Return the errata of a release; lineages: the types of its devices with those above them.

    Those of a distributor's release are about its own releases; what it packages is upstream's version.
    """
    implementation, _, version = release.partition("@")
    upstream = without_epoch(version)
    epoch = version.removesuffix(upstream)
    return [
        {
            "release": release,
            "model": f"{UPSTREAM}/{component(device)}",
            **({"when": failure.when} if failure.when else {}),
            "with": [f"{implementation}@>={epoch}{first},<{epoch}{end}" for first, end in failure.ranges],
            "direction": "to",
            "description": failure.description,
        }
        for failure in FAILURES
        for device, lineage in sorted(lineages.items())
        if failure.concerns(lineage, upstream)
    ]


def post_errata(registry: Registry, errata: Sequence[Mapping[str, Any]]) -> None:
    """Publish errata; one that is published already is the same one. Raises RegistryError."""
    for erratum in errata:
        registry.post("/errata", erratum)
