"""What becomes of an open run that its executor doesn't look after any more. Pure: a run and a time → what is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from flowyard.runs.events import Failure
from flowyard.runs.run import Move, State

GRACE: Final = timedelta(seconds=3)
"""How long a run's own executor has to notice that the run's time is over, before others end it."""


@dataclass(frozen=True, slots=True)
class Held:
    """What decides over an open run. Times are the database's. `lease_until` is None while nobody has it."""

    status: State
    attempt: int
    max_attempts: int
    cancel_requested: bool
    lease_until: datetime | None
    wake_at: datetime | None
    deadline: datetime | None
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class Due:
    """A move that is due, why, and the error that the run ends with, if it does."""

    move: Move
    reason: str
    error: Failure | None = None


def due_move(run: Held, now: datetime) -> Due | None:
    """What has to happen to a run now, whoever sees it; None: it is being looked after."""
    lost = run.status == "running" and (run.lease_until is None or run.lease_until < now)
    if run.cancel_requested and (lost or run.status in ("queued", "waiting")):
        return Due("cancel", "cancelled")
    if run.deadline is not None and run.deadline + (timedelta() if lost else GRACE) < now:
        message = f"the run took longer than its timeout of {run.timeout_s or 0:g} s"
        return Due("fail", "run_timeout", Failure("run_timeout", message))
    if lost and run.attempt >= run.max_attempts:
        message = f"its executor was lost, and it had {run.max_attempts} attempt{'s' * (run.max_attempts != 1)}"
        return Due("fail", "executor_lost", Failure("executor_lost", message))
    if lost:
        return Due("hand_back", "executor_lost")
    if run.status == "waiting" and run.wake_at is not None and run.wake_at <= now:
        return Due("wake", "woken")
    return None
