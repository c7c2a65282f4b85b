"""A finished run as a tree of spans: the run, its steps, their model calls. Pure, and the same each time.

Names follow OpenTelemetry's conventions for generative AI (`gen_ai.*`,
https://github.com/open-telemetry/semantic-conventions-genai); what they have no name for is called `flowyard.*`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias, assert_never
from uuid import UUID

from flowyard.export.calls import call_attributes
from flowyard.export.known import KnownState
from flowyard.export.text import as_json, clean
from flowyard.export.told import Told
from flowyard.runs.entries import decoded
from flowyard.runs.events import (
    Failure,
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
from flowyard.runs.run import Entry
from flowyard.runs.timeline import LOST

Value: TypeAlias = str | bool | int | float
Role: TypeAlias = Literal["run", "step", "call"]

MOST_TEXT: Final = 100_000
"""Characters of one value; of a longer one the beginning is told."""
MOST_TEXTS: Final = 8_000_000
"""Characters of all inputs and outputs of a run together; what comes after them is left out."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SpanEvent:
    name: str
    at_ns: int
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Span:
    """`span_id`, `parent_id`: 16 hex digits. `inputs`, `outputs`: JSON; None: not known. `error`: why it failed."""

    span_id: str
    parent_id: str | None
    role: Role
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    events: Sequence[SpanEvent] = ()
    inputs: str | None = None
    outputs: str | None = None
    error: str | None = None
    linked_runs: Sequence[UUID] = ()


@dataclass(slots=True)
class _Open:
    """A step at work."""

    step: StepId
    span_id: str
    start_ns: int
    inputs: str | None
    events: list[SpanEvent] = field(default_factory=list)


def trace_id(run_id: UUID) -> str:
    """32 hex digits: the run's id without its dashes."""
    return run_id.hex


def run_span_id(run_id: UUID) -> str:
    return _span_id(run_id, "run")


def spans_of(told: Told) -> list[Span]:
    """The run's span first, then the others as they ended."""
    tracer = _Tracer(told)
    for entry in told.entries:
        tracer.add(entry)
    return [tracer.root(), *tracer.spans]


def ns_of(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def cost_attributes(cost: Decimal | None) -> dict[str, Value]:
    """To the last digit. Unknown isn't zero."""
    return {"flowyard.cost_usd": format(cost, "f")} if cost is not None else {"flowyard.cost": "unknown"}


class _Tracer:
    def __init__(self, told: Told) -> None:
        self.spans: list[Span] = []
        self._told = told
        self._root_id = self._id("run")
        self._texts = 0
        # The run's own come first: they count most.
        self._inputs = self._text(dict(told.run.inputs))
        self._outputs = self._text(told.run.outputs) if told.run.outputs is not None else None
        self._state = KnownState(told.run, told.workflow)
        self._open: dict[StepId, _Open] = {}
        self._last: dict[StepId, str] = {}
        self._begun: Counter[StepId] = Counter()
        self._events: list[SpanEvent] = []
        self._last_at = 0

    def add(self, entry: Entry) -> None:
        event, at = decoded(entry.type, entry.data), ns_of(entry.at)
        match event:
            case StepStarted():
                self._begin(event.step, at, event.commit_s)
            case RetryScheduled():
                self._note_retry(event, at)
            case ModelCalled():
                self._call(event, entry.seq, at)
            case StepFinished():
                self._finish(event, at)
            case StepFailed():
                self._state.failed(event.step, event.error, event.handled)
                self._end(event.step, at, {"flowyard.step.handled": event.handled}, failure=event.error)
            case ModelReserved() | Token():
                pass
            case RunFinished():
                # When anybody else ends a run, nothing is known of what its executor did after its last event.
                self._cut_off(at if event.reason is None else self._last_at, event.status, event.status)
                self._note(entry, at)
            case RunQueued():
                self._cut_off(self._last_at if event.reason in LOST else at, "given_back", event.reason)
                self._note(entry, at)
            case RunWaiting():
                self._cut_off(at, "waiting", event.reason)
                self._note(entry, at)
            case RunClaimed() | RunStarted() | RouteTaken() | LoopTurned() | None:
                self._note(entry, at)
            case _:
                assert_never(event)
        self._last_at = at

    def root(self) -> Span:
        run, finished = self._told.run, ns_of(self._told.finished_at)
        spending = run.spending
        tokens = {"flowyard.tokens_in": spending.tokens_in, "flowyard.tokens_out": spending.tokens_out}
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": "invoke_workflow",
            # Conventions before 2026 call it a workflow's name, those since then an agent's.
            "gen_ai.workflow.name": run.workflow,
            "gen_ai.agent.name": run.workflow,
            "flowyard.run_id": str(run.id),
            "flowyard.workflow": run.workflow,
            "flowyard.revision": run.revision,
            "flowyard.digest": run.digest,
            "flowyard.status": run.status,
            "flowyard.model_calls": spending.calls,
            **{name: number for name, number in tokens.items() if number is not None},
            **cost_attributes(spending.cost_usd),
        }
        error = None
        if run.status != "succeeded":
            attributes["error.type"] = run.error.code if run.error is not None else run.status
            error = clean(run.error.message) if run.error is not None else run.status
        return Span(
            self._root_id,
            None,
            "run",
            f"invoke_workflow {run.workflow}",
            ns_of(run.created_at),
            max([finished, *(span.end_ns for span in self.spans)]),
            attributes,
            tuple(self._events),
            self._inputs,
            self._outputs,
            error,
            (run.forked_from,) if run.forked_from is not None else (),
        )

    # ---- steps

    def _begin(self, step: StepId, at: int, commit_s: float) -> None:
        if step in self._open:
            self._end(step, at, {}, failure=Failure("executor_lost", "its executor was lost"))
        self._begun[step] += 1
        span_id = self._id(f"step {step} {self._begun[step]}")
        given = self._state.given_to(step)
        self._open[step] = _Open(step, span_id, at, self._text(given) if given is not None else None)
        self._last[step] = span_id
        if commit_s:
            self._open[step].events.append(SpanEvent("step.waited_for_commit", at, {"flowyard.commit_s": commit_s}))

    def _note_retry(self, event: RetryScheduled, at: int) -> None:
        told: dict[str, Value] = {
            "flowyard.attempt": event.attempt,
            "flowyard.delay_s": event.delay_s,
            "error.type": event.error.code,
            "error.message": clean(event.error.message),
        }
        at_work = self._open.get(event.step)
        (at_work.events if at_work is not None else self._events).append(SpanEvent("step.retrying", at, told))

    def _finish(self, event: StepFinished, at: int) -> None:
        self._state.ended(event.step, event.outputs)
        told: dict[str, Value] = {"flowyard.model_calls": event.calls, **cost_attributes(event.cost_usd)}
        tokens = {"flowyard.tokens_in": event.tokens_in, "flowyard.tokens_out": event.tokens_out}
        told |= {name: number for name, number in tokens.items() if number is not None}
        self._end(event.step, at, told, outputs=self._text(dict(event.outputs)) if event.outputs else None)

    def _cut_off(self, at: int, how: str, why: str) -> None:
        """Steps at work end where their claim ends: under the next one they begin once more."""
        for step in list(self._open):
            self._end(step, at, {"flowyard.step.cut_off": how}, failure=None if how == "waiting" else Failure(how, why))

    def _end(
        self,
        step: StepId,
        at: int,
        told: Mapping[str, Value],
        *,
        outputs: str | None = None,
        failure: Failure | None = None,
    ) -> None:
        began = self._open.pop(step, None)
        if began is None:
            return
        attributes: dict[str, Value] = {**_of_step(step), **told}
        if failure is not None:
            attributes["error.type"] = failure.code
        self.spans.append(
            Span(
                began.span_id,
                self._root_id,
                "step",
                f"step {step}",
                began.start_ns,
                max(began.start_ns, at),
                attributes,
                tuple(began.events),
                began.inputs,
                outputs,
                clean(failure.message) if failure is not None else None,
            )
        )

    # ---- model calls

    def _call(self, call: ModelCalled, seq: int, at: int) -> None:
        began = self._open.get(call.step)
        parent = began.span_id if began is not None else self._last.get(call.step, self._root_id)
        start = at - int(call.duration_s * 1e9)
        workflow = self._told.workflow
        node = workflow.nodes.get(call.step.node) if workflow is not None else None
        attributes = {**_of_step(call.step), **call_attributes(call, node), **cost_attributes(call.cost_usd)}
        asked = {"messages": [dict(message) for message in call.messages]} if call.messages is not None else None
        replied = {"role": "assistant", "content": call.reply} if call.reply is not None else None
        self.spans.append(
            Span(
                self._id(f"call {seq}"),
                parent,
                "call",
                clean(f"chat {call.model}"),
                # Two clocks are read: a call doesn't begin before its step.
                min(at, max(start, began.start_ns)) if began is not None else start,
                at,
                attributes,
                (),
                self._text(asked) if asked is not None else None,
                self._text(replied) if replied is not None else None,
                clean(call.error.message) if call.error is not None else None,
            )
        )

    # ---- the run

    def _note(self, entry: Entry, at: int) -> None:
        told = {
            f"flowyard.{name}": clean(value) if isinstance(value, str) else value
            for name, value in entry.data.items()
            if isinstance(value, (str, bool, int, float))
        }
        self._events.append(SpanEvent(entry.type, at, told))

    def _id(self, what: str) -> str:
        return _span_id(self._told.run.id, what)

    def _text(self, value: Any) -> str | None:
        if self._texts >= MOST_TEXTS:
            return None
        text = as_json(value, most=MOST_TEXT)
        self._texts += len(text)
        return text


def _span_id(run_id: UUID, what: str) -> str:
    return sha256(f"{run_id} {what}".encode()).hexdigest()[:16]


def _of_step(step: StepId) -> dict[str, Value]:
    told: dict[str, Value] = {"flowyard.node": step.node, "flowyard.visit": step.visit}
    return told if step.item is None else {**told, "flowyard.item": step.item}
