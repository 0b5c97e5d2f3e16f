"""The names of QEMU's releases, from what a binary says of itself."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress

from app.domain.values.name import InvalidNameError, ReleaseName

UPSTREAM = "qemu.org"
# What names in the registry cannot have (DESIGN 2), such as the space in `ICH9 SMB` of QEMU 5.2.
_FORBIDDEN = re.compile(r"[\s@=?#%/\x00-\x1f]+")
_BUILD = re.compile(r"qemu-system-[a-z0-9_]+?-(.+)")
_VERSION = re.compile(r"v?\d[\d.]*")
# The targets whose machine types have no target in the names of their profiles.
_X86 = frozenset({"x86_64", "i386"})
# What the names of the device types end in that stand for boards.
BOARD = "-board"
_DISTRIBUTIONS = {"Debian": "debian.org", "Ubuntu": "ubuntu.com"}


def component(text: str) -> str:
    """Return a text as a component of a name: what names cannot have becomes a hyphen."""
    return _FORBIDDEN.sub("-", text.strip()).strip("-") or "unnamed"


def build_of(binary: str) -> str:
    """Return what a special build is called in the name of its binary, such as microvm; empty for the usual one.

    A version at the end of the name is not a build.
    """
    build = _BUILD.fullmatch(binary)
    return "" if build is None or _VERSION.fullmatch(build[1]) else component(build[1])


def product_of(target: str, build: str = "") -> str:
    """Return the name of the implementation, without its vendor; a special build is one of its own."""
    return f"qemu-system-{target}{f'-{build}' if build else ''}"


def profile_of(target: str, machine: str, vendor: str = UPSTREAM) -> str:
    """Return the name of a machine type's profile: the target is in it, but for x86, which was first."""
    name = component(machine)
    return f"{vendor}/{name}" if target in _X86 else f"{vendor}/{component(target)}/{name}"


def board_of(target: str, family: str) -> str:
    """Return the name of the device type that stands for a board, such as pc-q35-board; the target as in profiles."""
    return f"{family}{BOARD}" if target in _X86 else f"{component(target)}-{family}{BOARD}"


def is_emulator(release: str) -> bool:
    """Return whether a release is one of QEMU, of any vendor."""
    return "/qemu-" in release


def without_epoch(version: str) -> str:
    """Return the version of a package without its epoch, as in 1:7.2+dfsg-7: what follows is upstream's version."""
    return version.rpartition(":")[2]


def release_name(vendor: str, product: str, version: str, package: str) -> str:
    """Return the name of a release: a distributor's has the version of its package, such as 1:7.2+dfsg-7.

    package: as QEMU states it, such as `Debian 1:7.2+dfsg-7`.
    """
    packaged = "" if vendor == UPSTREAM else package.strip().rpartition(" ")[2]
    return f"{vendor}/{product}@{packaged or version}"


def cpu_of(target: str, *, is_kvm: bool) -> str:
    """Return the name of the device model of a target's CPUs.

    What QEMU emulates is another CPU than what KVM gives a guest, under the same names of CPU models.
    """
    name = "x86" if target in _X86 else component(target)
    return f"{UPSTREAM}/{name}-cpu{'' if is_kvm else '-tcg'}"


def releases_of(is_published: Callable[[str], bool], product: str, version: str, package: str) -> Iterator[str]:
    """Iterate over the releases that a binary is: the distribution's if it is published, then upstream's.

    product: as `product_of` names it. package: the distribution and the version of its package, as in
    `Debian 1:7.2+dfsg-7+deb12u18`; empty for upstream's own build.
    """
    distribution, _, packaged = package.partition(" ")
    if distribution in _DISTRIBUTIONS:
        with suppress(InvalidNameError):
            name = ReleaseName.parse(f"{_DISTRIBUTIONS[distribution]}/{product}@{packaged}")
            if is_published(str(name)):
                yield str(name)
    yield f"{UPSTREAM}/{product}@{version}"
