"""Slows down clients that try wrong keys. A client with a valid key is never refused, and never waits."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Final, TypeAlias

from pydantic import Field, PlainValidator
from pydantic_settings import NoDecode
from starlette.datastructures import Headers
from starlette.types import Scope

from flowyard.access import key_id_of

Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]

_MOST_FAILED: Final = 10
_WITHIN_S: Final = 60.0
_MOST_REMEMBERED: Final = 10_000
_MOST_PAUSED: Final = 200
_HOST_BITS: Final = 64
"""Bits of an IPv6 address: a host has all addresses that begin with the same ones."""


def read_networks(text: object) -> Networks:
    """`10.0.0.5, 192.168.0.0/16` → networks. Raises ValueError."""
    words = str(text).replace(",", " ").split() if not isinstance(text, tuple) else text
    try:
        return tuple(ip_network(word) for word in words)
    except ValueError as error:
        raise ValueError(f"should be addresses or networks, separated by commas: {error}") from None


TrustedProxies: TypeAlias = Annotated[
    Networks,
    NoDecode,
    PlainValidator(read_networks),
    Field(description="Proxies whose X-Forwarded-For is believed: addresses and networks, separated by commas"),
]


class WrongKeys:
    """Counts wrong keys per address and per key id, in memory: a restart forgets them.

    `trusted`: proxies whose header X-Forwarded-For is believed. `pause_s`: how late a wrong key is answered once there
    were too many.
    """

    def __init__(
        self, trusted: Networks = (), *, pause_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._trusted = trusted
        self._pause_s = pause_s
        self._clock = clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()
        self._paused = 0

    async def add(self, scope: Scope, key: str) -> float:
        """Counts a wrong key. If there were too many, returns late: the seconds until they are forgotten. Else 0."""
        ids = [_host(client_of(scope, self._trusted))]
        if (key_id := key_id_of(key)) is not None:
            ids.append(f"key {key_id}")
        wait_s = max(map(self._count, ids))
        if wait_s and self._paused < _MOST_PAUSED:
            self._paused += 1
            try:
                await asyncio.sleep(self._pause_s)
            finally:
                self._paused -= 1
        return wait_s

    def _count(self, who: str) -> float:
        now = self._clock()
        failed = self._failed.setdefault(who, deque(maxlen=_MOST_FAILED))
        wait_s = max(0.0, failed[0] + _WITHIN_S - now) if len(failed) == _MOST_FAILED else 0.0
        failed.append(now)
        self._failed.move_to_end(who)
        while len(self._failed) > _MOST_REMEMBERED:
            self._failed.popitem(last=False)
        return wait_s


def client_of(scope: Scope, trusted: Networks) -> str:
    """The client's address. A trusted proxy's header is read from its end: what the client itself wrote comes first."""
    client = scope.get("client")
    address: str = client[0] if client else ""
    if not trusted:
        return address
    forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    while forwarded and is_trusted(address, trusted):
        before = forwarded.pop().strip()
        if _parsed(before) is None:
            break
        address = before
    return address


def is_trusted(address: str, networks: Collection[IPv4Network | IPv6Network]) -> bool:
    """Whether an address is in one of the networks."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def _host(address: str) -> str:
    parsed = _parsed(address)
    if not isinstance(parsed, IPv6Address):
        return str(parsed or address)
    return str(ip_network((int(parsed) >> _HOST_BITS << _HOST_BITS, _HOST_BITS)))
