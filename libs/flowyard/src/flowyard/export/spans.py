"""Turns a finished run into a tree of spans: the run, its steps, their model calls. Pure: the same input, the same ids.

Names follow OpenTelemetry's conventions for generative AI (`gen_ai.*`,
https://github.com/open-telemetry/semantic-conventions-genai); all other names begin with `flowyard.`.
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
from flowyard.export.finished_run import FinishedRun
from flowyard.export.known_state import KnownState
from flowyard.export.text import as_json, clean
from flowyard.runs import events
from flowyard.runs.entries import decoded
from flowyard.runs.events import Failure, StepId
from flowyard.runs.run import Entry
from flowyard.runs.timeline import LOST

Value: TypeAlias = str | bool | int | float | tuple[str, ...]
Role: TypeAlias = Literal["run", "queue", "step", "call", "tool"]

MAX_TEXT: Final = 100_000
"""Characters of one value; a longer one is cut off."""
MAX_TEXTS: Final = 8_000_000
"""Characters of all inputs and outputs of a run together; later ones are left out."""
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
class _OpenStep:
    """A step that has begun and not ended."""

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


def spans_of(finished: FinishedRun) -> list[Span]:
    """The run's span, then the others in the order of their ends."""
    tracer = _Tracer(finished)
    for entry in finished.entries:
        tracer.add(entry)
    return [tracer.root(), *tracer.spans]


def ns_of(at: datetime) -> int:
    """Nanoseconds since 1970, as OTLP has times."""
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def cost_attributes(cost: Decimal | None) -> dict[str, Value]:
    """The exact cost, or that it is unknown."""
    return {"flowyard.cost_usd": format(cost, "f")} if cost is not None else {"flowyard.cost": "unknown"}


class _Tracer:
    def __init__(self, finished: FinishedRun) -> None:
        self.spans: list[Span] = []
        self._finished = finished
        self._root_id = self._id("run")
        self._texts = 0
        # First the run's own texts: if there is too much text, these must not be left out.
        self._inputs = self._text(dict(finished.run.inputs))
        self._outputs = self._text(finished.run.outputs) if finished.run.outputs is not None else None
        self._state = KnownState(finished.run, finished.workflow)
        self._open: dict[StepId, _OpenStep] = {}
        self._last: dict[StepId, str] = {}
        self._starts: Counter[StepId] = Counter()
        self._events: list[SpanEvent] = []
        self._last_at = 0
        self._queued: tuple[int, str] | None = None

    def add(self, entry: Entry) -> None:
        event, at = decoded(entry.type, entry.data), ns_of(entry.at)
        match event:
            case events.StepStarted():
                self._begin(event.step, at, event.commit_s)
            case events.RetryScheduled():
                self._add_retry(event, at)
            case events.ModelCalled():
                self._call(event, entry.seq, at)
            case events.ToolCalled():
                self._tool_call(event, entry.seq, at)
            case events.StepFinished():
                self._finish(event, at)
            case events.StepFailed():
                self._state.apply_failure(event.step, event.error, event.handled)
                self._end(event.step, at, {"flowyard.step.handled": event.handled}, failure=event.error)
            case (
                events.ModelWaiting()
                | events.ModelReserved()
                | events.ToolProgressed()
                | events.CodePrinted()
                | events.Token()
            ):
                pass
            case events.RunFinished():
                # If somebody else ended the run, what its executor did after its last event is unknown.
                self._interrupt(at if event.reason is None else self._last_at, event.status, event.status)
                self._leave_queue(at)
                self._add_run_event(entry, at)
            case events.RunQueued():
                self._interrupt(self._last_at if event.reason in LOST else at, "given_back", event.reason)
                self._queued = at, event.reason
                self._add_run_event(entry, at)
            case events.RunWaiting():
                self._interrupt(at, "waiting", event.reason)
                self._add_run_event(entry, at)
            case events.RunClaimed():
                self._leave_queue(at, executor=event.executor)
                self._add_run_event(entry, at)
            case events.RunForked() | events.RunStarted():
                self._add_run_event(entry, at)
            case events.RouteTaken() | events.LoopTurned() | None:
                self._add_run_event(entry, at)
            case _:
                assert_never(event)
        self._last_at = at

    def root(self) -> Span:
        run, end_ns = self._finished.run, ns_of(self._finished.finished_at)
        spending = run.spending
        tokens = {"flowyard.tokens_in": spending.tokens_in, "flowyard.tokens_out": spending.tokens_out}
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": "invoke_workflow",
            # The conventions before 2026 have a workflow's name, the later ones an agent's.
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
            max([end_ns, *(span.end_ns for span in self.spans)]),
            attributes,
            (*self._events, *_exceptions(attributes, error, end_ns)),
            self._inputs,
            self._outputs,
            error,
            (run.forked_from,) if run.forked_from is not None else (),
        )

    def _leave_queue(self, at: int, *, executor: str | None = None) -> None:
        """`executor`: the one that has claimed the run; None: it ended while it was queued."""
        if self._queued is None:
            return
        (queued_at, reason), self._queued = self._queued, None
        attributes: dict[str, Value] = {"flowyard.queue.reason": reason}
        if executor:
            attributes["flowyard.executor"] = clean(executor)
        span_id = self._id(f"queue {queued_at}")
        self.spans.append(Span(span_id, self._root_id, "queue", "queue", queued_at, max(queued_at, at), attributes))

    # ---- steps

    def _begin(self, step: StepId, at: int, commit_s: float) -> None:
        if step in self._open:
            self._end(step, at, {}, failure=Failure("executor_lost", "its executor was lost"))
        self._starts[step] += 1
        span_id = self._id(f"step {step} {self._starts[step]}")
        inputs = self._state.inputs_of(step)
        self._open[step] = _OpenStep(step, span_id, at, self._text(inputs) if inputs is not None else None)
        self._last[step] = span_id
        if commit_s:
            self._open[step].events.append(SpanEvent("step.waited_for_commit", at, {"flowyard.commit_s": commit_s}))

    def _add_retry(self, event: events.RetryScheduled, at: int) -> None:
        attributes: dict[str, Value] = {
            "flowyard.attempt": event.attempt,
            "flowyard.delay_s": event.delay_s,
            "error.type": event.error.code,
            "error.message": clean(event.error.message),
        }
        open_step = self._open.get(event.step)
        (open_step.events if open_step is not None else self._events).append(SpanEvent("step.retrying", at, attributes))

    def _finish(self, event: events.StepFinished, at: int) -> None:
        self._state.apply_outputs(event.step, event.outputs)
        attributes: dict[str, Value] = {"flowyard.model_calls": event.calls, **cost_attributes(event.cost_usd)}
        tokens = {"flowyard.tokens_in": event.tokens_in, "flowyard.tokens_out": event.tokens_out}
        attributes |= {name: number for name, number in tokens.items() if number is not None}
        self._end(event.step, at, attributes, outputs=self._text(dict(event.outputs)) if event.outputs else None)

    def _interrupt(self, at: int, how: str, why: str) -> None:
        """Ends all open steps: under the run's next claim they begin again."""
        for step in list(self._open):
            self._end(step, at, {"flowyard.step.cut_off": how}, failure=None if how == "waiting" else Failure(how, why))

    def _end(
        self,
        step: StepId,
        at: int,
        details: Mapping[str, Value],
        *,
        outputs: str | None = None,
        failure: Failure | None = None,
    ) -> None:
        open_step = self._open.pop(step, None)
        if open_step is None:
            return
        attributes: dict[str, Value] = {**_step_attributes(step), **details}
        error = clean(failure.message) if failure is not None else None
        if failure is not None:
            attributes["error.type"] = failure.code
        end_ns = max(open_step.start_ns, at)
        self.spans.append(
            Span(
                open_step.span_id,
                self._root_id,
                "step",
                f"step {step}",
                open_step.start_ns,
                end_ns,
                attributes,
                (*open_step.events, *_exceptions(attributes, error, end_ns)),
                open_step.inputs,
                outputs,
                error,
            )
        )

    # ---- model calls

    def _call(self, call: events.ModelCalled, seq: int, at: int) -> None:
        open_step = self._open.get(call.step)
        parent = open_step.span_id if open_step is not None else self._last.get(call.step, self._root_id)
        start = at - int(call.duration_s * 1e9)
        workflow = self._finished.workflow
        node = workflow.nodes.get(call.step.node) if workflow is not None else None
        attributes = {**_step_attributes(call.step), **call_attributes(call, node), **cost_attributes(call.cost_usd)}
        request = {"messages": [dict(message) for message in call.messages]} if call.messages is not None else None
        response = {"role": "assistant", "content": call.reply} if call.reply is not None else None
        error = clean(call.error.message) if call.error is not None else None
        self.spans.append(
            Span(
                self._id(f"call {seq}"),
                parent,
                "call",
                clean(f"chat {call.model}"),
                # The times come from two clocks; a call must not begin before its step.
                min(at, max(start, open_step.start_ns)) if open_step is not None else start,
                at,
                attributes,
                _exceptions(attributes, error, at),
                self._text(request) if request is not None else None,
                self._text(response) if response is not None else None,
                error,
            )
        )

    def _tool_call(self, call: events.ToolCalled, seq: int, at: int) -> None:
        """By the conventions of OpenTelemetry. The results are in the model's next request."""
        open_step = self._open.get(call.step)
        parent = open_step.span_id if open_step is not None else self._last.get(call.step, self._root_id)
        tool, start = clean(call.tool), at - int(call.duration_s * 1e9)
        attributes: dict[str, Value] = {
            **_step_attributes(call.step),
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.type": "function",
        }
        error = clean(call.error.message) if call.error is not None else None
        if error is not None:
            attributes["error.type"] = call.outcome
        began = min(at, max(start, open_step.start_ns)) if open_step is not None else start
        failed = _exceptions(attributes, error, at)
        self.spans.append(
            Span(
                self._id(f"tool {seq}"),
                parent,
                "tool",
                f"execute_tool {tool}",
                began,
                at,
                attributes,
                failed,
                error=error,
            )
        )

    # ---- the run

    def _add_run_event(self, entry: Entry, at: int) -> None:
        attributes = {
            f"flowyard.{name}": clean(value) if isinstance(value, str) else value
            for name, value in entry.data.items()
            if isinstance(value, (str, bool, int, float))
        }
        self._events.append(SpanEvent(entry.type, at, attributes))

    def _id(self, what: str) -> str:
        return _span_id(self._finished.run.id, what)

    def _text(self, value: Any) -> str | None:
        if self._texts >= MAX_TEXTS:
            return None
        text = as_json(value, max_length=MAX_TEXT)
        self._texts += len(text)
        return text


def _span_id(run_id: UUID, what: str) -> str:
    return sha256(f"{run_id} {what}".encode()).hexdigest()[:16]


def _exceptions(attributes: Mapping[str, Value], error: str | None, at: int) -> tuple[SpanEvent, ...]:
    """The event by which systems such as MLflow mark a failed span and show why it failed."""
    if error is None:
        return ()
    facts: dict[str, Value] = {"exception.type": attributes["error.type"], "exception.message": error}
    return (SpanEvent("exception", at, facts),)


def _step_attributes(step: StepId) -> dict[str, Value]:
    attributes: dict[str, Value] = {"flowyard.node": step.node, "flowyard.visit": step.visit}
    return attributes if step.item is None else {**attributes, "flowyard.item": step.item}
