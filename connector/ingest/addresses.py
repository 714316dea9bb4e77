"""Which addresses are on the public internet."""

from __future__ import annotations

import ipaddress
import socket

# Prefixes in whose addresses an IPv4 one is wrapped: its last 32 bits.
WRAPPING = tuple(ipaddress.ip_network(text) for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))


def public_addresses(host: str, port: int) -> list[str]:
    """Addresses of a host, or none where one of them is not public.

    Raises:
        OSError: it does not resolve.
        ValueError: its name or port cannot be one.
    """
    found = [str(address[0]).split("%")[0] for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    return list(dict.fromkeys(found)) if all(is_public(address) for address in found) else []


def is_public(text: str) -> bool:
    """Whether an address is on the public internet, and so is the IPv4 address that it may wrap (NAT64, 6to4, …)."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv4Address):
        return _is_global(address)
    wrapped = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in WRAPPING):
        wrapped.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    inner = [each for each in wrapped if each is not None]
    if address.ipv4_mapped is not None:
        return _is_global(address.ipv4_mapped)
    return _is_global(address) and all(_is_global(each) for each in inner)


def _is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not address.is_multicast
