"""Runs uvicorn as one task of a process: it stops with the service, and doesn't handle signals."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from flowyard.errors.services import CannotListen
from flowyard.web.slow_readers import SlowReaderLimit

logger = logging.getLogger(__name__)

_BACKLOG: Final = 2048
# Longer than clients keep idle connections (5 s in httpx): if the server closes one first, a request fails.
_KEEP_ALIVE_S: Final = 65
_MAX_HEADER_BYTES: Final = 64 * 1024
"""Most bytes of all headers of a request."""


async def serve(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    grace_s: float,
    shutting_down: asyncio.Event,
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Serves until `shutting_down` is set; then accepts no new connection and gives open requests `grace_s` to finish.

    Port 0 is any free port; `on_listening` is called with the port. If it is cancelled or fails, it sets
    `shutting_down` itself, so that streams end at once. Raises CannotListen.
    """
    listener = _listen(host, port)
    server = _Server(_config(app, grace_s))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    ending = asyncio.create_task(shutting_down.wait())
    bound: int = listener.getsockname()[1]
    logger.info("listening", extra={"host": host, "port": bound})
    if on_listening is not None:
        on_listening(bound)
    try:
        await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
    finally:
        shutting_down.set()
        server.should_exit = True
        await ending
        await serving
    logger.info("stopped listening", extra={"host": host, "port": bound})


class _LimitedHeaders(SlowReaderLimit):
    """Limits the headers of a request, which are read into memory before its key is checked."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _MAX_HEADER_BYTES:
            self.transport.close()
        else:
            super().on_header(name, value)

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing: the process handles signals, because it has more to stop than HTTP."""
        yield


def _config(app: ASGIApp, grace_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=_LimitedHeaders,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        # Annotated as an int, but only passed to asyncio.wait_for.
        timeout_graceful_shutdown=grace_s,  # type: ignore[arg-type]
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise CannotListen(host=host, port=port, reason=error.strerror or str(error)) from error
    return listener
