"""The names of QEMU's releases, from what a binary says of itself."""

from collections.abc import Iterator
from contextlib import suppress

from app.cli.client import Registry
from app.domain.values.name import InvalidNameError, ReleaseName

_UPSTREAM = "qemu.org"
_DISTRIBUTIONS = {"Debian": "debian.org", "Ubuntu": "ubuntu.com"}


def releases_of(registry: Registry, target: str, version: str, package: str) -> Iterator[str]:
    """Iterate over the releases that a binary is: the distribution's if it is published, then upstream's.

    target: the architecture that it emulates. package: the distribution and the version of its package, as in
    `Debian 1:7.2+dfsg-7+deb12u18`; empty for upstream's own build. Raises RegistryError.
    """
    product = f"qemu-system-{target}"
    distribution, _, packaged = package.partition(" ")
    if distribution in _DISTRIBUTIONS:
        with suppress(InvalidNameError):
            name = ReleaseName.parse(f"{_DISTRIBUTIONS[distribution]}/{product}@{packaged}")
            if registry.find(f"/releases/{name}") is not None:
                yield str(name)
    yield f"{_UPSTREAM}/{product}@{version}"
