"""All facts of a run and of a workflow, as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from flowyard.api.history import CallView, EventView, StepView, TextsView
from flowyard.api.runs import RunListItem, RunView, SpendingView
from flowyard.api.workflows import WorkflowDetail
from flowyard.runs.events import StepId
from flowyard.runs.run import MapProgress
from flowyard_cli.show.format import count, money, plural, seconds
from flowyard_cli.show.tables import NONE, ago, print_facts, print_table, when
from flowyard_embedded.streams import put

_NOTICEABLE_S: Final = 1.0
"""A run that was queued, waited or failed for longer shows how long it was at work."""
_WITHOUT_WORK: Final = ("start", "end", "join")
"""Kinds of places in a graph that are no nodes of the document."""


def print_run(run: RunView, steps: Sequence[StepView]) -> None:
    print_facts(
        [
            ("run", run.id),
            ("workflow", f"{run.workflow}, revision {run.revision}"),
            ("status", _status(run)),
            ("error", f"{run.error.message} [{run.error.code}]" if run.error else None),
            ("created", when(run.created_at)),
            ("started", when(run.started_at) if run.started_at else None),
            ("finished", when(run.finished_at) if run.finished_at else None),
            ("took", took(run) if run.started_at else None),
            ("of that at work", _worked(run)),
            ("executor", run.executor),
            ("attempt", run.attempt if run.attempt > 1 else None),
            ("forked from", run.forked_from),
            ("spent", _spent(run.spending)),
        ]
    )
    _print_values("inputs", run.inputs)
    _print_values("outputs", run.outputs or {})
    if steps:
        put()
        print_table(("step", "status", "started", "took", "tries", "error"), map(_step, steps), empty="")


def print_log(events: Iterable[EventView]) -> None:
    """What the code of steps has printed."""
    for event in events:
        put(f"\nprinted by {StepId(event.data['node'], event.data['visit'], event.data.get('item'))}:")
        put(event.data["text"].removesuffix("\n"))


def print_calls(calls: Sequence[CallView]) -> None:
    for number, call in enumerate(calls, start=1):
        model = f"{call.provider}/{call.model}, {seconds(call.duration_s)}"
        tokens = f"{count(call.tokens_in)} tokens in, {count(call.tokens_out)} out"
        spent = money(Decimal(call.cost_usd) if call.cost_usd is not None else None)
        error = f", {call.error}" if call.error else ""
        step = StepId(call.node, call.visit, call.item)
        put(f"\ncall {number}: {step}, {model}, {tokens}, {spent}{error}")
        _print_texts(call.texts)
    if calls and not any(call.texts for call in calls):
        put("\nPrompts and replies aren't kept: FLOWYARD_LOG_PROMPTS is off, or the document forbids it.")


def _print_texts(texts: TextsView | None) -> None:
    if texts is None:
        return
    said = [(message.role, message.content) for message in texts.messages]
    for role, text in (*said, ("reasoning", texts.reasoning), ("reply", texts.reply)):
        if text is not None:
            put(f"\n{role}:\n{text}")


def print_workflow(workflow: WorkflowDetail) -> None:
    print_facts(
        [
            ("workflow", workflow.name),
            ("revision", workflow.revision),
            ("updated", when(workflow.updated_at)),
            ("description", workflow.description),
            ("version", workflow.version),
            ("author", workflow.author),
            ("tags", ", ".join(workflow.tags) or None),
            ("concurrency", workflow.concurrency),
            ("priority", workflow.priority or None),
            ("digest", workflow.digest),
        ]
    )
    put()
    rows = [
        (
            field.name,
            field.type,
            "required" if field.required else f"default {json.dumps(field.default)}",
            field.description,
        )
        for field in workflow.inputs
    ]
    print_table(("input", "type", "", "description"), rows, empty="no inputs")
    put()
    nodes = [(n.id, n.kind, n.model, ", ".join(n.outputs)) for n in workflow.graph.nodes if n.kind not in _WITHOUT_WORK]
    print_table(("node", "kind", "model", "writes"), nodes, empty="no nodes")


def took(run: RunListItem) -> str:
    """The time since the run started, up to its end or to now."""
    if run.started_at is None:
        return NONE
    return seconds(max(0.0, ((run.finished_at or datetime.now(UTC)) - run.started_at).total_seconds()))


def _worked(run: RunListItem) -> str | None:
    """How long executors had it; None if that is about the time that it took."""
    if run.started_at is None:
        return None
    total = ((run.finished_at or datetime.now(UTC)) - run.started_at).total_seconds()
    return seconds(run.worked_s) if total - run.worked_s > _NOTICEABLE_S else None


def cost(spending: SpendingView) -> str:
    return money(Decimal(spending.cost_usd) if spending.cost_usd is not None else None)


def _status(run: RunView) -> str:
    if run.cancel_requested and run.status != "cancelled":
        return f"{run.status}, to be cancelled"
    return f"waiting until {when(run.wake_at)}" if run.status == "waiting" and run.wake_at else run.status


def _spent(spending: SpendingView) -> str:
    tokens = f"{count(spending.tokens_in)} tokens in, {count(spending.tokens_out)} out"
    return f"{plural(spending.calls, 'model call')}, {tokens}, {cost(spending)}"


def _step(step: StepView) -> Sequence[object]:
    error = f"{step.error.message} [{step.error.code}]" if step.error else None
    name = StepId(step.node, step.visit, step.item)
    status = f"{step.status}, {MapProgress(**dict(step.progress))}" if step.progress else step.status
    took = seconds(step.duration_s) if step.duration_s is not None else NONE
    return name, status, ago(step.started_at), took, step.tries, error


def _print_values(title: str, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        put(f"\n{title}: {name}")
        put(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2))
