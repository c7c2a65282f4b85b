"""A run as its page shows it: what the database knows, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias, assert_never
from uuid import UUID

from flowyard.errors.requests import InvalidDocument
from flowyard.language.workflow import END, START, Map, Next, Workflow
from flowyard.runs.entries import StoredEvent, decode_all
from flowyard.runs.events import (
    LoopTurned,
    ModelCalled,
    ModelReserved,
    RetryScheduled,
    RouteTaken,
    RunClaimed,
    RunFinished,
    RunQueued,
    RunStarted,
    RunWaiting,
    StepFailed,
    StepFinished,
    StepId,
    StepStarted,
    Token,
)
from flowyard.runs.run import Entry, Run, Step
from flowyard.storage.rows import CallRow
from flowyard_dashboard.graph.drawing import Line
from flowyard_dashboard.parts import DashboardParts

Look: TypeAlias = Literal["idle", "running", "waiting", "done", "failed", "passed", "skipped"]
"""Of a place in the graph. `passed`: it failed, and the run went on; `skipped`: the run has ended without it."""

MOST_STEPS: Final = 300
MOST_CALLS: Final = 200
MOST_EVENTS: Final = 200
_WINDOW: Final = 1000
"""Events that are looked at, the newest ones: who is at work now has begun not long ago."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """A step that runs now. `tries`: more than 1 if it was tried again."""

    id: StepId
    since: datetime
    tries: int


@dataclass(frozen=True, slots=True)
class Picture:
    """`workflow` None: this version of Flowyard can't read the document. `entries`: the newest, oldest first."""

    run: Run
    workflow: Workflow | None
    steps: Sequence[Step]
    calls: Sequence[CallRow]
    entries: Sequence[Entry]
    at_work: Sequence[AtWork]
    chosen: frozenset[tuple[str, str]]
    """The routes that were taken: a node, and where it led to."""

    @property
    def steps_shown(self) -> Sequence[Step]:
        return self.steps[-MOST_STEPS:]

    @property
    def calls_shown(self) -> Sequence[CallRow]:
        return self.calls[-MOST_CALLS:]

    @property
    def events_shown(self) -> Sequence[Entry]:
        """Newest first."""
        return self.entries[: -MOST_EVENTS - 1 : -1]


async def take_picture(parts: DashboardParts, run_id: UUID, before: Picture | None = None) -> Picture:
    """`before`: what needn't be read again. Raises UnknownRun."""
    control = parts.control
    # First: what is read later may be newer, but never older, and then another event will tell of it.
    run = await control.runs.get(run_id)
    known = before.entries if before is not None else ()
    after = known[-1].seq if known else max(0, run.last_seq - _WINDOW)
    workflow, steps, calls, entries = await asyncio.gather(
        _workflow(parts, run_id, before),
        control.history.steps(run_id),
        control.history.calls(run_id),
        control.history.entries(run_id, after=after, most=_WINDOW),
    )
    shown = [*known, *(entry for entry in entries if entry.seq <= run.last_seq)][-_WINDOW:]
    events = list(decode_all(shown))
    working = at_work(events) if run.status == "running" else ()
    return Picture(run, workflow, steps, calls, shown, working, _chosen(events))


async def _workflow(parts: DashboardParts, run_id: UUID, before: Picture | None) -> Workflow | None:
    """The revision that the run is of."""
    if before is not None:
        return before.workflow
    origin = await parts.control.runs.fork_origin(run_id)
    try:
        return await parts.control.documents.get(origin.workflow, origin.definition, origin.digest)
    except InvalidDocument:
        return None


def at_work(events: Iterable[StoredEvent]) -> list[AtWork]:
    """The steps that have begun and not ended. Whatever happens to the run as a whole ends those begun before."""
    steps: dict[StepId, AtWork] = {}
    for stored in events:
        match event := stored.event:
            case RunQueued() | RunClaimed() | RunWaiting() | RunStarted() | RunFinished():
                steps.clear()
            case StepStarted():
                steps[event.step] = AtWork(event.step, stored.at, 1)
            case RetryScheduled():
                if event.step in steps:
                    steps[event.step] = AtWork(event.step, steps[event.step].since, event.attempt)
            case StepFinished() | StepFailed():
                steps.pop(event.step, None)
            case ModelReserved() | ModelCalled() | Token() | RouteTaken() | LoopTurned():
                pass
            case _:
                assert_never(event)
    return list(steps.values())


def looks(picture: Picture) -> Mapping[str, Look]:
    """Of every place of the workflow."""
    if picture.workflow is None:
        return {}
    ended = not picture.run.is_open
    running = {step.id.node for step in picture.at_work}
    found: dict[str, Look] = dict.fromkeys(
        [START, *picture.workflow.nodes, *picture.workflow.joins, END], "skipped" if ended else "idle"
    )
    for step in picture.steps:
        found[step.node] = _look_of(step)
    found |= dict.fromkeys(running, "running")
    if picture.run.started_at is not None:
        found[START] = "done"
    if picture.run.status == "succeeded":
        found[END] = "done"
    for _, to in picture.chosen:
        if to in picture.workflow.joins:
            found[to] = "done"
    return found


def _look_of(step: Step) -> Look:
    match step.status:
        case "succeeded":
            return "done"
        case "waiting":
            return "waiting"
        case "failed":
            return "failed" if step.handled == "fail" else "passed"
        case _:
            assert_never(step.status)


def is_taken(line: Line, picture: Picture, found: Mapping[str, Look]) -> bool:
    """Whether the run has gone this way, as far as one can tell from what is recorded."""
    if picture.workflow is None:
        return False
    begun = ("done", "failed", "passed", "running", "waiting")
    if line.kind == "error":
        return found[line.source] == "passed" and found[line.target] in begun
    way = picture.workflow.ways.get(line.source)
    if isinstance(way, (Next, Map)):
        return found[line.source] in ("done", "passed") and found[line.target] in begun
    return (line.source, line.target) in picture.chosen


def _chosen(events: Iterable[StoredEvent]) -> frozenset[tuple[str, str]]:
    """The routes that the run has taken, as a node and where it led to."""
    choices = (stored.event for stored in events if isinstance(stored.event, RouteTaken | LoopTurned))
    return frozenset((event.node, event.to) for event in choices)
