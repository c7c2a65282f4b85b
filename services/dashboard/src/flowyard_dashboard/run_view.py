"""Renders a run's details as HTML."""

from __future__ import annotations

from collections import Counter
from typing import Any

from flowyard.runs.events import StepId
from flowyard.runs.run import Step
from flowyard.web.pages.graph.drawing import draw
from flowyard.web.pages.templating import Pages
from flowyard_dashboard.run_details import RunDetails, is_followed, node_states
from flowyard_dashboard.view import Rows, View


def view_of(pages: Pages, details: RunDetails, *, can_run: bool) -> View:
    """The view of a run's page. `can_run`: whether the user may start and change runs."""
    run = details.run
    sections = {
        "run-head": pages.part("run_head", run, can_run),
        "graph": _graph(pages, details),
        "result": pages.part("run_result", run),
        "spending": pages.part("run_spending", run),
    }
    return View(sections, [_steps(pages, details, can_run=can_run), _calls(pages, details), _events(pages, details)])


def element_key(step: StepId) -> str:
    """A step's id as a part of an element's id."""
    return f"{step.node}-{step.visit}-{'x' if step.item is None else step.item}"


def _graph(pages: Pages, details: RunDetails) -> str:
    if details.workflow is None:
        return pages.part("no_graph")
    states = node_states(details)
    drawing = draw(details.workflow)
    followed = {(line.source, line.target, line.kind) for line in drawing.lines if is_followed(line, details, states)}
    return pages.part("graph", drawing, states, followed, _notes(details))


def _notes(details: RunDetails) -> dict[str, str]:
    """The number of steps of each node that has run several times."""
    counts = Counter(step.node for step in details.steps if step.kind == "step")
    return {node: f"{n} times" for node, n in counts.items() if n > 1}


def _steps(pages: Pages, details: RunDetails, *, can_run: bool) -> Rows:
    rows: dict[str, str] = {}
    for step in details.shown_steps:
        key = f"step-{element_key(step.id)}"
        if step.status == "running" and step.kind == "step":
            rows[key] = pages.part("running_row", key, step)
        else:
            rows[key] = pages.part(
                "step_row", key, step, _fork_link(details, step, can_run=can_run), _outputs_address(details, step)
            )
    if not rows:
        rows["no-steps"] = pages.part("no_row", "no-steps", 6, "No step has begun yet.")
    return Rows("steps", "tbody", "below", rows)


def _outputs_address(details: RunDetails, step: Step) -> str:
    """Where outputs are that are too large for the page."""
    item = f"&item={step.item}" if step.item is not None else ""
    return f"/runs/{details.run.id}/outputs?node={step.node}&visit={step.visit}{item}"


def _fork_link(details: RunDetails, step: Step, *, can_run: bool) -> str:
    """The link to the fork's form, with this step selected; empty if no fork can begin there."""
    workflow = details.workflow
    if not can_run or workflow is None or step.item is not None or step.node in workflow.maps:
        return ""
    return f"/runs/{details.run.id}?fork={step.node}:{step.visit}#fork"


def _calls(pages: Pages, details: RunDetails) -> Rows:
    rows: dict[str, str] = {}
    for call in details.shown_calls:
        key = f"call-{call.seq}"
        rows[key] = pages.part("call_row", key, call)
        if call.seq in details.calls_with_texts:
            address = f"/runs/{details.run.id}/calls/{call.seq}"
            rows[f"{key}-texts"] = pages.part("call_texts_row", f"{key}-texts", address)
    if not rows:
        rows["no-calls"] = pages.part("no_row", "no-calls", 7, "No model has been called yet.")
    return Rows("calls", "tbody", "below", rows)


def _events(pages: Pages, details: RunDetails) -> Rows:
    rows = {
        (key := f"event-{entry.seq}"): pages.part("event_row", key, entry, _summary(entry.type, dict(entry.data)))
        for entry in details.shown_events
    }
    return Rows("events", "ol", "above", rows)


def _summary(kind: str, data: dict[str, Any]) -> str:
    """An event's data in one line."""
    step = str(data.get("node", ""))
    if isinstance(data.get("visit"), int) and isinstance(data.get("item"), int | None):
        step = str(StepId(step, data["visit"], data.get("item")))
    error = data.get("error")
    parts = [step, f"→ {data['to']}" if "to" in data else ""]
    parts += [f"if {data['condition']}" if data.get("condition") else ""]
    parts += [str(data.get("provider", "")) and f"{data['provider']}/{data['model']}"]
    parts += [str(data.get("reason", "")), f"{error['code']}: {error['message']}" if isinstance(error, dict) else ""]
    if kind == "run.forked":
        parts += [
            f"{data['kept']} steps kept",
            f"executes {', '.join(data['leaves_at'])} first" if data["leaves_at"] else "",
        ]
    if kind == "loop.turned":
        parts.append(f"iteration {data['turn']} of at most {data['max_iterations']}: {data['outcome']}")
    return " · ".join(part for part in parts if part)
