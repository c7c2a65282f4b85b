"""Which addresses are public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis.strategies import ip_addresses

from flowyard.outbound.addresses import special_kind


@pytest.mark.parametrize(
    "address",
    [
        *("1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
        *("128.0.0.0", "168.63.129.15", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
        *(
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
        ),
        *("2001:200::1", "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1", "3ffe:ffff::1"),
        *("64:ff9b::8.8.8.8", "64:ff9b::11.0.0.0"),
    ],
)
def test_the_neighbours_of_special_ranges_are_public(address: str) -> None:
    assert special_kind(ip_address(address)) is None


@given(ip_addresses())
def test_no_address_is_public_that_python_knows_not_to_be(address: IPv4Address | IPv6Address) -> None:
    if special_kind(address) is None:
        assert address.is_global
        assert not address.is_multicast
