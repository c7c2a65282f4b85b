"""Runs the process of a service: its event loop, its signals, its exit code."""

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
except ModuleNotFoundError:  # it doesn't support Windows
    _loop_factory = asyncio.new_event_loop
else:
    _loop_factory = uvloop.new_event_loop

logger = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run_process(service: Coroutine[Any, Any, None]) -> int:
    """Runs the service on its own event loop. Returns the exit code: 0, or 1 after an error, which it logs."""
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
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
    """The first SIGINT or SIGTERM sets `ending`, the second ends the process at once, with exit code 128 + its number.

    with ends_on_signals(ending):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(execute(parts, ending))
            tasks.create_task(serve(app, …, shutting_down=ending))
    """
    loop = asyncio.get_running_loop()

    def handle(number: int) -> None:
        name = signal.Signals(number).name
        if ending.is_set():
            logger.warning("shutting down at once", extra={"signal": name})
            logging.shutdown()
            os._exit(128 + number)
        logger.info("shutting down", extra={"signal": name})
        ending.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The event loop of every service."""
    loop: asyncio.AbstractEventLoop = _loop_factory()
    loop.set_exception_handler(_handle_unawaited)
    return loop


def _handle_unawaited(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handles an error that no task awaits: a bug, with one exception."""
    error = context.get("exception")
    if isinstance(error, socket.gaierror):
        # uvloop doesn't cancel the name look-up of a connection that was given up.
        logger.debug("name look-up failed", extra={"detail": str(error)})
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
