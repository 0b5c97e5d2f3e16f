"""The programs that devices are rendered for."""

from enum import StrEnum


class Form(StrEnum):
    """The program that the arguments are for.

    `qemu`: -device or -cpu options; `vfio-user`: the RFC's --m-<param>=<value>; `vdpa`: vdpa dev add; `mdevctl`:
    mdevctl start.
    """

    QEMU = "qemu"
    VFIO_USER = "vfio-user"
    VDPA = "vdpa"
    MDEVCTL = "mdevctl"
