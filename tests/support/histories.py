"""Recorded runs of releases, which every later release must replay to the same states, decisions and events.

`python -m support.histories`, in `tests`, records those of this release. One file per shape of a workflow:
`data/histories/VERSION/SHAPE.json`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import asyncpg

from flowyard.errors.base import FlowyardError
from flowyard.graph.compile import Compiled
from flowyard.graph.run import Pages, drive, in_pages
from flowyard.graph.walk import Walk
from flowyard.llm.calls import Model, ModelCall, ModelReply, OnToken, Usage
from flowyard.runs.entries import encoded
from flowyard.runs.events import Event, LoopTurned, RouteTaken, StepFailed, StepFinished, StepId
from flowyard.runs.run import Entry, Step
from flowyard.storage.rows import step_of
from flowyard.storage.schema import migrate
from flowyard_embedded.servers.postgres import start_postgres
from support.attempts import Attempts, WireModel, node_of, open_attempts
from support.recording import Recording, walk_of
from support.servers import FORGETFUL, create_database, temporary_home
from support.shapes import CHAIN, LOOP, MAP, NESTED
from support.stored import Stored, open_stored
from support.wire.behaviour import Behaviour, Status
from support.wire.server import Request
from support.workflows import compiled, document

FOLDER: Final = Path(__file__).parents[1] / "data" / "histories"
SHAPES: Final = {
    "chain": CHAIN,
    "fork": document(
        "s",
        """
        - {from: START, to: s}
        - {from: s, to: [b, a]}
        - {from: [a, b], to: j}
        - {from: j, to: END}
        """,
        fields="notes: {type: 'list[str]', reduce: append, default: [start]}",
        nodes="\n".join(f"- {{id: {name}, prompt: '{name} after {{notes}}', outputs: [notes]}}" for name in "abj"),
    ),
    "loop": LOOP,
    "goto": document(
        "a b z",
        """
        - {from: START, routes: [{if: "flag", to: a}, {default: b}]}
        - {from: a, to: broken}
        - {from: broken, to: z}
        - {from: b, routes: [{if: "b == 'a'", to: END}, {default: z}]}
        - {from: z, to: END}
        """,
        fields="flag: {type: bool, default: false}\nx: str",
        nodes="- {id: broken, prompt: x, outputs: [x], retry: 0, on_error: {goto: b}}",
    ),
    "map": MAP.replace("collect_field: all", "collect_field: all, on_item_error: collect")
    .replace("'list[str]'\n", "list\n")
    .replace("outputs: [each]", "outputs: [each], retry: 0"),
    "nested": NESTED,
    "set": document(
        "a",
        """
        - {from: START, to: a}
        - {from: a, to: count}
        - {from: count, to: enough}
        - {from: enough, to: END}
        """,
        fields="topic: {type: str, required: true}\nnumber: {type: int, default: 1}\ntext: str",
        nodes="""
        - {id: count, set: {number: {expr: number + 1}, text: "{topic} and {a}"}}
        - {id: enough, assert: "number == 2"}
        """,
    ),
}
INPUTS: Final[Mapping[str, Mapping[str, Any]]] = {"goto": {"flag": True}, "set": {"topic": "rain"}}
_OUTCOMES: Final = ("step.finished", "step.failed", "route.taken", "loop.turned")
_FACTS: Final = ("node", "visit", "item", "outputs", "handled", "to", "condition", "turn", "outcome")


@dataclass(frozen=True)
class History:
    """`steps`: in the order in which they ended. `folds`: for each number of steps, from 0, what is at work then.

    That is, by the place of each branch, the state that it sees.
    """

    document: str
    engine: int
    inputs: Mapping[str, Any]
    steps: Sequence[Step]
    events: Sequence[Entry]
    outputs: Mapping[str, Any]
    state: Mapping[str, Any]
    folds: Sequence[Mapping[str, Any]]

    def walk(self, recording: Recording, model: Model) -> tuple[Compiled, Walk, Pages]:
        graph = compiled(self.document)
        walk = walk_of(graph, recording, model, engine=self.engine, inputs=self.inputs)
        return graph, walk, in_pages(recording.ended())


class _AsRecorded:
    """A model that answers each step as it was answered then. `calls`: for which steps."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = {step.id: step for step in steps}
        self.calls: list[StepId] = []

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        _, node, visit, *item = re.split("[:.]", str(call.key))
        step = self.steps[StepId(node, int(visit), int(item[0]) if item else None)]
        self.calls.append(step.id)
        if step.error is not None:
            raise type("AsRecorded", (FlowyardError,), {"code": step.error.code})(step.error.message)
        [output] = (step.outputs or {}).values()
        return ModelReply(output, Usage(), None)


async def check(history: History) -> None:
    """Each part of the record, and the whole, lead to what was recorded."""
    for length in range(len(history.steps) + 1):
        part = _begun(history.steps, length)
        assert await _fold(history, part) == history.folds[length], length
        recording, model = Recording({step.id: step for step in part}), _AsRecorded(history.steps)
        result = await drive(*history.walk(recording, model), timeout_s=None)
        assert (result.status, dict(result.outputs)) == ("succeeded", history.outputs)
        assert dict(result.state) == history.state
        assert _decisions(recording.steps.values()) == _decisions(history.steps)
        assert _outcomes(map(encoded, _choices(recording.events))) == _outcomes_after(history, part)
        assert {step.id for step in part if step.has_ended}.isdisjoint(model.calls)


def _begun(steps: Sequence[Step], length: int) -> list[Step]:
    """The first steps of a record; and a map that had begun then, since some of its items are among them."""
    first = list(steps[:length])
    places = {(step.node, step.visit) for step in first}
    maps = [step for step in steps[length:] if step.kind == "map" and (step.node, step.visit) in places]
    return [*first, *(step._replace(status="running", next=None) for step in maps)]


async def _fold(history: History, part: Sequence[Step]) -> dict[str, Any]:
    _, walk, recorded = history.walk(Recording({step.id: step for step in part}), _AsRecorded(()))
    return {str(StepId(branch.at, branch.visit)): dict(branch.state) for branch in await walk.replay(recorded)}


def _decisions(steps: Iterable[Step]) -> dict[str, Any]:
    def outputs(step: Step) -> Any:
        known = step.outputs
        return (known["items"], known["digest"]) if known is not None and step.kind == "map" else known

    return {str(s.id): (s.kind, s.status, s.next, outputs(s), s.error and s.error.code, s.handled) for s in steps}


def _choices(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, StepFinished | StepFailed | RouteTaken | LoopTurned)]


def _outcomes(events: Iterable[tuple[str, Mapping[str, Any]]]) -> Counter[str]:
    """What steps and choices came to, without their durations and numbers."""
    return Counter(json.dumps([kind, *(data.get(fact) for fact in _FACTS)]) for kind, data in events)


def _outcomes_after(history: History, part: Sequence[Step]) -> Counter[str]:
    """A choice has the number after the end of its step."""
    ended = [step for step in part if step.has_ended]
    known = {step.seq for step in ended if step.kind == "step"}
    known |= {step.seq + 1 for step in ended if step.next and isinstance(step.next[-1], dict)}
    return _outcomes((e.type, e.data) for e in history.events if e.type in _OUTCOMES and e.seq not in known)


# ---- files


def read(data: Mapping[str, Any]) -> History:
    """`data`: of a file. `steps`: rows as Postgres has them. An earlier release had fewer columns."""
    rows = [{"left_s": None, **{name: _moment(name, value) for name, value in row.items()}} for row in data["steps"]]
    steps = [step_of(cast("asyncpg.Record", row)) for row in rows]
    events = [Entry(seq, datetime.fromisoformat(at), kind, event) for seq, at, kind, event in data["events"]]
    return History(**{**data, "steps": steps, "events": events})


def _moment(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if value is not None and name.endswith(("_at", "deadline")) else value


async def record(shape: str, stored: Stored, attempts: Attempts) -> dict[str, Any]:
    """What a run of this shape leaves in the database, and what this release makes of each part of it."""
    run_id = await attempts.submit(SHAPES[shape], INPUTS.get(shape))
    run = await attempts.executor(WireModel({"work": _fail_for_s, "broken": _fail})).run()
    assert run is not None
    assert run.status == "succeeded", run.error
    data = {
        "document": SHAPES[shape],
        "engine": await stored.database.value("SELECT engine FROM runs WHERE id = $1", run_id),
        "inputs": dict(run.inputs),
        "steps": json.loads(await stored.database.value(_STEPS, run_id)),
        "events": [[e.seq, e.at.isoformat(), e.type, dict(e.data)] for e in await stored.entries(run_id)],
        "outputs": dict(run.outputs or {}),
    }
    history = read({**data, "state": {}, "folds": []})
    parts = [_begun(history.steps, length) for length in range(len(history.steps) + 1)]
    folds = [await _fold(history, part) for part in parts]
    whole = await drive(
        *history.walk(Recording({step.id: step for step in history.steps}), _AsRecorded(())), timeout_s=None
    )
    return {**data, "state": dict(whole.state), "folds": folds}


_STEPS: Final = """
SELECT json_agg(s ORDER BY seq, CASE kind WHEN 'step' THEN 0 WHEN 'map' THEN 1 ELSE 2 END, node, visit, item)::text
FROM steps s WHERE run_id = $1
"""
"""In the order in which they ended: a map ends with its last item, and a place without work right after a step."""


async def _fail(_request: Request) -> Behaviour:
    return Status(400)


async def _fail_for_s(request: Request) -> str | Behaviour:
    return Status(400) if request.body["messages"][-1]["content"] == "work on s" else node_of(request)


async def _record_all(url: str) -> dict[str, dict[str, Any]]:
    await migrate(url)
    async with open_stored(url) as stored, open_attempts(stored) as attempts:
        return {shape: await record(shape, stored, attempts) for shape in SHAPES}


def main() -> None:
    folder = FOLDER / version("flowyard")
    if folder.exists():
        sys.exit(f"{folder} is there: what a release has recorded is never changed")
    with temporary_home() as home:
        server = start_postgres(home / "postgres", settings=FORGETFUL)
        try:
            histories = asyncio.run(_record_all(server.url_of(create_database(server)).get_secret_value()))
        finally:
            server.process.stop()
    folder.mkdir(parents=True)
    for shape, data in histories.items():
        (folder / f"{shape}.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
