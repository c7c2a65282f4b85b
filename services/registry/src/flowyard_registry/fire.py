"""What becomes of the fires of one schedule that are due: a run, or a row that says why not."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from flowyard.control.secret_inputs import new_inputs
from flowyard.errors.requests import InvalidInputs
from flowyard.errors.steps import EvaluationError
from flowyard.ids import uuid7
from flowyard.language.mapping import Event, map_event
from flowyard.language.triggers import Timed
from flowyard.language.workflow import Workflow
from flowyard.runs.deliveries import Outcome
from flowyard.runs.run import NewRun
from flowyard.schedules.due import ON_TIME, Schedule, due_fires, start_of
from flowyard.schedules.facts import fire_facts
from flowyard.schedules.fires import next_fires
from flowyard.storage.fires import FireRow, LockedSchedule, WaitingFire
from flowyard.storage.moves import Moved
from flowyard.storage.runs import PlainRun
from flowyard.storage.triggers import StoredTrigger
from flowyard_registry.parts import RegistryParts

MOST_OPEN: Final = 100
"""Runs of one schedule with `overlap: allow` that may be open; other fires wait."""
MOST_WAITING: Final = 1000
"""Fires of one schedule that may wait; further ones are skipped."""
_LOOK_AGAIN: Final = timedelta(seconds=0.5)
"""How soon it is noticed that a run has ended for which fires wait."""
_NEVER: Final = timedelta(days=1)
_LONGEST_REASON: Final = 1000


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a fire. `run_id`: that it has started."""

    at: datetime
    outcome: Outcome
    reason: str | None = None
    run_id: UUID | None = None


@dataclass(slots=True)
class FiredSchedule:
    """To be announced once it is on disk. `lags_s`: of fires that were started on time."""

    rows: list[Recorded] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    cancelled: list[Moved] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _NoRun:
    """Why a fire starts none."""

    outcome: Outcome
    reason: str | None = None


async def fire_schedule(parts: RegistryParts, trigger: StoredTrigger) -> FiredSchedule | None:
    """Handles what is due, in one transaction. None: another registry has done so, or the schedule isn't live any more.

    Raises Unavailable, InvalidDocument.
    """
    workflow = await parts.scheduled.get(trigger.workflow, trigger.definition, trigger.digest)
    async with parts.fires.locked(trigger) as locked:
        if locked is None:
            return None
        return await _Firing(trigger, workflow, locked).handle()


def timed_of(workflow: Workflow, name: str) -> Timed:
    """Of a trigger whose row has a rule."""
    source = workflow.triggers[name].source
    if not isinstance(source, Timed):
        raise TypeError(f"the trigger {workflow.name}/{name} is no schedule")
    return source


def schedule_of(trigger: StoredTrigger, timed: Timed) -> Schedule:
    return Schedule(
        id=f"{trigger.workflow}/{trigger.name}",
        rule=timed.rule,
        jitter=timedelta(seconds=timed.jitter_s),
        catch_up=timed.catch_up,
        window=timedelta(seconds=timed.window_s),
    )


def new_fire_id(now: datetime, *, place: int = 0) -> UUID:
    """`now`: the database's, so that ids are in the order of time whatever the clock of this machine says.

    `place`: among up to 16,384 ids of the same moment, so that they are in their order, too.
    """
    # Of ten bytes, the first twelve bits and the last 62 are used: here the last 48 are random.
    bits = place << 48 | secrets.randbits(48)
    return uuid7(int(now.timestamp() * 1000), bits.to_bytes(10, "big"))


class _Firing:
    def __init__(self, trigger: StoredTrigger, workflow: Workflow, locked: LockedSchedule) -> None:
        self._trigger = trigger
        self._workflow = workflow
        self._locked = locked
        self._fired = FiredSchedule()
        self._timed = timed_of(workflow, trigger.name)
        self._schedule = schedule_of(trigger, self._timed)

    async def handle(self) -> FiredSchedule:
        locked = self._locked
        due = due_fires(self._schedule, handled=locked.handled_at, now=locked.now)
        waiting = await self._start_waiting()
        if due.skipped_since is not None:
            reason = f"missed; so are later ones up to {due.handled.isoformat()} that have no row"
            await self._add(due.skipped_since, _NoRun("skipped", reason))
        for at in due.fires:
            waiting += await self._fire(at, waiting)
        following = next_fires(self._schedule.rule, due.handled, 1)
        due_at = start_of(self._schedule, following[0]) if following else locked.now + _NEVER
        if waiting:
            due_at = min(due_at, locked.now + _LOOK_AGAIN)
        await locked.save(handled_at=due.handled, due_at=due_at)
        return self._fired

    @property
    def _room(self) -> int:
        most = MOST_OPEN if self._timed.overlap == "allow" else 1
        return most - len(self._locked.open_runs)

    async def _start_waiting(self) -> int:
        """Starts waiting fires while there is room, and returns how many wait still, up to MOST_WAITING."""
        fires = await self._locked.waiting(MOST_WAITING)
        for place, fire in enumerate(fires):
            if self._room <= 0:
                return len(fires) - place
            await self._settle(fire)
        return 0

    async def _settle(self, fire: WaitingFire) -> None:
        made = self._run_of(fire.facts)
        if isinstance(made, _NoRun):
            await self._locked.settle(fire, made.outcome, made.reason)
            self._fired.rows.append(Recorded(fire.at, made.outcome, made.reason))
        else:
            await self._locked.settle(fire, "started", None, made)
            self._fired.rows.append(Recorded(fire.at, "started", None, made.id))

    async def _fire(self, at: datetime, waiting: int) -> int:
        """Returns 1 if the fire waits now, else 0."""
        facts = fire_facts(self._schedule.rule, at, number=self._locked.fires + 1)
        late = self._locked.now - start_of(self._schedule, at)
        made = self._run_of(facts)
        if not isinstance(made, _NoRun):
            made = await self._overlapped(made, waiting, is_late=late >= ON_TIME)
        await self._add(at, made, facts)
        if isinstance(made, _NoRun):
            return int(made.outcome == "waiting")
        if late < ON_TIME:
            self._fired.lags_s.append(late.total_seconds())
        return 0

    async def _overlapped(self, run: NewRun, waiting: int, *, is_late: bool) -> NewRun | _NoRun:
        """The run, if it may start beside those that are open."""
        overlap = self._timed.overlap
        if self._timed.catch_up == "all" and is_late and overlap != "allow":
            # What is caught up comes one after the other: else one run would stand for all of them.
            overlap = "queue"
        match overlap:
            case "skip" if self._locked.open_runs:
                return _NoRun("skipped", f"the run {self._locked.open_runs[0]} of an earlier fire was open")
            case "cancel_previous":
                self._fired.cancelled += await self._locked.cancel_open_runs()
            case "queue" | "allow" if waiting >= MOST_WAITING:
                return _NoRun("skipped", f"{MOST_WAITING:,} fires were waiting")
            case "queue" | "allow" if self._room <= 0 or waiting:
                return _NoRun("waiting")
            case _:
                pass
        return run

    async def _add(self, at: datetime, made: NewRun | _NoRun, facts: dict[str, Any] | None = None) -> None:
        facts = facts or fire_facts(self._schedule.rule, at, number=self._locked.fires + 1)
        run = made if isinstance(made, NewRun) else None
        none = made if isinstance(made, _NoRun) else _NoRun("started")
        row = FireRow(id=new_fire_id(self._locked.now), at=at, facts=facts, outcome=none.outcome, reason=none.reason)
        if await self._locked.add(row, run):
            self._fired.rows.append(Recorded(at, none.outcome, none.reason, run.id if run is not None else None))

    def _run_of(self, facts: Any) -> NewRun | _NoRun:
        """The run that a fire starts, as its trigger says."""
        try:
            mapped = map_event(self._workflow.triggers[self._trigger.name], Event(fire=facts))
            if mapped is None:
                return _NoRun("unmatched")
            run = self._run(new_inputs(self._workflow, mapped))
            # What JSON can't hold, such as infinity, is found now, and not when the fires of others are stored, too.
            PlainRun.of(run)
        except (EvaluationError, InvalidInputs) as error:
            return _NoRun("failed", error.message[:_LONGEST_REASON])
        return run

    def _run(self, inputs: Mapping[str, Any]) -> NewRun:
        execution = self._workflow.execution
        return NewRun(
            id=new_fire_id(self._locked.now),
            workflow=self._trigger.workflow,
            revision=self._trigger.revision,
            definition=self._trigger.definition,
            inputs=inputs,
            priority=execution.priority,
            max_attempts=execution.max_attempts,
            timeout_s=execution.timeout,
            on_finish=self._workflow.on_finish,
        )
