"""What the top of a service's process does with what nobody waited for."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket

import pytest

from flowyard.web.process import run_process


async def _give_up_a_look_up() -> None:
    loop = asyncio.get_running_loop()
    connecting = asyncio.create_task(loop.create_connection(asyncio.Protocol, "nobody.invalid", 1))
    await asyncio.sleep(0)
    connecting.cancel()
    await asyncio.wait({connecting})
    await asyncio.to_thread(_look_up)
    await asyncio.sleep(0.1)
    gc.collect()


def _look_up() -> None:
    """It takes as long as the other one, or longer."""
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("nobody.invalid", 1)


async def _forget_a_failure() -> None:
    asyncio.get_running_loop().create_future().set_exception(ValueError("nobody asked"))
    gc.collect()


def test_a_look_up_whose_connection_was_given_up_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert run_process(_give_up_a_look_up()) == 0
    assert [record.levelname for record in caplog.records if "vain" in record.message] == ["DEBUG"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_any_other_failure_that_nobody_heard_of_is_one(caplog: pytest.LogCaptureFixture) -> None:
    assert run_process(_forget_a_failure()) == 0
    assert [record.name for record in caplog.records if "nobody asked" in str(record.exc_info)] == ["asyncio"]
