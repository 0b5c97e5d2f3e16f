"""Identities and roles of tokens, and what they allow."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """The role of a token: `admin` can do everything, `publisher` publish a vendor's names, `reader` only read."""

    ADMIN = "admin"
    PUBLISHER = "publisher"
    READER = "reader"


@dataclass(frozen=True, slots=True)
class Identity:
    """The holder of a valid token.

    name: shown in the audit. vendor: the vendor whose names a publisher can write; None for other roles. id: of the
    token; None for the operator's, which is a setting.
    """

    name: str
    role: Role
    vendor: str | None = None
    id: str | None = None

    @property
    def is_admin(self) -> bool:
        """Return whether the holder is an admin of the registry."""
        return self.role is Role.ADMIN

    def may_write(self, vendor: str) -> bool:
        """Return whether the holder can publish names of a vendor and change their states."""
        return self.is_admin or (self.role is Role.PUBLISHER and self.vendor == vendor)
