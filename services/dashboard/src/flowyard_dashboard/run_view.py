"""A run's picture as HTML."""

from __future__ import annotations

from flowyard.runs.events import StepId
from flowyard.runs.run import Step
from flowyard_dashboard.graph.drawing import draw
from flowyard_dashboard.pages import Pages
from flowyard_dashboard.picture import AtWork, Picture, is_taken, looks
from flowyard_dashboard.view import Rows, View


def view_of(pages: Pages, picture: Picture, *, may_run: bool) -> View:
    run = picture.run
    sections = {
        "run-head": pages.part("run_head", run, may_run),
        "graph": _graph(pages, picture),
        "result": pages.part("run_result", run),
        "spending": pages.part("run_spending", run),
    }
    return View(sections, [_steps(pages, picture, may_run=may_run), _calls(pages, picture), _events(pages, picture)])


def step_key(step: StepId) -> str:
    """As a part of an element's id."""
    return f"{step.node}-{step.visit}-{'x' if step.item is None else step.item}"


def id_of(step: Step) -> StepId:
    return StepId(step.node, step.visit, step.item)


def _graph(pages: Pages, picture: Picture) -> str:
    if picture.workflow is None:
        return pages.part("no_graph")
    found = looks(picture)
    drawing = draw(picture.workflow)
    taken = {(line.source, line.target, line.kind) for line in drawing.lines if is_taken(line, picture, found)}
    return pages.part("graph", drawing, found, taken, _notes(picture))


def _notes(picture: Picture) -> dict[str, str]:
    """How often each node has run, where that is more than once."""
    times: dict[str, int] = {}
    for step in picture.steps:
        times[step.node] = times.get(step.node, 0) + 1
    return {node: f"{n} times" for node, n in times.items() if n > 1}


def _steps(pages: Pages, picture: Picture, *, may_run: bool) -> Rows:
    rows: dict[str, str] = {}
    working = {one.id for one in picture.at_work}
    for step in picture.steps_shown:
        if id_of(step) not in working:
            key = f"step-{step_key(id_of(step))}"
            rows[key] = pages.part("step_row", key, step, _fork_link(picture, step, may_run=may_run))
    rows |= {(key := _working_key(one)): pages.part("working_row", key, one) for one in picture.at_work}
    if not rows:
        rows["no-steps"] = pages.part("no_row", "no-steps", 6, "No step has begun yet.")
    return Rows("steps", "tbody", "below", rows)


def _working_key(one: AtWork) -> str:
    return f"step-{step_key(one.id)}"


def _fork_link(picture: Picture, step: Step, *, may_run: bool) -> str:
    """Where the form for a fork is, with this step chosen; empty where no fork can begin."""
    workflow = picture.workflow
    if not may_run or workflow is None or step.item is not None or step.node in workflow.maps:
        return ""
    return f"/runs/{picture.run.id}?fork={step.node}:{step.visit}#fork"


def _calls(pages: Pages, picture: Picture) -> Rows:
    rows = {(key := f"call-{call.seq}"): pages.part("call_row", key, call) for call in picture.calls_shown}
    if not rows:
        rows["no-calls"] = pages.part("no_row", "no-calls", 7, "No model was called yet.")
    return Rows("calls", "tbody", "below", rows)


def _events(pages: Pages, picture: Picture) -> Rows:
    rows = {
        (key := f"event-{entry.seq}"): pages.part("event_row", key, entry, _told(entry.type, dict(entry.data)))
        for entry in picture.events_shown
    }
    return Rows("events", "ol", "above", rows)


def _told(kind: str, data: dict[str, object]) -> str:
    """What an event says, in a line."""
    step = str(data.get("node", ""))
    if isinstance(data.get("visit"), int) and isinstance(data.get("item"), int | None):
        step = str(StepId(step, data["visit"], data.get("item")))  # type: ignore[arg-type]  # just checked
    error = data.get("error")
    told = [step, f"→ {data['to']}" if "to" in data else ""]
    told += [f"if {data['condition']}" if data.get("condition") else ""]
    told += [str(data.get("provider", "")) and f"{data['provider']}/{data['model']}"]
    told += [str(data.get("reason", "")), f"{error['code']}: {error['message']}" if isinstance(error, dict) else ""]
    if kind == "loop.turned":
        told.append(f"turn {data['turn']} of at most {data['max_iterations']}: {data['outcome']}")
    return " · ".join(part for part in told if part)
