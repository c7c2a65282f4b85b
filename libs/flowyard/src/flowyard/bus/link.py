"""One connection to NATS, which is opened again whenever it is lost.

nats-py could reconnect by itself, but not if the first try fails; and its reconnecting may hang or end for ever. So
each connection is a client of its own that never reconnects, and the first connection is made like every other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final
from urllib.parse import unquote, urlsplit

from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.protocol.parser import PERMISSIONS_ERR

from flowyard.bus.subjects import inbox

_RETRY_S: Final = 0.25
_CONNECT_S: Final = 2
_PING_S: Final = 5
"""A server that hangs is given up when two PINGs have gone unanswered."""
_LOOK_S: Final = 1.0
"""How often to check whether the client is connected: its own callback may be stuck behind a dead socket."""
_CLOSE_S: Final = 0.3
_FOR_EVER: Final = 10**9

_log = logging.getLogger(__name__)


class Link:
    """`on_up` is awaited with each new client before it is used. `on_refused`: called if NATS refuses a subject."""

    def __init__(
        self, url: str, *, name: str, on_up: Callable[[Client], Awaitable[None]], on_refused: Callable[[str], None]
    ) -> None:
        self._name = name
        self._on_up = on_up
        self._on_refused = on_refused
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        self._server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._user = unquote(parts.username) if parts.username else None
        # nats-py wouldn't decode the `%` escapes of a URL.
        self._password = unquote(parts.password) if parts.password else None
        self._logged: set[str] = set()
        self._flushes: set[asyncio.Task[None]] = set()
        self._up = asyncio.Event()
        self.client: Client | None = None

    @property
    def connected(self) -> bool:
        return self._up.is_set() and self.client is not None and self.client.is_connected

    @property
    def server_version(self) -> str | None:
        server = self.client.connected_server_version if self.client is not None and self.connected else None
        return f"{server.major}.{server.minor}.{server.patch}" if server is not None else None

    async def next_client(self) -> Client:
        """The client, as soon as there is one."""
        while self.client is None or not self._up.is_set():
            await self._up.wait()
        return self.client

    async def keep(self) -> None:
        """Connects again and again until it is cancelled."""
        while True:
            client, lost = Client(), asyncio.Event()
            try:
                await self._connect(client, lost)
                await self._watch(client, lost)
            except Exception as error:  # noqa: BLE001  # it must survive any error
                self._log_error(error)
            finally:
                await self._close(client)
            await asyncio.sleep(_RETRY_S)

    async def flush(self, client: Client, *, timeout_s: float) -> None:
        """Returns when the server has received all that was sent before, or after `timeout_s`."""
        # A flush that times out or is cancelled leaves a future, at which nats-py's reader fails when the PONG comes.
        flush = asyncio.create_task(client.flush(timeout=_FOR_EVER))
        self._flushes.add(flush)
        flush.add_done_callback(self._flushed)
        await asyncio.wait({flush}, timeout=timeout_s)

    def _flushed(self, flush: asyncio.Task[None]) -> None:
        self._flushes.discard(flush)
        if not flush.cancelled() and (error := flush.exception()):
            self._log_error(error)

    async def _connect(self, client: Client, lost: asyncio.Event) -> None:
        async def closed() -> None:
            lost.set()

        await client.connect(
            self._server,
            user=self._user,
            password=self._password,
            token=None if self._password else self._user,
            name=self._name,
            inbox_prefix=inbox(self._user),
            error_cb=self._on_error,
            closed_cb=closed,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=_CONNECT_S,
            ping_interval=_PING_S,
            # Otherwise a publish waits for the socket when much is pending, which the bus's sender prevents itself.
            pending_size=0,
        )

    async def _watch(self, client: Client, lost: asyncio.Event) -> None:
        # If a server dies while it greets, its client raises no error, but isn't connected.
        if not client.is_connected:
            return
        self.client = client
        await self._on_up(client)
        self._logged.clear()
        self._up.set()
        _log.info("bus connected", extra={"server": self._server})
        while client.is_connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await lost.wait()
        _log.warning("bus connection lost", extra={"server": self._server})

    async def _close(self, client: Client) -> None:
        self._up.clear()
        self.client = None
        if not client.is_connected:
            _abort(client)
        with suppress(Exception):
            async with asyncio.timeout(_CLOSE_S):
                await client.close()
        _abort(client)
        for flush in self._flushes:
            flush.cancel()

    async def _on_error(self, error: Exception) -> None:
        """nats-py reports errors here, and only here that a subject isn't permitted."""
        if PERMISSIONS_ERR in str(error).lower():
            self._on_refused(str(error))
        else:
            self._log_error(error)

    def _log_error(self, error: BaseException) -> None:
        """Logs each error once per outage, not after every try."""
        detail = str(error) or type(error).__name__
        if detail not in self._logged:
            self._logged.add(detail)
            _log.warning("bus error", extra={"server": self._server, "detail": detail})


def _abort(client: Client) -> None:
    """Closes the socket now. nats-py would first wait until a dead server has received everything."""
    transport = client._transport  # noqa: SLF001  # it offers no other way
    if isinstance(transport, TcpTransport) and transport._io_writer is not None:  # noqa: SLF001
        transport._io_writer.transport.abort()  # noqa: SLF001
