"""Resolves host names, and refuses those with an address that may not be reached.

It is the resolver of the connector itself: a connection goes to an address that was checked, and nothing resolves the
name a second time.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final, TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from flowyard.errors.outbound import HostUnreachable
from flowyard.outbound.addresses import Address
from flowyard.outbound.allowlist import Allowlist
from flowyard.outbound.urls import Destination, read_host
from flowyard.threads import in_daemon_thread

Lookup: TypeAlias = Callable[[str], Sequence[str]]
"""The addresses of a host name. It blocks. Raises OSError."""

_MAX_LOOKUPS: Final = 16
"""At a time. Each has a thread, which a name server that doesn't answer keeps for many seconds."""


def system_lookup(host: str) -> list[str]:
    """Those that this machine's resolver gives."""
    # As bytes, or Python would encode the name once more, by another version of the standard.
    answers = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


class CheckedResolver(AbstractResolver):
    """All addresses of a name, or none: a name with a public and a private address is refused."""

    def __init__(self, allow: Allowlist, lookup: Lookup = system_lookup) -> None:
        self._allow = allow
        self._lookup = lookup
        self._turns = asyncio.Semaphore(_MAX_LOOKUPS)
        self._lookups: set[asyncio.Task[Sequence[str]]] = set()

    async def addresses(self, target: Destination) -> tuple[Address, ...]:
        """Raises AddressRefused, HostUnreachable."""
        if target.address is None:
            return await self._resolved(target.host, target.url.raw_host or target.host)
        self._allow.check(target.host, [target.address])
        return (target.address,)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """For the connector, which doesn't resolve hosts that are addresses."""
        addresses = await self._resolved(read_host(host)[0], host)
        return [_result(host, address, port) for address in addresses]

    async def _resolved(self, host: str, name: str) -> tuple[Address, ...]:
        """`name`: with its final dot, if it has one, because such a name isn't completed by the machine's domain."""
        try:
            texts = await self._look_up(name)
        except OSError as error:
            raise HostUnreachable(host=host, why=error.strerror or "its name can't be resolved") from error
        addresses = tuple(ip_address(text) for text in texts)
        self._allow.check(host, addresses)
        return addresses

    async def _look_up(self, name: str) -> Sequence[str]:
        """A look-up that nobody waits for any more keeps its turn until its thread has ended."""
        lookup = asyncio.create_task(self._in_turn(name))
        self._lookups.add(lookup)
        lookup.add_done_callback(self._lookups.discard)
        lookup.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(lookup)

    async def _in_turn(self, name: str) -> Sequence[str]:
        async with self._turns:
            return await in_daemon_thread(lambda: self._lookup(name))

    async def close(self) -> None:
        """Waits for no look-up."""
        for lookup in self._lookups:
            lookup.cancel()


def _result(host: str, address: Address, port: int) -> ResolveResult:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=str(address), port=port, family=family, proto=0, flags=flags)
