"""oVirt: a hook of VDSM stops a migration before anything of the VM has moved.

VDSM runs the executables in /usr/libexec/vdsm/hooks/<event>/, with the path of the libvirt domain in the environment
variable _hook_domxml (Red Hat Virtualization 4.4, Administration Guide, appendix A). before_vm_migrate_source runs on
the host that the VM leaves, before_vm_migrate_destination on the host that it goes to; both have the domain of the
source. Neither gets the name of the other host.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

DOMAIN = "_hook_domxml"
# "The hook script failed, no other hooks should be processed"; VDSM ends the migration, and logs standard error.
STOP = 2


class Event(StrEnum):
    """An event of VDSM before a migration, by the name of its folder."""

    SOURCE = "before_vm_migrate_source"
    DESTINATION = "before_vm_migrate_destination"


class HookError(Exception):
    """VDSM has not given what its documentation says; the message says what."""


def read_domain(environment: Mapping[str, str]) -> bytes:
    """Return the libvirt domain that VDSM gives a hook; raises HookError if there is none."""
    path = environment.get(DOMAIN)
    if not path:
        message = f"{DOMAIN} is not set: this is for VDSM, which gives a hook the path of the domain in it"
        raise HookError(message)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise HookError(message) from error
