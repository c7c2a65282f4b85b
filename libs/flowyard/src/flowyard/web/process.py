"""The top of a service's process: its loop, its signals, its exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from flowyard.errors.base import FlowyardError

try:
    import uvloop
except ModuleNotFoundError:  # there is none for Windows
    _fresh_loop = asyncio.new_event_loop
else:
    _fresh_loop = uvloop.new_event_loop

logger = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run_process(service: Coroutine[Any, Any, None]) -> int:
    """Runs the service on a new event loop. Returns the exit code: 0, or 1 after an error, which is logged."""
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(service)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - the process's top
        for leaf in _leaves(error):
            _log(leaf)
        return 1
    return 0


@contextmanager
def ends_on_signals(ending: asyncio.Event) -> Iterator[None]:
    """The first SIGINT or SIGTERM sets `ending`, the second ends the process at once, with 128 + its number.

    with ends_on_signals(ending):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(execute(parts, ending))
            tasks.create_task(serve(app, …, shutting_down=ending))
    """
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        name = signal.Signals(number).name
        if ending.is_set():
            logger.warning("shutting down at once", extra={"signal": name})
            logging.shutdown()
            os._exit(128 + number)
        logger.info("shutting down", extra={"signal": name})
        ending.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _new_loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = _fresh_loop()
    loop.set_exception_handler(_unhandled)
    return loop


def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An error that no task waits for. It is a bug of ours, with one exception."""
    error = context.get("exception")
    if isinstance(error, socket.gaierror):
        # Of a connection that was given up meanwhile: uvloop doesn't stop its DNS query.
        logger.debug("a name was looked up in vain", extra={"detail": str(error)})
    else:
        loop.default_exception_handler(context)


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _log(error: Exception) -> None:
    if isinstance(error, FlowyardError):
        logger.error("service failed: %s", error.message, extra={"code": error.code})
    else:
        logger.error("service failed: a bug", exc_info=error)
