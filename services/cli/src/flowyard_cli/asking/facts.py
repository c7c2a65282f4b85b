"""Gathers the facts about a run. All of them come from the API, where secrets are masked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from flowyard.api.client import Client
from flowyard.api.history import CallView, EventView, StepView
from flowyard.api.refusals import Refused
from flowyard.api.runs import FailureView, RunView
from flowyard.errors.requests import UnknownRevision, UnknownWorkflow
from flowyard.runs.events import StepId
from flowyard_cli.asking.documents import document_facts, limits_fact, workflow_of
from flowyard_cli.asking.sources import MOST_BYTES, Fact, NumberedFacts, chosen, facts_in
from flowyard_cli.grammar import StackArgs
from flowyard_cli.remote.stack import again
from flowyard_cli.show.format import UNKNOWN, count, seconds

_MOST_VALUE: Final = 1_500
"""Characters of one input or output of the run, or of a reply that didn't fit."""
_MOST_OF_A_STEP: Final = 600
_READ: Final = 5_000
"""Events that are read of a run at most: its first ones and its last ones."""
_FIRST: Final = 500
_FAILURES: Final = frozenset({"step.failed", "step.retrying", "run.failed", "run.cancelled", "model.waiting"})
_ENDED_BY_OTHERS: Final = frozenset({"executor_lost", "run_timeout", "cancelled"})
_TWICE: Final = frozenset({"model.called", "model.reserved"})
_CHOICES: Final = frozenset({"route.taken", "loop.turned", "run.forked", "run.waiting"})


def gather(client: Client, args: StackArgs, run: RunView, *, most_bytes: int = MOST_BYTES) -> NumberedFacts:
    """The facts about a run in at most so many bytes. Raises what Client raises."""
    events, unread = _events(client, run)
    facts = [
        _run_fact(args, run),
        *_of_document(client, args, run),
        *(_step_fact(args, run, step) for step in client.steps(run.id)),
        *(_call_fact(args, run, number, call) for number, call in enumerate(client.calls(run.id), start=1)),
        *_event_facts(args, run, events),
    ]
    unread += ["the prompts and replies of its model calls"] if run.spending.calls else []
    return chosen(facts, most_bytes=most_bytes, unread=unread)


def _events(client: Client, run: RunView) -> tuple[list[EventView], list[str]]:
    if run.last_seq <= _READ:
        return list(client.events(run.id)), []
    first = list(islice(client.events(run.id), _FIRST))
    last = list(client.events(run.id, after=run.last_seq - (_READ - _FIRST)))
    return [*first, *last], [f"events {_FIRST + 1:,} to {last[0].seq - 1:,}"]


def _of_document(client: Client, args: StackArgs, run: RunView) -> Iterator[Fact]:
    show = again(args, "workflows", "show", run.workflow, "--document", "--revision", run.revision)
    text = _document(client, run)
    if text is None:
        lines = [f"the document of revision {run.revision} isn't there any more: its workflow was deleted"]
        yield Fact(title="document", lines=lines, where=show, kind="document", rank=(0, 0))
        return
    if (workflow := workflow_of(text)) is not None:
        yield limits_fact(run, workflow, show=show)
    yield from document_facts(run, text, show=show)


def _document(client: Client, run: RunView) -> str | None:
    """None: the workflow was deleted. Another one may have its name."""
    try:
        revision = client.revision(run.workflow, run.revision)
    except Refused as error:
        if error.code not in (UnknownWorkflow.code, UnknownRevision.code):
            raise
        return None
    return revision.document if revision.digest == run.digest else None


def _run_fact(args: StackArgs, run: RunView) -> Fact:
    spent = run.spending
    pairs = [
        ("id", str(run.id)),
        ("workflow", f"{run.workflow}, revision {run.revision}"),
        ("status", run.status),
        ("cancellation", "requested" if run.cancel_requested else None),
        *_failure(run.error),
        ("created", str(run.created_at)),
        ("started", _after(run, run.started_at)),
        ("finished", _after(run, run.finished_at)),
        ("waits until", str(run.wake_at) if run.wake_at is not None else None),
        ("executors were at work for", seconds(run.worked_s)),
        ("attempt", run.attempt),
        ("number of its last event", run.last_seq),
        ("model calls", spent.calls),
        ("tokens", f"{count(spent.tokens_in)} in, {count(spent.tokens_out)} out"),
        ("cost in US dollars", spent.cost_usd if spent.cost_usd is not None else UNKNOWN),
        ("fork of run", str(run.forked_from) if run.forked_from is not None else None),
        *((f"input {name}", value) for name, value in run.inputs.items()),
        *((f"output {name}", value) for name, value in (run.outputs or {}).items()),
        *((f"output {name}", f"{size:,} bytes, left out") for name, size in run.large_outputs.items()),
    ]
    return Fact(
        title="the run",
        lines=facts_in(pairs, most=_MOST_VALUE),
        where=again(args, "runs", "show", run.id),
        kind="list of the run's values",
        rank=(0, 0),
    )


def _failure(error: FailureView | None) -> list[tuple[str, str | None]]:
    if error is None:
        return []
    what = ("error", f"{error.message} [{error.code}]")
    return [what, ("of node", error.node), ("the reply that couldn't be used", error.reply)]


def _step_fact(args: StackArgs, run: RunView, step: StepView) -> Fact:
    name = StepId(step.node, step.visit, step.item)
    outputs = step.outputs or {}
    large = f"{step.outputs_bytes:,} bytes" if step.outputs_bytes is not None else None
    progress = step.progress
    pairs = [
        ("started", _after(run, step.started_at)),
        ("took", seconds(step.duration_s) if step.duration_s is not None else None),
        ("tries", step.tries),
        ("deadline", _after(run, step.deadline)),
        ("next try", _after(run, step.wake_at)),
        ("items", f"{progress.items}, done {progress.done}, failed {progress.failed}" if progress else None),
        *_failure(step.error),
        ("after its failure the run did", step.handled),
        ("outputs, left out", large),
        *((f"output {output}", value) for output, value in outputs.items()),
    ]
    return Fact(
        title=f"step {name}: {step.status}",
        lines=facts_in(pairs, most=_MOST_OF_A_STEP),
        where=again(args, "runs", "show", run.id),
        kind="step",
        rank=(1, min(step.seq, run.last_seq - step.seq)) if step.error is not None else (3, -step.seq),
    )


def _call_fact(args: StackArgs, run: RunView, number: int, call: CallView) -> Fact:
    name = StepId(call.node, call.visit, call.item)
    pairs = [
        ("ended", _after(run, call.at)),
        ("took", seconds(call.duration_s)),
        ("first token after", seconds(call.first_token_s) if call.first_token_s is not None else None),
        ("tokens", f"{count(call.tokens_in)} in, {count(call.tokens_out)} out"),
        ("cost in US dollars", call.cost_usd if call.cost_usd is not None else UNKNOWN),
        ("error", call.error),
        ("tries of its step before", call.retries or None),
    ]
    return Fact(
        title=f"model call {number}, of step {name}: {call.provider}/{call.model}",
        lines=[", ".join(facts_in(pairs, most=_MOST_OF_A_STEP))],
        where=again(args, "runs", "show", run.id, "--calls"),
        kind="model call",
        rank=(1 if call.error is not None else 3, -call.seq),
    )


def _event_facts(args: StackArgs, run: RunView, events: Sequence[EventView]) -> Iterator[Fact]:
    for event in events:
        # Calls and outputs are facts of their own.
        if event.type in _TWICE and not event.data.get("error"):
            continue
        data = {name: value for name, value in event.data.items() if name not in ("outputs", "large_outputs")}
        yield Fact(
            title=f"event {event.seq}, {_after(run, event.at)}: {event.type}",
            lines=facts_in(data.items(), most=_MOST_OF_A_STEP),
            where=f"{again(args, 'runs', 'events', run.id)}, number {event.seq}",
            kind="event",
            rank=_rank(run, event),
        )


def _rank(run: RunView, event: EventView) -> tuple[int, int]:
    """Of failures those near both ends first: the first ones often are the cause of the others."""
    is_failure = event.type in _FAILURES or bool(event.data.get("error"))
    if is_failure or event.data.get("reason") in _ENDED_BY_OTHERS:
        return 1, min(event.seq, run.last_seq - event.seq)
    return 3 if event.type in _CHOICES else 4, -event.seq


def _after(run: RunView, at: datetime | None) -> str | None:
    """A moment, counted from the creation of the run."""
    return None if at is None else f"+{(at - run.created_at).total_seconds():.3f} s"
