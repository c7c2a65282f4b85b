"""Reads everything that a run's page shows from the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, assert_never
from uuid import UUID

from flowyard.errors.requests import InvalidDocument
from flowyard.language.workflow import END, START, Map, Next, Workflow
from flowyard.runs import events
from flowyard.runs.entries import StoredEvent, decode_all, without_texts
from flowyard.runs.run import Entry, Run, Step
from flowyard.storage.rows import CallRow
from flowyard.web.pages.graph.drawing import EdgeLine
from flowyard.web.pages.graph.edges import vertices
from flowyard_dashboard.parts import DashboardParts

NodeState: TypeAlias = Literal["idle", "running", "waiting", "done", "failed", "passed", "skipped"]
"""The state of a node in the graph. `passed`: failed, but the run continued; `skipped`: not reached by the end."""

MAX_STEPS: Final = 300
MAX_CALLS: Final = 200
MAX_EVENTS: Final = 200
_MAX_OUTPUTS: Final = 500_000
"""Bytes of outputs that are shown with the steps at once. The page loads others when the user asks for them."""
_WINDOW: Final = 1000
"""The number of newest events that are read: a running step has begun within them."""


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A run's details. `workflow`: None if this version of Flowyard can't read the document.

    `calls_with_texts`: the numbers of calls of which it is kept what was said. `entries`: the newest events, oldest
    first.
    """

    run: Run
    workflow: Workflow | None
    steps: Sequence[Step]
    calls: Sequence[CallRow]
    calls_with_texts: frozenset[int]
    entries: Sequence[Entry]
    taken_routes: frozenset[tuple[str, str]]
    """The routes that the run has taken, as node and target."""

    @property
    def shown_steps(self) -> Sequence[Step]:
        """Those that are at work come last."""
        return sorted(self.steps[-MAX_STEPS:], key=lambda step: step.status == "running")

    @property
    def shown_calls(self) -> Sequence[CallRow]:
        return self.calls[-MAX_CALLS:]

    @property
    def shown_events(self) -> Sequence[Entry]:
        """Newest first."""
        return self.entries[: -MAX_EVENTS - 1 : -1]


async def read_details(parts: DashboardParts, run_id: UUID, previous: RunDetails | None = None) -> RunDetails:
    """The details of a run. `previous`: what was read before, so that only newer events are read. Raises UnknownRun."""
    control = parts.control
    # The run first: the rest may be newer than the run, and then a later event updates the page.
    run = await control.runs.get(run_id)
    previous_entries = previous.entries if previous is not None else ()
    after = previous_entries[-1].seq if previous_entries else max(0, run.last_seq - _WINDOW)
    workflow, steps, calls, with_texts, entries = await asyncio.gather(
        _workflow(parts, run_id, previous),
        control.history.steps(run_id, most_bytes=_MAX_OUTPUTS),
        control.history.calls(run_id),
        control.history.with_texts(run_id),
        _entries(parts, run_id, after, run.last_seq),
    )
    newest = [*previous_entries, *entries][-_WINDOW:]
    return RunDetails(run, workflow, steps, calls, with_texts, newest, _taken_routes(decode_all(newest)))


async def _entries(parts: DashboardParts, run_id: UUID, after: int, to: int) -> list[Entry]:
    """Events with greater numbers than `after`, up to `to`, without outputs: the steps have these."""
    entries: list[Entry] = []
    more = True
    while more and len(entries) < _WINDOW:
        page, more = await parts.control.history.page(run_id, after=after, most=_WINDOW)
        entries += [without_texts(entry) for entry in page if entry.seq <= to]
        after = page[-1].seq if page else to
    return entries


async def _workflow(parts: DashboardParts, run_id: UUID, previous: RunDetails | None) -> Workflow | None:
    """The workflow of the run's revision."""
    if previous is not None:
        return previous.workflow
    origin = await parts.control.runs.fork_origin(run_id)
    try:
        return await parts.control.documents.get(origin.workflow, origin.definition, origin.digest)
    except InvalidDocument:
        return None


def node_states(details: RunDetails) -> Mapping[str, NodeState]:
    """The state of each node and join, START and END."""
    if details.workflow is None:
        return {}
    ended = not details.run.is_open
    states: dict[str, NodeState] = dict.fromkeys(vertices(details.workflow), "skipped" if ended else "idle")
    for step in details.shown_steps:
        states[step.node] = _state_of(step, ended=ended)
    if details.run.started_at is not None:
        states[START] = "done"
    if details.run.status == "succeeded":
        states[END] = "done"
    for _, to in details.taken_routes:
        if to in details.workflow.joins:
            states[to] = "done"
    return states


def _state_of(step: Step, *, ended: bool) -> NodeState:
    match step.status:
        case "succeeded":
            return "done"
        case "waiting" | "running":
            return step.status
        case "interrupted" | "retrying":
            return "failed" if ended else "waiting"
        case "failed":
            return "failed" if step.handled == "fail" else "passed"
        case _:
            assert_never(step.status)


def is_followed(line: EdgeLine, details: RunDetails, states: Mapping[str, NodeState]) -> bool:
    """Whether the run has followed an edge of the graph, as far as its events show."""
    if details.workflow is None:
        return False
    begun = ("done", "failed", "passed", "running", "waiting")
    if line.kind == "error":
        return states[line.source] == "passed" and states[line.target] in begun
    transition = details.workflow.transitions.get(line.source)
    if isinstance(transition, (Next, Map)):
        return states[line.source] in ("done", "passed") and states[line.target] in begun
    return (line.source, line.target) in details.taken_routes


def _taken_routes(stored_events: Iterable[StoredEvent]) -> frozenset[tuple[str, str]]:
    """The routes that the run has taken, as node and target."""
    choices = (
        stored.event for stored in stored_events if isinstance(stored.event, events.RouteTaken | events.LoopTurned)
    )
    return frozenset((event.node, event.to) for event in choices)
