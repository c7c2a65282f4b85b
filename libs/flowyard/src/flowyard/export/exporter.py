"""The loop that exports finished runs to one target. Each target has its own loop, so that none waits for another."""

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

from flowyard.errors.requests import TooLarge, UnknownRun
from flowyard.errors.services import Unavailable
from flowyard.export.client import ExportRefused, TargetUnavailable
from flowyard.export.finished_run import FinishedRun, RunReader
from flowyard.storage.exports import Exports, Waiting
from flowyard.telemetry.metrics import ExportMetrics

log = logging.getLogger(__name__)

FAILURES: Final = ("unreachable", "timeout", "unavailable", "refused", "bug")
DROPS: Final = ("refused", "backlog", "gone", "killed")
MAX_REFUSALS: Final = 5
"""After this number of refusals a run is dropped."""

MAX_BEGUN: Final = 3
"""How often the export of a run is begun: if it never has an outcome, the run is dropped as `killed`."""

_BATCH: Final = 4
_MIN_SEND_S: Final = 60.0
_SEND_S_PER_ENTRY: Final = 0.02
"""The time limit for sending a run, if its events don't need more: MLflow needs some milliseconds for a span."""
_LEASE_S: Final = 90.0
"""A process that takes a run has so long to send it, before another one may take it."""
_LONGEST_PAUSE_S: Final = 60.0
_PUT_BACK_TIMEOUT_S: Final = 1.0
_MAX_SUSPECTS: Final = 1000


class Target(Protocol):
    """A system that receives runs. `name`: its kind, such as `mlflow`."""

    name: str

    async def send(self, run: FinishedRun, *, again: bool) -> None:
        """`again`: the target may have received the run before, or a part. Raises TargetUnavailable, ExportRefused."""


@dataclass(frozen=True, slots=True)
class ExportParts:
    """`max_waiting`: if more runs wait for a target, the oldest are dropped. `every_s`: seconds between polls, and
    `measure_every_s`: between measurements of the backlog.

    `first_pause_s`: after the first failure of a target; the next pauses are longer. `refused_pauses_s`: how long a run
    waits after each refusal; a target may refuse a run only because it has trouble itself.
    """

    exports: Exports
    reader: RunReader
    metrics: ExportMetrics
    max_waiting: int
    every_s: float = 1.0
    measure_every_s: float = 5.0
    first_pause_s: float = 1.0
    refused_pauses_s: Sequence[float] = (2.0, 10.0, 60.0, 300.0)


class Exporter:
    def __init__(self, target: Target, parts: ExportParts) -> None:
        self._target = target
        self._parts = parts
        self._failures = 0
        self._accepted = 0
        self._suspects: dict[UUID, int] = {}
        self._measured_at = -parts.measure_every_s
        parts.metrics.create_series(target.name, failures=FAILURES, drops=DROPS)

    async def run(self) -> NoReturn:
        """Runs until it is cancelled. Another exporter sends what it hadn't finished by then."""
        while True:
            try:
                await self._measure()
                pause = await self._export_batch()
            except TargetUnavailable as error:
                pause = self._pause_after(error)
            except Unavailable as error:
                log.warning("export paused: %s", error.message, extra={"target": self._target.name})
                pause = self._parts.every_s
            await asyncio.sleep(pause)

    async def _export_batch(self) -> float:
        """Sends a few runs. Returns the seconds until the next poll. Raises TargetUnavailable, Unavailable."""
        name, parts = self._target.name, self._parts
        # A single run shows whether the target is available again.
        batch = 1 if self._failures else _BATCH
        waiting = await parts.exports.take(name, batch, lease_s=_LEASE_S)
        outcomes = await asyncio.gather(*(self._export(each) for each in waiting), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        if waiting and self._failures:
            log.info("export resumed", extra={"target": name})
            self._failures = 0
        return 0.0 if len(waiting) == batch else parts.every_s

    async def _export(self, waiting: Waiting) -> None:
        """Raises TargetUnavailable, Unavailable. Any other failure affects only this run."""
        name, parts = self._target.name, self._parts
        started = time.monotonic()
        if waiting.begun > 1:
            facts = {**self._log_fields(waiting), "begun": waiting.begun}
            log.error("the process was killed while it exported a run", extra=facts)
        if waiting.begun > MAX_BEGUN:
            await self._drop(waiting, "killed")
            return
        try:
            await self._send(waiting)
        except TargetUnavailable as error:
            if self._is_to_blame(waiting, error):
                await self._retry_later(waiting, error.reason, error.message)
                return
            parts.metrics.failures.labels(name, error.reason).inc()
            # Other runs go first, because this run itself may be the cause.
            pause = 0.0 if error.nothing_sent else 2.0 * self._pause_s
            await parts.exports.put_back(name, waiting, untouched=error.nothing_sent, pause_s=pause)
            raise
        except asyncio.CancelledError:
            # The process stops. Put back, the run needn't wait for the end of its lease.
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_PUT_BACK_TIMEOUT_S):
                    await parts.exports.put_back(name, waiting, untouched=False)
            raise
        except UnknownRun:
            await self._drop(waiting, "gone")
        except TooLarge as error:
            log.error("a run can't be read: %s", error, extra=self._log_fields(waiting))  # noqa: TRY400  # it says why
            await self._drop(waiting, "too_large")
        except ExportRefused as error:
            await self._retry_later(waiting, "refused", error.message)
        except Unavailable:
            raise
        except Exception:
            # In the worker's loop: a bug must not stop the export of other runs.
            log.exception("export of a run failed: a bug", extra=self._log_fields(waiting))
            await self._retry_later(waiting, "bug", "a bug: see the log")
        finally:
            parts.metrics.duration.labels(name).observe(time.monotonic() - started)

    async def _send(self, waiting: Waiting) -> None:
        name, parts = self._target.name, self._parts
        async with parts.reader.read(waiting.run_id) as run:
            if run is None:
                # The run was retried meanwhile. It waits for export again when it ends.
                await parts.exports.done(name, waiting)
                return
            try:
                async with asyncio.timeout(max(_MIN_SEND_S, _SEND_S_PER_ENTRY * len(run.entries))):
                    await self._target.send(run, again=waiting.again)
            except TimeoutError as error:
                raise TargetUnavailable(name, "sending takes too long", reason="timeout", nothing_sent=False) from error
        self._accepted += 1
        self._suspects.pop(waiting.run_id, None)
        if await parts.exports.done(name, waiting):
            parts.metrics.runs.labels(name).inc()

    def _is_to_blame(self, waiting: Waiting, error: TargetUnavailable) -> bool:
        """Whether the target failed at this run before, and has accepted other runs since."""
        if error.nothing_sent:
            return False
        before = self._suspects.pop(waiting.run_id, None)
        self._suspects[waiting.run_id] = self._accepted
        while len(self._suspects) > _MAX_SUSPECTS:
            del self._suspects[next(iter(self._suspects))]
        return before is not None and before < self._accepted

    async def _retry_later(self, waiting: Waiting, reason: str, why: str) -> None:
        name, parts = self._target.name, self._parts
        parts.metrics.failures.labels(name, reason).inc()
        if waiting.tries + 1 >= MAX_REFUSALS:
            self._suspects.pop(waiting.run_id, None)
            await self._drop(waiting, "refused")
            return
        log.warning("export of a run refused: %s", why, extra={**self._log_fields(waiting), "tries": waiting.tries + 1})
        pauses = parts.refused_pauses_s
        await parts.exports.refused(name, waiting, pause_s=pauses[min(waiting.tries, len(pauses) - 1)])

    async def _drop(self, waiting: Waiting, reason: str) -> None:
        if await self._parts.exports.done(self._target.name, waiting):
            self._parts.metrics.dropped.labels(self._target.name, reason).inc()
            log.warning("run not exported", extra={**self._log_fields(waiting), "reason": reason})

    async def _measure(self) -> None:
        """Updates the backlog's metrics, and drops the oldest runs of a backlog that is too long."""
        if time.monotonic() - self._measured_at < self._parts.measure_every_s:
            return
        name, parts = self._target.name, self._parts
        # Another registry on this database, started without this target, may have removed it.
        await parts.exports.add_targets([name])
        backlog = await parts.exports.backlog(name)
        if backlog.runs > parts.max_waiting:
            dropped = await parts.exports.drop_oldest(name, keep=parts.max_waiting)
            parts.metrics.dropped.labels(name, "backlog").inc(dropped)
            log.warning("export backlog too long: dropped the oldest runs", extra={"target": name, "runs": dropped})
            backlog = await parts.exports.backlog(name)
        parts.metrics.backlog.labels(name).set(backlog.runs)
        parts.metrics.lag.labels(name).set(backlog.lag_s)
        self._measured_at = time.monotonic()

    def _pause_after(self, error: TargetUnavailable) -> float:
        """Seconds to wait before the target is tried again."""
        pause = self._pause_s
        if self._failures == 0:
            log.warning("export paused: %s", error.message, extra={"target": self._target.name})
        self._failures = min(self._failures + 1, 10)
        return max(pause * random.uniform(0.5, 1.0), error.retry_after or 0.0)  # noqa: S311  # not a secret

    @property
    def _pause_s(self) -> float:
        return min(_LONGEST_PAUSE_S, self._parts.first_pause_s * 2.0**self._failures)

    def _log_fields(self, waiting: Waiting) -> dict[str, object]:
        return {"run_id": str(waiting.run_id), "target": self._target.name}
