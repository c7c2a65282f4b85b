"""Which IP addresses are public: all others are refused unless a setting lists them. Pure.

The ranges are those of IANA's special-purpose address registries:
https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry. `ipaddress.is_global` isn't
used, because its answers differ between versions of Python.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_PRIVATE: Final = "a private address"
_RESERVED: Final = "a reserved address"
_DOCUMENTATION: Final = "an address for documentation"
_BENCHMARKING: Final = "an address for benchmarks"
_LINK_LOCAL: Final = "a link-local address"
_TRANSLATED: Final = "an IPv6 form of an IPv4 address"
# The first range that contains an address counts.
_KINDS: Final = {
    "0.0.0.0/32": "the unspecified address",
    "0.0.0.0/8": _RESERVED,
    "10.0.0.0/8": _PRIVATE,
    "100.64.0.0/10": "a provider's shared address",
    "127.0.0.0/8": "a loopback address",
    # Azure answers there with secrets of the machine, as other clouds do at 169.254.169.254.
    "168.63.129.16/32": "a cloud's own address",
    "169.254.0.0/16": _LINK_LOCAL,
    "172.16.0.0/12": _PRIVATE,
    "192.0.0.0/24": _RESERVED,
    "192.0.2.0/24": _DOCUMENTATION,
    "192.88.99.0/24": _RESERVED,
    "192.168.0.0/16": _PRIVATE,
    "198.18.0.0/15": _BENCHMARKING,
    "198.51.100.0/24": _DOCUMENTATION,
    "203.0.113.0/24": _DOCUMENTATION,
    "224.0.0.0/4": "a multicast address",
    "255.255.255.255/32": "the broadcast address",
    "240.0.0.0/4": _RESERVED,
    "::/128": "the unspecified address",
    "::1/128": "a loopback address",
    "::/96": _TRANSLATED,
    "::ffff:0:0/96": _TRANSLATED,
    "::ffff:0:0:0/96": _TRANSLATED,
    "64:ff9b:1::/48": _TRANSLATED,
    "2001::/32": _TRANSLATED,
    "2001:2::/48": _BENCHMARKING,
    "2001::/23": _RESERVED,
    "2001:db8::/32": _DOCUMENTATION,
    "2002::/16": _TRANSLATED,
    "3fff::/20": _DOCUMENTATION,
    "fc00::/7": _PRIVATE,
    "fe80::/10": _LINK_LOCAL,
    "fec0::/10": _PRIVATE,
    "ff00::/8": "a multicast address",
}
_RANGES: Final = tuple((ip_network(network), kind) for network, kind in _KINDS.items())
_NAT64: Final = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")


def special_kind(address: Address) -> str | None:
    """What the address is, such as "a private address", or None if it is public.

    An address of NAT64 (RFC 6052) is what its IPv4 address is: in networks without IPv4, the name servers give such
    addresses for every server that has no other.
    """
    if (inside := ipv4_inside(address)) is not None:
        kind = special_kind(inside)
        return f"the NAT64 form of {inside}, {kind}" if kind else None
    for network, kind in _RANGES:
        if address in network:
            return kind
    return _RESERVED if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST else None


def ipv4_inside(address: Address) -> IPv4Address | None:
    """The IPv4 address that NAT64 translates it to."""
    is_nat64 = isinstance(address, IPv6Address) and address in _NAT64
    return IPv4Address(int(address) & 0xFFFF_FFFF) if is_nat64 else None
