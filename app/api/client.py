"""Who sends a request, as far as its share of the service is concerned."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from fastapi import Request

# One client of an IPv6 network has at least a subnet of this size (RFC 6177).
_IPV6_PREFIX = 64
# Before the 32 bits of an IPv4 address that is written as one of IPv6.
_MAPPED_PREFIX = 96
# The clients at this many addresses are remembered, because to read an address takes as long as to count a request.
_MAX_ADDRESSES = 4_096


class Client(NamedTuple):
    """A token or, without a valid one, an address."""

    key: str
    has_token: bool = False

    @classmethod
    def of_token(cls, name: str) -> "Client":
        """Return the client with a token of this name."""
        return cls(f"token {name}", has_token=True)

    @classmethod
    def of_address(cls, host: str | None) -> "Client":
        """Return the client at an address; clients of one IPv6 subnet are one."""
        return _at_address(host or "")


@lru_cache(_MAX_ADDRESSES)
def _at_address(host: str) -> Client:
    try:
        address = _address(host)
    except ValueError:
        return Client(host)
    if isinstance(address, IPv6Address):
        return Client(str(ip_network((address, _IPV6_PREFIX), strict=False)))
    return Client(str(address))


def _address(host: str) -> IPv4Address | IPv6Address:
    """Return an address; a socket for both versions has IPv4 addresses as `::ffff:192.0.2.1` (RFC 4291, 2.5.5.2)."""
    address = ip_address(host)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def with_mapped(networks: Sequence[str]) -> list[str]:
    """Return addresses and networks, those of IPv4 also as a socket for both versions has them."""
    mapped = []
    for text in networks:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            continue
        if isinstance(network, IPv4Network):
            prefix = f"/{_MAPPED_PREFIX + network.prefixlen}" if "/" in text else ""
            mapped.append(f"::ffff:{network.network_address}{prefix}")
    return [*networks, *mapped]


def is_within(host: str, networks: Sequence[str]) -> bool:
    """Return whether a host is one of some addresses, or an address of one of some networks; `*`: of any."""
    if {"*", host} & set(networks):
        return True
    try:
        return any(_address(host) in ip_network(network, strict=False) for network in networks)
    except ValueError:
        return False


def client_of(request: Request) -> Client:
    """Return who sends a request, as far as its share is concerned."""
    client: Client = request.state.client
    return client
