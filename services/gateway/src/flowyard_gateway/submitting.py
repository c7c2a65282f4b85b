"""Submits a run, and waits for its end if the caller wants that."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID

from flowyard.control.listener import RunListener
from flowyard.control.submit import Submission, new_run_id, submit_run
from flowyard.runs.run import Run
from flowyard.telemetry.logs import bind_run
from flowyard_gateway.parts import GatewayParts


async def submit_and_wait(parts: GatewayParts, submission: Submission, *, wait_s: float) -> tuple[Run, bool]:
    """The run when it has ended, or as it is after `wait_s` seconds; False if the same request came before.

    Raises as `submit_run`.
    """
    new_id = new_run_id()
    if not wait_s:
        run_id, is_new = await submit_run(parts.control, submission, run_id=new_id)
        bind_run(run_id)
        return await parts.control.runs.get(run_id), is_new
    # It listens before the run exists, so that nothing has to be read again. The first event is that it is queued.
    with parts.live.listen(new_id, after=1, only_end=True) as listener:
        run_id, is_new = await submit_run(parts.control, submission, run_id=new_id)
        bind_run(run_id)
        if is_new:
            return await ended(parts, listener, wait_s), True
    return await wait_for(parts, run_id, wait_s), False


async def wait_for(parts: GatewayParts, run_id: UUID, wait_s: float) -> Run:
    """Waits for the end of a run that exists already."""
    with parts.live.listen(run_id, after=0, only_end=True) as listener:
        run = await parts.control.runs.get(run_id)
        if not run.is_open:
            return run
        listener.last_seq = run.last_seq
        listener.read_again()
        return await ended(parts, listener, wait_s)


async def ended(parts: GatewayParts, listener: RunListener, wait_s: float) -> Run:
    """The run when it has ended, or as it is after `wait_s` seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(min(wait_s, parts.settings.wait_max_s)):
            if (run := await parts.live.until_ended(listener)) is not None:
                return run
    return await parts.control.runs.get(listener.run_id)
