"""Sheds load, before the kernel kills the process: with little memory left, claims no runs, then hands some back."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import math
import sys
import time
from contextlib import suppress
from typing import Final
from uuid import UUID

from flowyard.durable.attempt import Attempt
from flowyard.runs.events import Failure
from flowyard.runs.recovery import SUSPECT_AFTER
from flowyard_executor.memory import Memory, MemoryMeter

log = logging.getLogger(__name__)

_EVERY_S: Final = 0.1
_SHED_ABOVE: Final = 0.25
_STOP_ABOVE: Final = 0.5
"""Above `fraction` of the memory, no runs are claimed. Above this part of the rest, runs are handed back between two
steps (_SHED_ABOVE), then stopped (_STOP_ABOVE)."""
_ROOM_S: Final = 30.0
_REST_S: Final = 1.0
_FEWER_S: Final = 20.0
"""Seconds for which fewer runs are executed after memory was short: as many would need as much memory again."""


class Load:
    """`fraction`: of the memory, above which no runs are claimed. `running`: the executed runs, the oldest first.

    `leaves_runs`: whether the last claim may have left runs in the queue, because all slots were taken.
    """

    def __init__(self, meter: MemoryMeter, *, fraction: float) -> None:
        self.running: dict[UUID, Attempt] = {}
        self.leaves_runs = True
        self._meter = meter
        self._fraction = fraction
        self._is_high = False
        self._room_until = self._rests_until = self._fewer_until = 0.0
        self._fewer = 1
        self._was_suspect = False
        self.memory = meter.read()
        self._idle_bytes = self.memory.used

    @property
    def seen(self) -> str:
        """Facts about this executor, for the error of its runs if it is lost."""
        runs = len(self.running)
        return f"it used {self.memory} and {time.process_time():,.0f} s of CPU, with {runs} run{'s' * (runs != 1)}"

    @property
    def is_idle(self) -> bool:
        return not self.running

    @property
    def executes_suspect(self) -> bool:
        """Whether a run is executed alone."""
        return any(is_suspect(attempt) for attempt in self.running.values())

    def free(self, slots: int) -> int:
        """How many runs may be claimed: none while a suspect run is executed alone."""
        if self.executes_suspect:
            return 0
        if self._is_high or time.monotonic() < self._room_until:
            # With nothing at work it goes on, with one run at a time: what is left in memory may stay there.
            return 1 if self.is_idle else 0
        most = min(slots, self._fewer) if time.monotonic() < self._fewer_until else slots
        return most - len(self.running)

    def make_room(self) -> None:
        """Hands runs back between two steps, so that a suspect run in the queue can be executed alone."""
        log.info("handing runs back, to execute one run alone", extra={"runs": len(self.running)})
        self._room_until = time.monotonic() + _ROOM_S
        for attempt in self.running.values():
            attempt.leave()

    def may_claim_suspects(self) -> tuple[bool, ...]:
        """Whether the next claim may get a suspect run. Two answers: if the first claim gets nothing, the second may.

        After a suspect run the others have their turn: an executor lost with hundreds of runs leaves as many suspects.
        """
        if not self.is_idle:
            return (False,)
        return (False, True) if self._was_suspect and time.monotonic() >= self._room_until else (True,)

    def claimed(self, *, suspect: bool) -> None:
        self._was_suspect = suspect
        if suspect:
            self._room_until = 0.0

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self.act(self._meter.read())

    def act(self, memory: Memory) -> None:
        self.memory = memory
        if self.is_idle:
            self._idle_bytes = memory.used
        was_high, self._is_high = self._is_high, memory.fraction > self._fraction
        left = 1.0 - self._fraction
        if self._is_high and not was_high:
            log.warning("little memory left: the executor claims no runs", extra={"memory": str(memory)})
            self._fewer = max(1, len(self.running) // 2)
        if not self._is_high:
            return
        self._fewer_until = time.monotonic() + _FEWER_S
        if time.monotonic() < self._rests_until:
            return
        # What is given back or stopped needs a moment until its memory is free.
        self._rests_until = time.monotonic() + _REST_S
        _free_memory(thoroughly=self.is_idle)
        if memory.fraction > self._fraction + _STOP_ABOVE * left:
            self._stop_newest(memory)
        elif memory.fraction > self._fraction + _SHED_ABOVE * left:
            for attempt in list(self.running.values())[len(self.running) // 2 or 1 :]:
                attempt.leave()

    def _stop_newest(self, memory: Memory) -> None:
        newest = [attempt for attempt in reversed(list(self.running.values())) if attempt.can_be_stopped]
        for attempt in newest[: self._too_many(memory)]:
            facts = {"run_id": str(attempt.claim.run_id), "memory": str(memory)}
            if is_suspect(attempt):
                log.error("a run failed: it takes too much memory even if executed alone", extra=facts)
                before = f"{attempt.claim.attempt - 1} executors were lost while it was at work"
                message = f"{before}, and executed alone it takes too much memory: {self.seen}"
                attempt.fail(Failure("executor_lost", message))
            else:
                # As if the executor were lost, but only for this run: its lease runs out, and the attempt counts.
                log.error("too little memory left: stopping a run", extra=facts)
                attempt.stop("lost")

    def _too_many(self, memory: Memory) -> int:
        """How many runs have to be stopped, if all use the same share of the memory that runs use."""
        of_runs = memory.used - self._idle_bytes if self._idle_bytes < memory.used else memory.used
        excess = memory.used - self._fraction * memory.limit
        return max(1, math.ceil(excess * len(self.running) / of_runs)) if of_runs else 1


def is_suspect(attempt: Attempt) -> bool:
    """Whether several executors were lost while they executed the run, so that it is executed alone."""
    return attempt.claim.attempt > SUSPECT_AFTER


def _free_memory(*, thoroughly: bool) -> None:
    if thoroughly:
        gc.collect()
    if sys.platform == "linux":
        # Python's allocator frees memory, and the C library keeps it.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
