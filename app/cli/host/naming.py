"""Names the releases of what a host has: several names are possible, and the registry decides which one is meant."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.cli.client import Registry
from app.cli.host.tool import Machine, NotAskedError
from app.domain.values.name import InvalidNameError, ReleaseName

KERNEL = "kernel.org"
# The DNS domains of vendors, by what the kernel calls their drivers.
_VENDORS = {
    "bnxt_en": "broadcom.com",
    "hisi_sec2": "huawei.com",
    "i40e": "intel.com",
    "ice": "intel.com",
    "mlx5_core": "nvidia.com",
    "nfp": "corigine.com",
    "nvidia": "nvidia.com",
    "pds_core": "amd.com",
    "qat_4xxx": "intel.com",
    "sfc": "amd.com",
}
_FORBIDDEN = re.compile(r"[\s@=?#%/\x00-\x1f]+")
# Where /proc/version states the package of the kernel. `uname -v` is cut at 64 characters, so nothing can follow.
_PACKAGES = (
    (re.compile(r"\bDebian (?P<package>\d\S*)"), "debian.org"),
    (re.compile(r"\bPMX (?P<package>\d\S*)"), "proxmox.com"),
)
_UBUNTU = re.compile(r"^Linux version (?P<abi>\d+\.\d+\.\d+-\d+)-\S+ .*#(?P<upload>\d\S*?)-Ubuntu\b")
_UBUNTU_SIGNATURE = re.compile(r"^Ubuntu (?P<abi>\d+\.\d+\.\d+-\d+)\.(?P<upload>\d\S*?)-[a-z]\S* ")
# The kernel's own release is the version of its package; who built it tells the distribution.
_BUILDERS = (
    (re.compile(r"redhat\.com\)"), "redhat.com"),
    (re.compile(r"centos\.org\)"), "centos.org"),
    (re.compile(r"rockylinux\.org\)"), "rockylinux.org"),
    (re.compile(r"almalinux\.org\)"), "almalinux.org"),
    (re.compile(r"\.fc\d+\.[a-z0-9_]+ "), "fedoraproject.org"),
    (re.compile(r"\.amzn\d+\.[a-z0-9_]+ "), "amazon.com"),
    (re.compile(r"uek\.[a-z0-9_]+ "), "oracle.com"),
    (re.compile(r"\(geeko@.*SUSE Linux Enterprise"), "suse.com"),
    (re.compile(r"\(geeko@"), "opensuse.org"),
    (re.compile(r"\(linux@archlinux\)"), "archlinux.org"),
)
_RELEASE = re.compile(r"^Linux version (?P<release>(?P<upstream>\d+\.\d+(\.\d+)?)\S*)")


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel that runs. upstream: the version at kernel.org that it is made from, as far as it says so.

    distribution, package: who built it and the version of the package, None if it does not say so.
    """

    upstream: str
    distribution: str | None = None
    package: str | None = None

    @classmethod
    def of(cls, machine: Machine) -> "Kernel":
        """Read the kernel of a machine; raises NotAskedError."""
        version = machine.text("/proc/version") or ""
        running = _RELEASE.match(version)
        if running is None:
            message = "/proc/version does not name a Linux kernel"
            raise NotAskedError(message)
        release, upstream = running["release"], running["upstream"]
        for pattern, distribution in _PACKAGES:
            if (packaged := pattern.search(version)) is not None:
                package = packaged["package"]
                # The release of Debian's kernel is that of its interface; the package has the version.
                return cls(package.partition("-")[0], distribution, package)
        signature = machine.text("/proc/version_signature") or ""
        ubuntu = _UBUNTU_SIGNATURE.match(f"{signature} ") or _UBUNTU.match(version)
        if ubuntu is not None:
            return cls(upstream, "ubuntu.com", f"{ubuntu['abi']}.{ubuntu['upload']}")
        for pattern, distribution in _BUILDERS:
            if pattern.search(version) is not None:
                return cls(upstream, distribution, release)
        return cls(upstream)

    def releases(self, product: str) -> list[str]:
        """Return the possible names of the release of a part of the kernel: its distribution's, then upstream's."""
        names = []
        if self.distribution is not None and self.package is not None:
            names.append(f"{self.distribution}/{product}@{self.package}")
        return [*names, f"{KERNEL}/{product}@{self.upstream}"]


def vendor_of_driver(driver: str) -> str:
    """Return the DNS domain of the vendor whose devices a kernel driver drives: kernel.org if it is not known."""
    return _VENDORS.get(driver, KERNEL)


def component(text: str) -> str:
    """Return a text as a component of a name: what names cannot have becomes a hyphen."""
    return _FORBIDDEN.sub("-", text.strip()).strip("-") or "unnamed"


def chosen(registry: Registry, names: Sequence[str]) -> str | None:
    """Return the first of several possible releases that is published, otherwise the last; None if none is valid.

    Raises RegistryError.
    """
    valid = list(_valid(names))
    return next(
        (name for name in valid if registry.find(f"/releases/{name}") is not None), valid[-1] if valid else None
    )


def _valid(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        with suppress(InvalidNameError):
            yield str(ReleaseName.parse(name))


def published_ending(registry: Registry, vendor: str, component_: str, version: str) -> Iterator[str]:
    """Iterate over the releases of a version whose implementation ends with a component; raises RegistryError."""
    for model in registry.items("/models", vendor=vendor):
        for release in registry.get(f"/models/{model['model']}")["releases"]:
            name = release["release"] if isinstance(release, dict) else release
            if name.endswith(f"/{component_}@{version}"):
                yield name
