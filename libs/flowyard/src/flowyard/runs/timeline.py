"""A run's entries → from when to when it was in which condition. Several may hold at once: steps run in parallel.

Executors have clocks that differ by milliseconds. No entry is taken to be earlier than the one before it, and nothing
lies outside of the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from flowyard.runs.entries import ENDINGS
from flowyard.runs.events import StepId
from flowyard.runs.run import Entry

Condition: TypeAlias = Literal["claimed", "preparing", "model", "tool", "committing", "step", "resting", "waiting"]
"""`claimed`: an executor has the run; `preparing`: it has not begun a step. `resting`: a step, between two tries."""

_CALLS: Final[Mapping[str, Literal["model", "tool"]]] = {"model.called": "model", "tool.called": "tool"}
LOST: Final = frozenset({"executor_lost", "released"})
"""Reasons to take a run from an executor that had long stopped to work on it."""


class Span(NamedTuple):
    start: datetime
    end: datetime


@dataclass(slots=True)
class NodeTimes:
    """Spans may overlap. `calls`: those to models."""

    ids: set[StepId] = field(default_factory=set)
    retries: int = 0
    steps: list[Span] = field(default_factory=list)
    calls: list[Span] = field(default_factory=list)


@dataclass(slots=True)
class _Open:
    """A step at work. `asks`: since when it may be asking a model; None: it has its reply."""

    since: datetime
    asks: datetime | None
    rest: Span | None = None


class Timeline:
    """Of one run, from `began` to `ended`, which is now for one that is still open."""

    def __init__(self, began: datetime, ended: datetime) -> None:
        self.began = began
        self.ended = max(began, ended)
        self.spans: dict[Condition, list[Span]] = defaultdict(list)
        self.nodes: dict[str, NodeTimes] = defaultdict(NodeTimes)
        self._now = self._left = began
        self._claimed: datetime | None = None
        self._preparing = False
        self._waiting = False
        self._over = False
        self._steps: dict[StepId, _Open] = {}

    def read(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            at = self._limited(entry.at)
            self._read(entry, at)
            self._now = at
        self._close()

    def _read(self, entry: Entry, at: datetime) -> None:
        kind, data = entry.type, entry.data
        if kind == "run.started":
            self._claim(at)
        elif kind in ("run.queued", "run.waiting") or kind in ENDINGS:
            self._leave(kind, data, at)
        elif kind == "step.started":
            self._begin(_step_id(data), data.get("commit_s", 0.0), at)
        elif kind == "step.retrying":
            self._rest(_step_id(data), data["delay_s"], at)
        elif kind in ("step.finished", "step.failed"):
            self._end(_step_id(data), at)
        elif kind in _CALLS:
            self._called(_CALLS[kind], data, at)

    # ---- the run

    def _claim(self, at: datetime) -> None:
        if self._claimed is not None:
            self._give_up(at)
        self._pass(at)
        self._claimed, self._preparing = at, True

    def _leave(self, kind: str, data: Mapping[str, Any], at: datetime) -> None:
        # Those who end a run that is somebody else's say why: nobody knows what that one did since its last word.
        was_ended_by_others = kind in ENDINGS and "reason" in data and self._claimed is not None
        if data.get("reason") in LOST or was_ended_by_others:
            self._give_up(at)
        else:
            self._pass(at)
            self._unclaim(at)
        self._left, self._waiting, self._over = at, kind == "run.waiting", kind in ENDINGS

    def _give_up(self, at: datetime) -> None:
        """The executor is gone since its last word, or soon after, and its lease has run out."""
        self._unclaim(self._now)
        self._note("waiting", self._now, at)

    def _pass(self, at: datetime) -> None:
        """What was, between two claims, ends. One that had failed was waiting for somebody to retry it."""
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
        """What is so at the end. An open step that has no reply yet is taken to wait for it."""
        for step, opened in self._steps.items():
            if opened.asks is not None:
                self._call("model", step.node, min(opened.asks, self.ended), self.ended)
        self._unclaim(self.ended)
        if self._over:
            self._note("committing", self._left, self.ended)
            self._note("claimed", self._left, self.ended)
        elif self._waiting:
            self._note("waiting", self._left, self.ended)

    # ---- its steps

    def _begin(self, step: StepId, commit_s: float, at: datetime) -> None:
        if self._claimed is None:  # nothing tells of it, but a step has a claim
            self._claim(at)
        claimed = self._claimed or at
        ready = _before(at, commit_s, claimed)
        if self._preparing:
            self._note("preparing", claimed, ready)
            self._preparing = False
        self._note("committing", ready, at)
        self._end(step, at)
        self._steps[step] = _Open(at, at)
        self.nodes[step.node].ids.add(step)

    def _rest(self, step: StepId, delay_s: float, at: datetime) -> None:
        if (opened := self._steps.get(step)) is not None:
            self.nodes[step.node].retries += 1
            self._rested(opened, at)
            until = self._limited(at + timedelta(seconds=delay_s))
            opened.rest, opened.asks = Span(at, until), until

    def _called(self, condition: Literal["model", "tool"], data: Mapping[str, Any], at: datetime) -> None:
        step = _step_id(data)
        # Without an open step it is a call of a lost executor's, of which only that it was made is known.
        if (opened := self._steps.get(step)) is not None:
            self._call(condition, step.node, _before(at, data["duration_s"], opened.since), at)
            # After a failure a fallback may be asked, at once.
            opened.asks = at if data.get("error") is not None else None

    def _call(self, condition: Literal["model", "tool"], node: str, start: datetime, end: datetime) -> None:
        self._note(condition, start, end)
        if condition == "model":
            self.nodes[node].calls.append(Span(start, end))

    def _end(self, step: StepId, at: datetime) -> None:
        opened = self._steps.pop(step, None)
        if opened is not None:
            self._rested(opened, at)
            self._note("step", opened.since, at)
            self.nodes[step.node].steps.append(Span(opened.since, at))

    def _rested(self, opened: _Open, at: datetime) -> None:
        if opened.rest is not None:
            self._note("resting", opened.rest.start, min(opened.rest.end, at))
            opened.rest = None

    # ---- times

    def _limited(self, at: datetime) -> datetime:
        return min(max(at, self._now), self.ended)

    def _note(self, condition: Condition, start: datetime, end: datetime) -> None:
        if start < end:
            self.spans[condition].append(Span(start, end))


def _before(at: datetime, seconds: float, earliest: datetime) -> datetime:
    return max(at - timedelta(seconds=seconds), earliest)


def _step_id(data: Mapping[str, Any]) -> StepId:
    return StepId(data["node"], data["visit"], data.get("item"))
