"""The loop that tells one system of finished runs. Each system has one of its own: none waits for another."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol
from uuid import UUID

from flowyard.errors import ExportRefused, TargetAway, Unavailable, UnknownRun
from flowyard.export.told import Teller, Told
from flowyard.storage.exports import Exports, Waiting
from flowyard.telemetry.metrics import ExportMetrics

log = logging.getLogger(__name__)

FAILURES: Final = ("unreachable", "timeout", "unavailable", "refused", "bug")
DROPS: Final = ("refused", "backlog", "gone")
MOST_TRIES: Final = 5
"""So often may a run be refused."""

_AT_ONCE: Final = 4
_ONE_S: Final = 60.0
_ENTRY_S: Final = 0.02
"""The longest that one run may take, and each of its events: MLflow needs some milliseconds for a span."""
_LEASE_S: Final = 90.0
_LONGEST_PAUSE_S: Final = 60.0
_LAST_WORD_S: Final = 1.0
_MOST_SUSPECTS: Final = 1000
_MEASURE_EVERY_S: Final = 5.0


class Target(Protocol):
    """A system that is told of runs. `name`: its kind."""

    name: str

    async def send(self, told: Told, *, again: bool) -> None:
        """Raises TargetAway, ExportRefused. `again`: the system may know of the run already."""


@dataclass(frozen=True, slots=True)
class Exporting:
    """`most_waiting`: the runs that may wait for one target. `every_s`: between looks for runs.

    `first_pause_s`: for which a target is left alone when it is away; the next ones are longer. `refused_pauses_s`: for
    which a run is left alone after each refusal, since what refuses may itself be in trouble.
    """

    exports: Exports
    teller: Teller
    metrics: ExportMetrics
    most_waiting: int
    every_s: float = 1.0
    first_pause_s: float = 1.0
    refused_pauses_s: Sequence[float] = (2.0, 10.0, 60.0, 300.0)


class Exporter:
    def __init__(self, target: Target, parts: Exporting) -> None:
        self._target = target
        self._parts = parts
        self._failures = 0
        self._taken = 0
        self._suspects: dict[UUID, int] = {}
        self._measured_at = -_MEASURE_EVERY_S
        parts.metrics.expect(target.name, failures=FAILURES, drops=DROPS)

    async def run(self) -> NoReturn:
        """Until it is cancelled. What it was about to send then is sent by whoever looks next."""
        while True:
            try:
                await self._measure()
                pause = await self._round()
            except TargetAway as away:
                pause = self._away(away)
            except Unavailable as error:
                log.warning("export waits: %s", error.message, extra={"target": self._target.name})
                pause = self._parts.every_s
            await asyncio.sleep(pause)

    async def _round(self) -> float:
        """Sends a few runs; after how many seconds to look again. Raises TargetAway, Unavailable."""
        name, parts = self._target.name, self._parts
        # One is enough to see whether it is back.
        most = 1 if self._failures else _AT_ONCE
        waiting = await parts.exports.take(name, most, lease_s=_LEASE_S)
        outcomes = await asyncio.gather(*(self._one(one) for one in waiting), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        if waiting and self._failures:
            log.info("export goes on", extra={"target": name})
            self._failures = 0
        return 0.0 if len(waiting) == most else parts.every_s

    async def _one(self, waiting: Waiting) -> None:
        """Raises TargetAway, Unavailable; whatever else goes wrong is this run's alone."""
        name, parts = self._target.name, self._parts
        began = time.monotonic()
        try:
            await self._send(waiting)
        except TargetAway as away:
            if self._is_to_blame(waiting, away):
                await self._refused(waiting, away.reason, away.message)
                return
            parts.metrics.failures.labels(name, away.reason).inc()
            # Others come first: it may be this run that the target can't bear.
            pause = 0.0 if away.untouched else 2.0 * self._pause_s
            await parts.exports.put_back(name, waiting, untouched=away.untouched, pause_s=pause)
            raise
        except asyncio.CancelledError:
            # The process ends, and whoever looks next needn't wait for the lease.
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_LAST_WORD_S):
                    await parts.exports.put_back(name, waiting, untouched=False)
            raise
        except UnknownRun:
            await self._drop(waiting, "gone")
        except ExportRefused as error:
            await self._refused(waiting, "refused", error.message)
        except Unavailable:
            raise
        except Exception:
            # The worker's loop: a bug ends the export of this run and of no other.
            log.exception("a bug in the export of a run", extra=self._about(waiting))
            await self._refused(waiting, "bug", "a bug: see the log")
        finally:
            parts.metrics.duration.labels(name).observe(time.monotonic() - began)

    async def _send(self, waiting: Waiting) -> None:
        name, parts = self._target.name, self._parts
        async with parts.teller.read(waiting.run_id) as told:
            if told is None:
                # Retried meanwhile: it will be put down anew when it ends.
                await parts.exports.done(name, waiting)
                return
            try:
                async with asyncio.timeout(max(_ONE_S, _ENTRY_S * len(told.entries))):
                    await self._target.send(told, again=waiting.again)
            except TimeoutError as error:
                raise TargetAway(name, "it takes too long", reason="timeout", untouched=False) from error
        self._taken += 1
        self._suspects.pop(waiting.run_id, None)
        if await parts.exports.done(name, waiting):
            parts.metrics.runs.labels(name).inc()

    def _is_to_blame(self, waiting: Waiting, away: TargetAway) -> bool:
        """Whether the target went away at this run before, and has taken others since."""
        if away.untouched:
            return False
        before = self._suspects.pop(waiting.run_id, None)
        self._suspects[waiting.run_id] = self._taken
        while len(self._suspects) > _MOST_SUSPECTS:
            del self._suspects[next(iter(self._suspects))]
        return before is not None and before < self._taken

    async def _refused(self, waiting: Waiting, reason: str, why: str) -> None:
        name, parts = self._target.name, self._parts
        parts.metrics.failures.labels(name, reason).inc()
        if waiting.tries + 1 >= MOST_TRIES:
            self._suspects.pop(waiting.run_id, None)
            await self._drop(waiting, "refused")
            return
        log.warning("a run was refused: %s", why, extra={**self._about(waiting), "tries": waiting.tries + 1})
        pauses = parts.refused_pauses_s
        await parts.exports.refused(name, waiting, pause_s=pauses[min(waiting.tries, len(pauses) - 1)])

    async def _drop(self, waiting: Waiting, reason: str) -> None:
        if await self._parts.exports.done(self._target.name, waiting):
            self._parts.metrics.dropped.labels(self._target.name, reason).inc()
            log.warning("a run is not exported", extra={**self._about(waiting), "reason": reason})

    async def _measure(self) -> None:
        """And keeps the backlog within its bounds."""
        if time.monotonic() - self._measured_at < _MEASURE_EVERY_S:
            return
        name, parts = self._target.name, self._parts
        # A registry that was started without it, on the same database, has struck it off.
        await parts.exports.add_targets([name])
        backlog = await parts.exports.backlog(name)
        if backlog.runs > parts.most_waiting:
            dropped = await parts.exports.drop_oldest(name, keep=parts.most_waiting)
            parts.metrics.dropped.labels(name, "backlog").inc(dropped)
            log.warning("too many runs wait: the oldest are not exported", extra={"target": name, "runs": dropped})
            backlog = await parts.exports.backlog(name)
        parts.metrics.backlog.labels(name).set(backlog.runs)
        parts.metrics.lag.labels(name).set(backlog.lag_s)
        self._measured_at = time.monotonic()

    def _away(self, away: TargetAway) -> float:
        """How long to leave the target alone."""
        pause = self._pause_s
        if self._failures == 0:
            log.warning("export waits: %s", away.message, extra={"target": self._target.name})
        self._failures = min(self._failures + 1, 10)
        return max(pause * random.uniform(0.5, 1.0), away.retry_after or 0.0)  # noqa: S311  # not a secret

    @property
    def _pause_s(self) -> float:
        return min(_LONGEST_PAUSE_S, self._parts.first_pause_s * 2.0**self._failures)

    def _about(self, waiting: Waiting) -> dict[str, object]:
        return {"run_id": str(waiting.run_id), "target": self._target.name}
