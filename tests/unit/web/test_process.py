"""What the top of a service's process does with what nobody waited for."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket

import pytest

from flowyard.web.process import run_process


async def _forget(failure: Exception) -> None:
    """As uvloop forgets the look-up of a connection that was given up."""
    asyncio.get_running_loop().create_future().set_exception(failure)
    gc.collect()


def test_a_look_up_whose_connection_was_given_up_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="flowyard")
    assert run_process(_forget(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))) == 0
    assert [record.levelname for record in caplog.records if "look-up" in record.message] == ["DEBUG"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_any_other_failure_of_a_forgotten_task_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert run_process(_forget(ValueError("nobody asked"))) == 0
    assert [record.name for record in caplog.records if "nobody asked" in str(record.exc_info)] == ["asyncio"]
