"""The executor's loops: claim runs while slots are free, renew their leases, and drain them at the end."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Final

from flowyard.bus.doorbell import Doorbell
from flowyard.durable.attempt import Attempt
from flowyard.errors.services import Unavailable
from flowyard.runs.claim import Claim
from flowyard.runs.recovery import SUSPECT_AFTER
from flowyard_executor.parts import ExecutorParts

_GATHER_S: Final = 0.01
_MOST_CLAIMED: Final = 32
"""Runs of one claim. Between two claims the executor works on what it has, so that one that is less busy gets more."""
_PAUSE_PER_RUN_S: Final = 0.0001
"""Before an executor claims, it waits for so long, times the runs that it has, up to _GATHER_S: another one that has
fewer is faster, and the runs that come meanwhile are claimed together."""

log = logging.getLogger(__name__)


async def claim_runs(parts: ExecutorParts, bell: Doorbell) -> None:
    """Claims as many runs as there are free slots whenever the bell rings, until the executor drains."""
    while not parts.draining.is_set():
        rung_at = await bell.wait()
        if parts.running:
            await asyncio.sleep(min(_GATHER_S, _PAUSE_PER_RUN_S * len(parts.running)))
        try:
            while not parts.draining.is_set() and await _claim_some(parts, bell, rung_at):
                rung_at = None
        except Unavailable:
            log.warning("can't claim: Postgres is unreachable")


async def _claim_some(parts: ExecutorParts, bell: Doorbell, rung_at: float | None) -> bool:
    """Returns whether the queue may hold more. `rung_at`: when the bell rang, by the monotonic clock."""
    free = min(parts.load.free(parts.settings.slots), _MOST_CLAIMED)
    parts.load.leaves_runs = True
    if free <= 0:
        return False
    started = time.perf_counter()
    claims: list[Claim] = []
    for alone in parts.load.may_claim_suspects():
        claims = claims or await parts.claims.take(
            parts.settings.executor_name, free, with_steps=not parts.mismatches.too_many, alone=alone
        )
    metrics = parts.metrics.executor
    metrics.claim_duration.observe(time.perf_counter() - started)
    if claims and rung_at is not None:
        metrics.doorbell_lag.observe(time.monotonic() - rung_at)
    if claims:
        parts.load.claimed(suspect=claims[0].attempt > SUSPECT_AFTER)
    for claim in claims:
        parts.clock.set(claim.at)
        metrics.claimed.inc()
        metrics.claim_latency.observe(claim.waited_s)
        parts.metrics.runs.create_series(claim.workflow)
        _start(claim, parts, bell)
    parts.load.leaves_runs = len(claims) == free
    return parts.load.leaves_runs


def _start(claim: Claim, parts: ExecutorParts, bell: Doorbell) -> None:
    attempt = Attempt(claim, parts.attempt)
    parts.running[claim.run_id] = attempt
    parts.metrics.executor.slots_used.set(len(parts.running))

    def ended(_task: asyncio.Task[None]) -> None:
        # The same run may have been claimed again meanwhile, by us, under another epoch.
        if parts.running.get(claim.run_id) is attempt:
            del parts.running[claim.run_id]
        parts.metrics.executor.slots_used.set(len(parts.running))
        # Else its end makes room for no run that is queued: a claim costs Postgres as much as a commit.
        if parts.load.leaves_runs or claim.has_limit:
            bell.ring()

    attempt.start().add_done_callback(ended)


async def renew_leases(parts: ExecutorParts, bell: Doorbell) -> None:
    """Every third of a lease, all runs in one statement. A run whose claim is lost is stopped at once.

    Also when the bell rings, because a run was perhaps cancelled.
    """
    lease_s = parts.settings.lease_s
    renewed = time.monotonic()
    while True:
        if await bell.wait() is not None:
            # Many rings are answered by few statements.
            await asyncio.sleep(_GATHER_S)
        started = time.monotonic()
        try:
            await _renew(parts)
            renewed = started
        except Unavailable:
            log.warning("can't renew leases: Postgres is unreachable")
        # While Postgres is away, nobody else can claim our runs, so they go on. Once it is back, others may be
        # faster than our renewal.
        if time.monotonic() - renewed > lease_s and parts.running:
            log.warning("all leases have expired", extra={"runs": len(parts.running)})


async def _renew(parts: ExecutorParts) -> None:
    claims = {run_id: attempt.claim.epoch for run_id, attempt in parts.running.items()}
    if not claims:
        return
    requested_at = time.monotonic()
    renewed = await parts.claims.renew(claims, seen=parts.load.seen)
    parts.clock.set(renewed.at)
    for run_id, epoch in claims.items():
        attempt = parts.running.get(run_id)
        # The last commit of an attempt deletes its claim, so a missing claim isn't a lost one here.
        if attempt is None or attempt.claim.epoch != epoch or attempt.is_ending:
            continue
        if run_id not in renewed.held:
            parts.metrics.executor.leases_lost.inc()
            attempt.stop("lost")
            continue
        attempt.renewed(requested_at)
        if run_id in renewed.cancelled:
            attempt.stop("cancelled")


async def drain(parts: ExecutorParts) -> None:
    """Once the executor drains, waits `drain_s` for its runs to be handed back between steps, then stops the others."""
    await parts.draining.wait()
    tasks = _tasks(parts)
    log.info("draining", extra={"runs": len(tasks), "drain_s": parts.settings.drain_s})
    if tasks:
        await asyncio.wait(tasks, timeout=parts.settings.drain_s)
    for attempt in list(parts.running.values()):
        attempt.stop("drained")
    left = _tasks(parts)
    if left:
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.wait(left)
    log.info("drained", extra={"unfinished": len(_tasks(parts))})


def _tasks(parts: ExecutorParts) -> list[asyncio.Task[None]]:
    return [attempt.task for attempt in parts.running.values() if attempt.task is not None]
