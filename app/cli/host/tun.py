"""The offloads of the kernel's tap devices, which QEMU asks for as here (net/tap-linux.c, virtio_net_get_features)."""

import fcntl
import os
import struct
from contextlib import suppress

from app.cli.host.facts import Facts, Source
from app.cli.host.naming import Kernel
from app.cli.host.tool import Machine, NotAskedError

_DEVICE = "/dev/net/tun"
# linux/if_tun.h
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_CSUM, _UFO, _USO = 0x01, 0x10, 0x20 | 0x40
# struct ifreq: the name, which the kernel chooses, and the flags.
_IFREQ = "16sH22x"
# QEMU offers the guest these only where the kernel has them; the others every tap device has.
_OF_UFO = ("guest_ufo", "host_ufo")
_OF_USO = ("guest_uso4", "guest_uso6", "host_uso")
MODELS = tuple(f"qemu.org/virtio-net-pci{variant}" for variant in ("", "-non-transitional", "-transitional"))


def _read(machine: Machine, _kernel: Kernel | None) -> Facts:
    try:
        tap = os.open(machine.path(_DEVICE), os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        message = f"{_DEVICE} cannot be opened: {error.strerror}"
        raise NotAskedError(message) from error
    try:
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack(_IFREQ, b"", _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
        has_ufo, has_uso = (_takes(tap, offloads) for offloads in (_UFO, _USO))
    except OSError as error:
        message = f"a tap device cannot be made to ask for its offloads: {error.strerror} (run this as root)"
        raise NotAskedError(message) from error
    finally:
        # The device goes with its last file.
        os.close(tap)
    made = {**dict.fromkeys(_OF_UFO, has_ufo), **dict.fromkeys(_OF_USO, has_uso)}
    resolved = {name: {"on": has} for name, has in made.items()}
    return Facts(resolves=dict.fromkeys(MODELS, resolved))


def _takes(tap: int, offloads: int) -> bool:
    with suppress(OSError):
        fcntl.ioctl(tap, _TUNSETOFFLOAD, _CSUM | offloads)
        return True
    return False


SOURCE = Source("tap offloads", _read, resolves=dict.fromkeys(MODELS, (*_OF_UFO, *_OF_USO)))
