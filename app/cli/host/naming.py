"""Names the releases of what a host has: several names are possible, and the registry decides which one is meant."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

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
# Where /proc/version states the package of the kernel: after the number of the build, since the compiler that it names
# first has a package, too. The end of the line can be missing.
_PACKAGES = (
    (re.compile(r" #\d+ .*\bPMX (?P<package>\d[^\s()]*)"), "proxmox.com"),
    (re.compile(r" #\d+ .*\bDebian (?P<package>\d[^\s()]*)"), "debian.org"),
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
# Who names parts of the kernel.
KERNEL_VENDORS = frozenset(
    {KERNEL, "ubuntu.com", *(vendor for _, vendor in _PACKAGES), *(vendor for _, vendor in _BUILDERS)}
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

    @staticmethod
    def owns_release(release: str) -> bool:
        """Return whether a release is one of a kernel, as a report calls it."""
        return is_of_kernel(release) and release.partition("@")[0].endswith("/linux")

    def releases(self, product: str) -> list[str]:
        """Return the possible names of the release of a part of the kernel: its distribution's, then upstream's."""
        names = []
        if self.distribution is not None and self.package is not None:
            names.append(f"{self.distribution}/{product}@{self.package}")
        return [*names, f"{KERNEL}/{product}@{self.upstream}"]


def vendor_of_driver(driver: str) -> str | None:
    """Return the DNS domain of the vendor whose devices a kernel driver drives, None if it is not known."""
    return _VENDORS.get(driver)


def is_of_kernel(release: str) -> bool:
    """Return whether a release is named by those who build kernels."""
    return release.partition("/")[0] in KERNEL_VENDORS


class Names:
    """The names of releases, as a registry has them; what was looked up is remembered."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._of_vendors: dict[str, Sequence[str]] = {}
        self._digests: dict[str, Mapping[str, str] | None] = {}

    def chosen(self, names: Sequence[str]) -> str | None:
        """Return the first of several possible names that is published, otherwise the last; None if none is valid.

        Raises RegistryError.
        """
        valid = list(_valid(names))
        published = (name for name in valid if self.is_published(name))
        return next(published, valid[-1] if valid else None)

    def is_published(self, release: str) -> bool:
        """Return whether a release is published; raises RegistryError."""
        return self._sets(release) is not None

    def ending(self, vendor: str, end: str) -> str | None:
        """Return a release of a vendor whose name ends so, after a slash; None if none does. Raises RegistryError."""
        if vendor not in self._of_vendors:
            models = self.registry.items("/models", vendor=vendor)
            documents = [self.registry.get(f"/models/{model['model']}") for model in models]
            self._of_vendors[vendor] = [name for document in documents for name in document["releases"]]
        return next((name for name in self._of_vendors[vendor] if name.endswith(f"/{end}")), None)

    def models(self, release: str) -> Collection[str]:
        """Return the models of a release; none if it is not published. Raises RegistryError."""
        return (self._sets(release) or {}).keys()

    def variables(self, release: str, model: str) -> Mapping[str, Any]:
        """Return the variables that a release has of a model; empty if it is not published or has no such model."""
        digest = (self._sets(release) or {}).get(model)
        return self.registry.get(f"/variable-sets/{digest}")["variables"] if digest is not None else {}

    def sets(self, release: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Iterate over the models of a release with their variables; nothing if it is not published."""
        for model in self.models(release):
            yield model, self.variables(release, model)

    def _sets(self, release: str) -> Mapping[str, str] | None:
        """Return the digests of a release's variable sets by model; None if it is not published."""
        if release not in self._digests:
            published = self.registry.find(f"/releases/{release}")
            models = None if published is None else published["models"]
            self._digests[release] = None if models is None else {entry["model"]: entry["digest"] for entry in models}
        return self._digests[release]


def _valid(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        with suppress(InvalidNameError):
            yield str(ReleaseName.parse(name))
