"""From a run's events: from when to when it was in which condition. Several may hold at once: steps run in parallel.

Executors have clocks that differ by milliseconds. So each event counts as no earlier than the one before it, and
nothing lies outside of the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeAlias, assert_never

from flowyard.runs import events
from flowyard.runs.entries import StoredEvent
from flowyard.runs.events import Event, Reason, StepId, Token

Condition: TypeAlias = Literal["claimed", "preparing", "model", "tool", "committing", "step", "resting", "waiting"]
"""`claimed`: an executor has the run; `preparing`: it has not begun a step. `resting`: a step, between two tries."""

LOST: Final[frozenset[Reason]] = frozenset({"executor_lost", "released"})
"""Reasons to take a run from an executor that stopped working on it some time before."""


class Interval(NamedTuple):
    """A part of the time of a run."""

    start: datetime
    end: datetime


@dataclass(slots=True)
class NodeIntervals:
    """When steps of a node were at work, and calls of models in flight. Intervals may overlap."""

    ids: set[StepId] = field(default_factory=set)
    retries: int = 0
    steps: list[Interval] = field(default_factory=list)
    calls: list[Interval] = field(default_factory=list)


@dataclass(slots=True)
class _OpenStep:
    """`calls_since`: since when it may be calling a model; None: it has its reply."""

    since: datetime
    calls_since: datetime | None
    rest: Interval | None = None


class Timeline:
    """How one run spent its time. `began`: when it was submitted; `ended`: now for a run that is still open."""

    def __init__(self, began: datetime, ended: datetime) -> None:
        self.began = began
        self.ended = max(began, ended)
        self.intervals: dict[Condition, list[Interval]] = defaultdict(list)
        self.nodes: dict[str, NodeIntervals] = defaultdict(NodeIntervals)
        self._now = self._left = began
        self._claimed: datetime | None = None
        self._preparing = False
        self._waiting = False
        self._over = False
        self._steps: dict[StepId, _OpenStep] = {}

    def read(self, events: Iterable[StoredEvent]) -> None:
        """All events of the run, in order. To be called once."""
        for stored in events:
            at = self._limited(stored.at)
            self._read(stored.event, at)
            self._now = at
        self._close()

    def _read(self, event: Event, at: datetime) -> None:
        match event:
            case events.RunClaimed() | events.RunStarted():
                self._claim(at)
            case events.RunQueued() | events.RunWaiting() | events.RunFinished():
                self._leave(event, at)
            case events.StepStarted():
                self._begin(event.step, event.commit_s, at)
            case events.RetryScheduled():
                self._rest(event.step, event.delay_s, at)
            case events.StepFinished() | events.StepFailed():
                self._end(event.step, at)
            case events.ModelCalled():
                self._called(event, at)
            case events.ToolCalled():
                if (opened := self._steps.get(event.step)) is not None:
                    self._note("tool", _before(at, event.duration_s, opened.since), at)
            case (
                events.RunForked()
                | Token()
                | events.ModelWaiting()
                | events.ModelReserved()
                | events.ToolProgressed()
                | events.CodePrinted()
                | events.RouteTaken()
                | events.LoopTurned()
            ):
                pass
            case _:
                assert_never(event)

    # ---- the run

    def _claim(self, at: datetime) -> None:
        if self._claimed is not None:
            self._give_up(at)
        self._pass(at)
        self._claimed, self._preparing = at, True

    def _leave(self, event: events.RunQueued | events.RunWaiting | events.RunFinished, at: datetime) -> None:
        # When anybody else ends a claimed run, nothing is known of what its executor did after its last event.
        was_ended_by_others = (
            isinstance(event, events.RunFinished) and event.reason is not None and self._claimed is not None
        )
        if event.reason in LOST or was_ended_by_others:
            self._give_up(at)
        else:
            self._pass(at)
            self._unclaim(at)
        self._left, self._waiting, self._over = (
            at,
            isinstance(event, events.RunWaiting),
            isinstance(event, events.RunFinished),
        )

    def _give_up(self, at: datetime) -> None:
        """The executor was lost after its last event. Since then the run waited for its lease to run out."""
        self._unclaim(self._now)
        self._note("waiting", self._now, at)

    def _pass(self, at: datetime) -> None:
        """The time between two claims ends. A failed run was waiting for a retry."""
        if self._claimed is None and (self._waiting or self._over):
            self._note("waiting", self._left, at)
        self._waiting = self._over = False

    def _unclaim(self, at: datetime) -> None:
        if self._claimed is None:
            return
        for step in list(self._steps):
            self._end(step, at)
        if self._preparing:
            self._note("preparing", self._claimed, at)
        self._note("claimed", self._claimed, at)
        self._claimed, self._preparing = None, False

    def _close(self) -> None:
        """Ends what is still open. A step without a reply is taken to wait for one."""
        for step, opened in self._steps.items():
            if opened.calls_since is not None:
                self._note_call(step.node, min(opened.calls_since, self.ended), self.ended)
        self._unclaim(self.ended)
        if self._over:
            self._note("committing", self._left, self.ended)
            self._note("claimed", self._left, self.ended)
        elif self._waiting:
            self._note("waiting", self._left, self.ended)

    # ---- its steps

    def _begin(self, step: StepId, commit_s: float, at: datetime) -> None:
        if self._claimed is None:  # there is no event of the claim, but a step has one
            self._claim(at)
        claimed = self._claimed or at
        ready = _before(at, commit_s, claimed)
        if self._preparing:
            self._note("preparing", claimed, ready)
            self._preparing = False
        self._note("committing", ready, at)
        self._end(step, at)
        self._steps[step] = _OpenStep(at, at)
        self.nodes[step.node].ids.add(step)

    def _rest(self, step: StepId, delay_s: float, at: datetime) -> None:
        if (opened := self._steps.get(step)) is not None:
            self.nodes[step.node].retries += 1
            self._rested(opened, at)
            until = self._limited(at + timedelta(seconds=delay_s))
            opened.rest, opened.calls_since = Interval(at, until), until

    def _called(self, call: events.ModelCalled, at: datetime) -> None:
        # Without an open step it is a call of a lost executor: only that it was made is known.
        if (opened := self._steps.get(call.step)) is not None:
            self._note_call(call.step.node, _before(at, call.duration_s, opened.since), at)
            # After a failure a fallback may be called at once.
            opened.calls_since = at if call.error is not None else None

    def _note_call(self, node: str, start: datetime, end: datetime) -> None:
        self._note("model", start, end)
        self.nodes[node].calls.append(Interval(start, end))

    def _end(self, step: StepId, at: datetime) -> None:
        opened = self._steps.pop(step, None)
        if opened is not None:
            self._rested(opened, at)
            self._note("step", opened.since, at)
            self.nodes[step.node].steps.append(Interval(opened.since, at))

    def _rested(self, opened: _OpenStep, at: datetime) -> None:
        if opened.rest is not None:
            self._note("resting", opened.rest.start, min(opened.rest.end, at))
            opened.rest = None

    # ---- times

    def _limited(self, at: datetime) -> datetime:
        return min(max(at, self._now), self.ended)

    def _note(self, condition: Condition, start: datetime, end: datetime) -> None:
        if start < end:
            self.intervals[condition].append(Interval(start, end))


def _before(at: datetime, seconds: float, earliest: datetime) -> datetime:
    return max(at - timedelta(seconds=seconds), earliest)
