"""Tokens: who somebody is, and what that allows."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a token is for: `admin` may do all, `publisher` publish one vendor's names, `reader` read."""

    ADMIN = "admin"
    PUBLISHER = "publisher"
    READER = "reader"


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who has shown a valid token; name: what the audit calls them. vendor: whose names a publisher writes."""

    name: str
    role: Role
    vendor: str | None = None

    @property
    def is_admin(self) -> bool:
        """Return whether this is an operator of the registry."""
        return self.role is Role.ADMIN

    def may_write(self, vendor: str) -> bool:
        """Return whether it may publish names of a vendor, and change their states."""
        return self.is_admin or (self.role is Role.PUBLISHER and self.vendor == vendor)
