"""A workflow changes while its runs are at work."""

from __future__ import annotations

import asyncio

from support.visitor import Model, Visitor
from support.wire.behaviour import Hang, Held, Text

NOTE = """\
flow: {name: NAME}
state:
  fields:
    start: str
    end: str
nodes:
  - {id: begin, prompt: Begin., outputs: [start]}
  - {id: finish, prompt: OLD end., outputs: [end]}
config:
  llm: MODEL
"""


def note(name: str, age: str = "Old") -> str:
    return NOTE.replace("NAME", name).replace("OLD", age)


async def test_a_run_stays_with_the_revision_that_it_began_with(visitor: Visitor, model: Model) -> None:
    await visitor.apply("note", note("note"))
    free = asyncio.Event()
    model.replies = {"Begin.": Held(Text("a"), free)}
    old = await visitor.submit("note")
    await model.received("Begin.")
    applied = await visitor.apply("note", note("note", "New"))
    assert (applied["revision"], applied["created"]) == (2, True)
    new = await visitor.submit("note")
    free.set()
    runs = await visitor.all_ended([old, new])
    assert [(run["revision"], run["status"]) for run in runs] == [(1, "succeeded"), (2, "succeeded")]
    assert (sorted(model.prompts), model.repeated_prompts) == (
        ["Begin.", "Begin.", "New end.", "Old end."],
        {"Begin.": 2},
    )


async def test_the_same_content_is_no_new_revision(visitor: Visitor) -> None:
    first = await visitor.apply("same", note("same"))
    again = await visitor.apply("same", "# A comment.\n" + note("same"))
    assert (again["revision"], again["digest"], again["created"]) == (first["revision"], first["digest"], False)


async def test_an_older_revision_can_be_compared_with_and_brought_back(visitor: Visitor, model: Model) -> None:
    await visitor.apply("back", note("back"))
    await visitor.apply("back", note("back", "New"))
    difference = await visitor.get("/v1/workflows/back/diff")
    assert (difference["older"], difference["newer"], difference["sections"]) == (1, 2, ["nodes"])
    assert "-  - {id: finish, prompt: Old end., outputs: [end]}" in difference["text"]
    rolled = (await visitor.post("/v1/workflows/back/rollback", revision=1)).json()
    assert (rolled["revision"], rolled["restores"]) == (3, 1)
    run = await visitor.ended(await visitor.submit("back"))
    assert (run["revision"], model.prompts[-1]) == (3, "Old end.")
    revisions = (await visitor.get("/v1/workflows/back/revisions"))["items"]
    assert [(revision["number"], revision["restores"]) for revision in revisions] == [(3, 1), (2, None), (1, None)]


async def test_a_workflow_with_open_runs_is_deleted_by_force_only(visitor: Visitor, model: Model) -> None:
    await visitor.apply("gone", note("gone"))
    model.replies = {"Old end.": Hang()}
    run_id = await visitor.submit("gone")
    await model.received("Old end.")
    refused = await visitor.http.delete("/v1/workflows/gone")
    assert (refused.status_code, refused.json()["code"]) == (409, "workflow_in_use")
    forced = await visitor.http.delete("/v1/workflows/gone", params={"force": True})
    assert (forced.status_code, forced.json()["cancelling"]) == (200, [run_id])
    assert (await visitor.ended(run_id))["status"] == "cancelled"
    assert (await visitor.http.get("/v1/workflows/gone")).status_code == 404
    response = await visitor.post("/v1/workflows/gone/runs")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_workflow")
