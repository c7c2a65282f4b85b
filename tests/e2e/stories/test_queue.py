"""Who goes first, and how many at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from support.system import ALL_SLOTS
from support.visitor import Model, Visitor
from support.waiting import eventually
from support.wire.behaviour import Held, Late, Text

ERRAND = """\
flow: {name: NAME}
state:
  fields:
    what: {type: str, required: true}
    text: str
nodes:
  - {id: go, prompt: 'NAME {what}.', outputs: [text]}
config:
  llm: MODEL
  execution: {concurrency: MOST}
"""


async def apply(visitor: Visitor, name: str, *, most: int) -> None:
    await visitor.apply(name, ERRAND.replace("NAME", name).replace("MOST", str(most)))


async def test_what_is_more_urgent_goes_first_and_then_what_is_older(visitor: Visitor, model: Model) -> None:
    await apply(visitor, "urgent", most=1)
    free = asyncio.Event()
    model.replies = {"urgent now.": Held(Text("done"), free)}
    run_ids = [await visitor.submit("urgent", what="now")]
    await model.received("urgent now.")
    for what, priority in (("a", 0), ("b", -5), ("c", 9), ("d", 0), ("e", 9)):
        run_ids.append(await visitor.submit("urgent", what=what, priority=priority))
    free.set()
    await visitor.all_ended(run_ids)
    assert model.prompts == [f"urgent {what}." for what in ("now", "c", "e", "a", "d", "b")]


async def test_a_workflow_never_has_more_runs_at_work_than_it_says(visitor: Visitor, model: Model) -> None:
    await apply(visitor, "three", most=3)
    model.respond = lambda _: Late(Text("done"), 0.1)
    run_ids = await asyncio.gather(*(visitor.submit("three", what=str(number)) for number in range(20)))
    most = 0
    for run_id in run_ids:
        while (await visitor.run(run_id))["finished_at"] is None:
            running = await visitor.get("/v1/runs", workflow="three", status="running")
            most = max(most, len(running["items"]))
    assert (most, model.server.busiest) == (3, 3)
    assert model.repeated_prompts == {}


async def test_a_slot_that_gets_free_goes_to_the_workflow_that_has_none(visitor: Visitor, model: Model) -> None:
    await apply(visitor, "busy", most=1000)
    await apply(visitor, "quiet", most=1000)
    gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
    model.respond = lambda prompt: Held(Text("done"), gates[prompt])
    run_ids = [await visitor.submit("busy", what=str(number)) for number in range(ALL_SLOTS + 10)]
    await eventually(lambda: len(model.prompts) == ALL_SLOTS)
    run_ids.append(await visitor.submit("quiet", what="x"))
    gates[model.prompts[0]].set()
    await eventually(lambda: len(model.prompts) > ALL_SLOTS)
    assert model.prompts[ALL_SLOTS] == "quiet x."
    model.respond = lambda _: Text("done")
    for gate in gates.values():
        gate.set()
    await visitor.all_ended(run_ids)
