"""Which move is due for an open run whose executor is lost, or whose time has come. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from flowyard.runs.events import Failure, Reason
from flowyard.runs.run import State

GRACE: Final = timedelta(seconds=3)
"""How long a run's own executor may take to end the run or a step after its deadline, before others act."""

SUSPECT_AFTER: Final = 2
"""A run that was at work when so many executors were lost is executed alone: it may be the cause."""

DueMove: TypeAlias = Literal["hand_back", "retry", "cancel", "fail"]
"""The moves that anybody but the run's executor may make, and that have to be decided. To wake a run has not."""


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """An open run at one moment. Times are the database's. `lease_until`: None while no executor has the run.

    `step_deadline`: the earliest of its steps at work. `seen`: what its executor has last said of itself.
    """

    status: State
    attempt: int
    max_attempts: int
    cancel_requested: bool
    lease_until: datetime | None
    deadline: datetime | None
    timeout_s: float | None
    step_deadline: datetime | None = None
    seen: str | None = None

    def is_lost(self, now: datetime) -> bool:
        """Whether its executor is gone, or hangs: it hasn't ended a step whose time is over."""
        if self.status != "running":
            return False
        hangs = self.step_deadline is not None and self.step_deadline + GRACE < now
        return self.lease_until is None or self.lease_until < now or hangs


@dataclass(frozen=True, slots=True)
class Due:
    """A move that has to be made. `error`: what a run fails with; None for every other move."""

    move: DueMove
    reason: Reason
    error: Failure | None = None


def due_move(run: RunSnapshot, now: datetime) -> Due | None:
    """The move that anybody has to make now; None: the run's executor is alive, or the run waits its turn."""
    lost = run.is_lost(now)
    if run.cancel_requested and (lost or run.status in ("queued", "waiting")):
        return Due("cancel", "cancelled")
    if run.deadline is not None and run.deadline + (timedelta() if lost else GRACE) < now:
        message = f"the run took longer than its timeout of {run.timeout_s or 0:g} s"
        return Due("fail", "run_timeout", Failure("run_timeout", message))
    if lost and run.attempt >= run.max_attempts:
        message = f"its executor was lost, and it had {run.max_attempts} attempt{'s' * (run.max_attempts != 1)}"
        message += f"; when that was last heard of, {run.seen}" if run.seen else ""
        return Due("fail", "executor_lost", Failure("executor_lost", message))
    if lost:
        return Due("hand_back", "executor_lost")
    return None
