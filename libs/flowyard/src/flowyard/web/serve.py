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
from flowyard.web.connections import ConnectionLimits, bounded_connections

logger = logging.getLogger(__name__)

_BACKLOG: Final = 2048
# Longer than clients keep idle connections (5 s in httpx): if the server closes one first, a request fails.
_KEEP_ALIVE_S: Final = 65
# Each has a descriptor before it can be counted, so few of them may come at a time.
_ACCEPTED_AT_ONCE: Final = 16


async def serve(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    grace_s: float,
    shutting_down: asyncio.Event,
    limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Serves until `shutting_down` is set; then accepts no new connection and gives open requests `grace_s` to finish.

    Port 0 is any free port; `on_listening` is called with the port. If it is cancelled or fails, it sets
    `shutting_down` itself, so that streams end at once. Raises CannotListen.
    """
    listener = _listen(host, port)
    server = _Server(_config(app, grace_s, limits))
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


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            # asyncio took the number that is accepted at once for that of connections that may wait, too.
            listener.listen(_BACKLOG)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing: the process handles signals, because it has more to stop than HTTP."""
        yield


def _config(app: ASGIApp, grace_s: float, limits: ConnectionLimits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        # Annotated as a class, but only called.
        http=bounded_connections(limits),  # type: ignore[arg-type]
        backlog=_ACCEPTED_AT_ONCE,
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
