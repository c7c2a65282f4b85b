"""Reads URLs that others chose. Pure.

The URL is parsed once, by the parser of the library that sends the request, and IPv4 addresses in any form (decimal,
octal, hexadecimal, with fewer than four numbers) get their usual form. So what is checked is what is connected to.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Final

from yarl import URL

from flowyard.errors.outbound import OutboundInvalid
from flowyard.outbound.addresses import Address

_MAX_LENGTH: Final = 8_000
_NOT_IN_A_URL: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\\]")
_AUTHORITY: Final = re.compile(r"[/?#]")
"""What ends it."""
_LABEL: Final = r"[a-z0-9_-]{1,63}"
_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_MAX_NAME: Final = 253
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")


@dataclass(frozen=True, slots=True)
class Destination:
    """`host`: as in errors and settings, without a final dot. `address`: None if the host is a name."""

    url: URL
    host: str
    address: Address | None


def read_destination(text: str) -> Destination:
    """Raises OutboundInvalid, without the URL."""
    if len(text) > _MAX_LENGTH:
        raise OutboundInvalid(f"its URL has {len(text):,} characters, and {_MAX_LENGTH:,} are allowed")
    check_characters(text)
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError:
        raise OutboundInvalid("its URL can't be read") from None
    if url.scheme not in ("http", "https"):
        raise OutboundInvalid("its URL must begin with http:// or https://")
    authority = _AUTHORITY.split(text.partition("://")[2], maxsplit=1)[0]
    if "@" in authority:
        raise OutboundInvalid("its URL contains a user or a password: send them in a header")
    if not host or port == 0:
        raise OutboundInvalid("its URL needs a host, and a port from 1 to 65535 if there is one")
    if "[" in authority and ":" not in host:
        raise OutboundInvalid("the host in its URL is no IPv6 address")
    name, address = read_host(host)
    sent = url.with_fragment(None)
    return Destination(sent if address is None else sent.with_host(name), name, address)


def check_characters(text: str) -> None:
    """Raises OutboundInvalid for characters that can't be in a URL, which other programs drop or read as others."""
    if wrong := _NOT_IN_A_URL.search(text):
        raise OutboundInvalid(f"its URL contains the character U+{ord(wrong[0]):04X}")


def read_host(text: str) -> tuple[str, Address | None]:
    """The normal form of a host in a URL, and its address if it is one. Raises OutboundInvalid."""
    host = text.lower().removesuffix(".")
    if ":" in host:
        return _ipv6(host)
    last = host.rpartition(".")[2]
    if _NUMBER.fullmatch(last):
        return _ipv4(host)
    if not _NAME.fullmatch(host) or len(host) > _MAX_NAME:
        raise OutboundInvalid("the host in its URL can't be a name")
    return host, None


def _ipv4(host: str) -> tuple[str, Address]:
    if not all(_NUMBER.fullmatch(part) for part in host.split(".")):
        raise OutboundInvalid("the host in its URL ends in a number, but is no address")
    try:
        address = IPv4Address(socket.inet_aton(host))
    except OSError:
        raise OutboundInvalid("the host in its URL is no IPv4 address") from None
    return str(address), address


def _ipv6(host: str) -> tuple[str, Address]:
    if "%" in host:
        raise OutboundInvalid("its URL names a network interface (%)")
    try:
        address = ip_address(host)
    except ValueError:
        raise OutboundInvalid("the host in its URL is no IPv6 address") from None
    return str(address), address
