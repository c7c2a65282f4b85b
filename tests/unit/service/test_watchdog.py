"""A thread that watches an event loop: what it does when the loop hangs."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from flowyard.service.watchdog import HUNG, watched_loop


def hang(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_loop_that_hangs_is_logged_with_its_stacks_and_its_process_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    codes: list[int] = []
    with watched_loop(dump_after_s=0.5, end_after_s=1.5, end=codes.append):
        hang(2.5)
    assert codes == [HUNG]
    logged, end = [record for record in caplog.records if record.name == "flowyard.service.watchdog"]
    assert (logged.getMessage(), end.getMessage()) == ("event loop hangs", "process ends: its event loop hangs")
    # The loop's own thread comes first, and what it executes comes last.
    name, lines = next(iter(vars(logged)["stacks"].items()))
    assert name.startswith("MainThread")
    assert lines[-1].endswith(" hang")
    assert vars(end)["exit_code"] == HUNG


async def test_a_loop_that_is_busy_for_a_while_is_logged_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    codes: list[int] = []
    with watched_loop(dump_after_s=0.5, end_after_s=30, end=codes.append):
        hang(1.7)
        await asyncio.sleep(1.2)
    assert [record.getMessage() for record in caplog.records] == ["event loop hangs", "event loop runs again"]
    assert codes == []


async def test_a_loop_that_turns_is_left_alone_and_its_watchdog_ends_with_it(caplog: pytest.LogCaptureFixture) -> None:
    with watched_loop(dump_after_s=0.5, end_after_s=1, end=lambda code: pytest.fail(f"ended with {code}")):
        await asyncio.sleep(2)
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "watchdog"]
    await asyncio.to_thread(thread.join, 2)
    assert not thread.is_alive()
    assert caplog.records == []


async def test_a_log_that_nobody_reads_does_not_keep_a_hanging_process_alive() -> None:
    codes: list[int] = []
    handler = logging.StreamHandler()
    handler.lock = threading.RLock()
    logging.getLogger().addHandler(handler)
    try:
        with watched_loop(dump_after_s=0.5, end_after_s=1, end=codes.append), handler.lock:
            # As a loop that can't write, with the lock of the log.
            hang(3)
    finally:
        logging.getLogger().removeHandler(handler)
    assert codes == [HUNG]
