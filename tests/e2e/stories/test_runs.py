"""A workflow is applied and run."""

from __future__ import annotations

import asyncio

import pytest

from support.stories import POEM
from support.visitor import Model, Visitor
from support.wire.behaviour import Hang, Held, Json, Text

TRIAGE = """\
flow: {name: triage}
state:
  fields:
    message: {type: str, required: true}
    category: str
    reply: str
nodes:
  - {id: sort, prompt: 'Sort {message}.', outputs: [category]}
  - {id: billing, prompt: Billing., outputs: [reply]}
  - {id: other, prompt: Other., outputs: [reply]}
edges:
  - {from: START, to: sort}
  - from: sort
    routes:
      - {if: category == 'bill', to: billing}
      - {default: other}
  - {from: [billing, other], to: END}
config:
  llm: MODEL
"""
REFINE = """\
flow: {name: refine}
state:
  fields:
    turns: {type: int, default: 0, reduce: add}
    good: {type: bool, default: false}
    end: str
nodes:
  - {id: judge, prompt: 'Judge {turns}.', outputs: [turns, good]}
  - {id: publish, prompt: Publish., outputs: [end]}
edges:
  - {from: START, to: judge}
  - {from: judge, loop: {condition_field: good, max_iterations: 5, exit_to: publish}}
  - {from: publish, to: END}
config:
  llm: MODEL
"""
LETTERS = """\
flow: {name: letters}
state:
  fields:
    words: {type: 'list[str]', required: true}
    texts: 'list[str]'
nodes:
  - {id: spell, prompt: 'Spell {item}.', outputs: [texts]}
edges:
  - {from: START, parallel: {items_field: words, target_node: spell, collect_field: texts}}
  - {from: spell, to: END}
config:
  llm: MODEL
"""
SLOW = """\
flow: {name: slow}
state:
  fields: {text: str}
nodes:
  - {id: wait, prompt: Wait., outputs: [text]NODE}
config:
  llm: MODEL
  execution: {EXECUTION}
"""


async def test_a_run_that_is_waited_for_comes_back_with_its_result(visitor: Visitor, model: Model) -> None:
    assert (await visitor.apply("poem", POEM))["name"] == "poem"
    model.replies = {"Draft rain.": Text("drops"), "Write drops.": Text("plip")}
    response = await visitor.post("/v1/workflows/poem/runs", params={"wait": 20}, inputs={"topic": "rain"})
    run = response.json()
    assert (response.status_code, run["status"], run["outputs"]) == (
        200,
        "succeeded",
        {"draft": "drops", "poem": "plip"},
    )
    assert response.headers["location"] == f"/v1/runs/{run['id']}"
    assert run["spending"]["calls"] == 2
    assert await visitor.steps(run["id"]) == ["draft", "write"]


async def test_a_run_without_a_wait_is_at_the_location_of_the_answer(visitor: Visitor, model: Model) -> None:
    await visitor.apply("poem", POEM)
    free = asyncio.Event()
    model.replies = {"Draft tea.": Held(Text("steam"), free)}
    response = await visitor.post("/v1/workflows/poem/runs", inputs={"topic": "tea"})
    assert (response.status_code, response.json()["finished_at"]) == (202, None)
    await model.received("Draft tea.")
    assert (await visitor.get(response.headers["location"]))["status"] == "running"
    free.set()
    assert (await visitor.ended(response.json()["id"]))["outputs"] == {"draft": "steam", "poem": "done"}


async def test_a_wait_that_runs_out_leaves_the_run_at_work(visitor: Visitor, model: Model) -> None:
    await visitor.apply("poem", POEM)
    free = asyncio.Event()
    model.replies = {"Draft fog.": Held(Text("grey"), free)}
    response = await visitor.post("/v1/workflows/poem/runs", params={"wait": 0.2}, inputs={"topic": "fog"})
    assert (response.status_code, response.json()["finished_at"]) == (202, None)
    free.set()
    assert (await visitor.ended(response.json()["id"]))["status"] == "succeeded"
    assert model.prompts == ["Draft fog.", "Write grey."]


@pytest.mark.parametrize(("category", "way"), [("bill", "billing"), ("love", "other")])
async def test_a_run_goes_the_way_that_its_state_says(visitor: Visitor, model: Model, category: str, way: str) -> None:
    await visitor.apply("triage", TRIAGE)
    model.replies = {"Sort post.": Text(category)}
    run = await visitor.ended(await visitor.submit("triage", message="post"))
    assert (run["status"], await visitor.steps(run["id"])) == ("succeeded", ["sort", way])


async def test_a_loop_turns_until_its_condition_is_true(visitor: Visitor, model: Model) -> None:
    await visitor.apply("refine", REFINE)
    turns = {f"Judge {turn}.": Json({"turns": 1, "good": turn == 2}) for turn in range(5)}
    model.replies = {**turns, "Publish.": Text("out")}
    run = await visitor.ended(await visitor.submit("refine"))
    assert run["outputs"] == {"turns": 3, "good": True, "end": "out"}
    assert await visitor.steps(run["id"]) == ["judge", "judge", "judge", "publish"]


async def test_a_map_keeps_the_order_of_its_items_whoever_ends_first(visitor: Visitor, model: Model) -> None:
    await visitor.apply("letters", LETTERS)
    free = asyncio.Event()
    model.replies = {"Spell a.": Held(Text("A"), free), "Spell b.": Text("B"), "Spell c.": Text("C")}
    run_id = await visitor.submit("letters", words=["a", "b", "c"])
    async with visitor.stream(run_id) as events, asyncio.timeout(10):
        ended = 0
        while ended < 2:
            ended += (await anext(events)).event == "step.finished"
    free.set()
    assert (await visitor.ended(run_id))["outputs"] == {"texts": ["A", "B", "C"]}


@pytest.mark.parametrize(
    ("node", "execution", "code"), [("", "timeout: 0.5", "run_timeout"), (", timeout: 0.5", "", "timeout")]
)
async def test_what_takes_longer_than_its_timeout_fails(
    visitor: Visitor, model: Model, node: str, execution: str, code: str
) -> None:
    await visitor.apply("slow", SLOW.replace("NODE", node).replace("EXECUTION", execution))
    model.replies = {"Wait.": Hang()}
    run = await visitor.ended(await visitor.submit("slow"))
    assert (run["status"], run["error"]["code"]) == ("failed", code)
    await asyncio.wait_for(model.server.hung_up.wait(), 5)
    assert model.prompts == ["Wait."]
