"""Cancel, retry, fork: as a client sees them."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from flowyard.runs.claim import Claim
from flowyard.runs.entries import encoded
from flowyard.runs.events import Failure, RunForked
from flowyard.runs.run import Change
from flowyard.storage.database import Database
from flowyard.storage.history import History
from services.gateway.conftest import POEM, submit
from support.hands import Hands
from support.queued import apply

BROKEN = Failure("provider_error", "it is down", "write")
MAPPED = """\
flow: {name: mapped}
state:
  fields:
    topics: {type: 'list[str]', required: true}
    text: str
    texts: {type: 'list[str]', default: []}
nodes:
  - {id: each, prompt: 'Write {item}.', outputs: [text]}
edges:
  - {from: START, parallel: {items_field: topics, target_node: each, collect_field: texts}}
  - {from: each, to: END}
config:
  llm: {provider: scripted}
"""

HELPER = """\
flow: {name: helper}
state:
  fields:
    messages: {type: 'list[message]', required: true}
    language: {type: str, default: en}
    reply: message
nodes:
  - {id: answer, history: messages, system: 'Answer in {language}.', outputs: [reply]}
config:
  llm: {provider: scripted}
triggers:
  talk:
    chat: {caller_tools: true}
"""

pytestmark = pytest.mark.usefixtures("poem")


async def status(client: httpx.AsyncClient, run_id: str) -> str:
    current: str = (await client.get(f"/v1/runs/{run_id}")).json()["status"]
    return current


async def failed_run(client: httpx.AsyncClient, hands: Hands) -> Claim:
    """One whose `draft` has succeeded and whose `write` has failed."""
    await submit(client)
    claim = await hands.take()
    await hands.step(claim, "draft", {"draft": "a draft"})
    await hands.append(claim, "step.started", node="write", visit=1)
    await hands.fail(claim, BROKEN)
    return claim


async def test_a_queued_run_is_cancelled_at_once(client: httpx.AsyncClient) -> None:
    run_id = await submit(client)
    response = await client.post(f"/v1/runs/{run_id}/cancel")
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")


async def test_a_running_run_is_cancelled_by_its_executor(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = await submit(client)
    await hands.take()
    response = await client.post(f"/v1/runs/{run_id}/cancel")
    assert response.status_code == 202
    assert (response.json()["status"], response.json()["cancel_requested"]) == ("running", True)
    # As often as one likes.
    assert (await client.post(f"/v1/runs/{run_id}/cancel")).status_code == 202


async def test_the_calls_that_a_cancelled_run_lost_with_its_executor_are_counted(
    client: httpx.AsyncClient, hands: Hands
) -> None:
    run_id = await submit(client)
    await hands.leave_in_a_call(await hands.take(), "draft", provider="scripted", model="m")
    assert (await client.post(f"/v1/runs/{run_id}/cancel")).json()["status"] == "cancelled"
    calls = (await client.get(f"/v1/runs/{run_id}/calls")).json()["items"]
    assert [call["error"] for call in calls] == ["executor_lost"]
    metrics = (await client.get("/metrics")).text
    assert 'flowyard_model_errors_total{code="executor_lost",model="m",provider="scripted"} 1.0' in metrics
    assert 'flowyard_runs_finished_total{status="cancelled",workflow="poem"} 1.0' in metrics


async def test_a_run_that_has_ended_cannot_be_cancelled(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = await submit(client)
    await hands.succeed(await hands.take(), {})
    response = await client.post(f"/v1/runs/{run_id}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "illegal_move")
    assert response.json()["run_status"] == "succeeded"


async def test_many_are_cancelled_by_workflow_and_status(client: httpx.AsyncClient, hands: Hands) -> None:
    queued = [await submit(client) for _ in range(3)]
    running = await submit(client, priority=100)
    await hands.take()
    response = await client.post("/v1/runs/cancel", json={"workflow": "poem", "status": ["queued"]})
    assert response.status_code == 200
    assert response.json() == {"count": 3, "run_ids": queued[::-1], "skipped": {}, "next_cursor": None}
    assert await status(client, running) == "running"


async def test_many_are_cancelled_by_id_and_the_others_are_listed(client: httpx.AsyncClient, hands: Hands) -> None:
    ended = await submit(client)
    await hands.succeed(await hands.take(), {})
    queued, unknown = await submit(client), str(uuid4())
    response = await client.post("/v1/runs/cancel", json={"ids": [queued, ended, unknown, queued]})
    assert response.json()["run_ids"] == [queued]
    assert response.json()["skipped"] == {ended: "illegal_move", unknown: "unknown_run"}


async def test_nothing_is_cancelled_by_a_request_that_does_not_say_which(client: httpx.AsyncClient) -> None:
    run_id = await submit(client)
    bodies: list[dict[str, Any]] = [{}, {"status": []}, {"ids": []}, {"status": ["failed"]}, {"cursor": run_id}]
    for body in bodies:
        assert (await client.post("/v1/runs/cancel", json=body)).status_code == 422, body
    assert await status(client, run_id) == "queued"


async def test_a_retried_run_keeps_what_it_has_done(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = (await failed_run(client, hands)).run_id
    response = await client.post(f"/v1/runs/{run_id}/retry")
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    claim = await hands.take()
    assert (claim.run_id, claim.has_steps) == (run_id, True)
    await hands.step(claim, "write", {"poem": "a poem"})
    await hands.succeed(claim, {"poem": "a poem"})
    steps = (await client.get(f"/v1/runs/{run_id}/steps")).json()["items"]
    assert [(step["node"], step["status"]) for step in steps] == [("draft", "succeeded"), ("write", "succeeded")]


async def test_only_a_failed_run_can_be_retried(client: httpx.AsyncClient) -> None:
    run_id = await submit(client)
    response = await client.post(f"/v1/runs/{run_id}/retry")
    assert (response.status_code, response.json()["code"]) == (409, "illegal_move")


async def fork(client: httpx.AsyncClient, run_id: object, **body: Any) -> httpx.Response:
    return await client.post(f"/v1/runs/{run_id}/fork", json=body)


async def test_a_fork_goes_on_from_its_step_with_what_was_changed(
    client: httpx.AsyncClient, hands: Hands, database: Database
) -> None:
    origin = await failed_run(client, hands)
    response = await fork(client, origin.run_id, **{"from": {"node": "write"}, "state": {"draft": "another"}})
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/v1/runs/{response.json()['id']}"
    assert response.json()["forked_from"] == str(origin.run_id)
    claim = await hands.take()
    assert claim.fork is not None
    assert (claim.fork.node, claim.fork.visit, claim.fork.state) == ("write", 1, {"draft": "another"})
    steps = await History(database).steps(claim.run_id)
    assert [step.node for step in steps] == ["draft"]
    assert json.loads(claim.inputs) == {"topic": "rain"}


async def test_a_fork_from_the_first_step_takes_nothing_along(
    client: httpx.AsyncClient, hands: Hands, database: Database
) -> None:
    origin = await failed_run(client, hands)
    await fork(client, origin.run_id, **{"from": {"node": "draft"}})
    assert await History(database).steps((await hands.take()).run_id) == []


async def test_a_fork_stays_with_its_origins_revision(
    client: httpx.AsyncClient, hands: Hands, database: Database
) -> None:
    origin = await failed_run(client, hands)
    await apply(database, POEM.replace("Draft {topic}", "Sketch {topic}"))
    assert (await fork(client, origin.run_id, **{"from": {"node": "write"}})).json()["revision"] == 1


async def test_a_run_that_is_at_work_can_be_forked(client: httpx.AsyncClient, hands: Hands) -> None:
    await submit(client)
    claim = await hands.take()
    await hands.step(claim, "draft", {"draft": "d"})
    assert (await fork(client, claim.run_id, **{"from": {"node": "draft"}})).status_code == 202
    early = await fork(client, claim.run_id, **{"from": {"node": "write"}})
    assert (early.status_code, early.json()["code"]) == (404, "unknown_step")
    assert "hasn't begun" in early.json()["detail"]


async def test_a_fork_with_other_inputs_keeps_what_does_not_read_them(
    client: httpx.AsyncClient, hands: Hands, database: Database
) -> None:
    origin = await failed_run(client, hands)
    response = await fork(client, origin.run_id, inputs={"lines": 5})
    assert response.json()["inputs"] == {"topic": "rain", "lines": 5}
    assert response.json()["forked_from"] == str(origin.run_id)
    # None of them reads it, and `write` has failed.
    assert [step.node for step in await History(database).steps((await hands.take()).run_id)] == ["draft"]
    wrong = await fork(client, origin.run_id, inputs={"lines": "five"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_inputs")


async def test_a_fork_with_other_inputs_offers_the_same_tools(
    client: httpx.AsyncClient, hands: Hands, database: Database
) -> None:
    await apply(database, HELPER)
    offer = {"tools": [{"type": "function", "function": {"name": "weather"}}], "tool_choice": "auto"}
    given = {"messages": [{"role": "user", "content": "Rain?"}], "_caller": offer}
    submitted = await client.post("/v1/workflows/helper/runs", json={"inputs": given})
    assert submitted.status_code == 202, submitted.text
    origin = await hands.take()
    forked = await fork(client, origin.run_id, inputs={"language": "de"})
    assert forked.status_code == 202, forked.text
    first, second = json.loads(origin.inputs), json.loads((await hands.take()).inputs)
    assert first["_caller"]["tools"][0]["function"]["name"] == "weather"
    assert second == {**first, "language": "de"}


async def test_a_fork_by_another_revision_keeps_what_would_do_the_same_again(
    client: httpx.AsyncClient, hands: Hands, database: Database
) -> None:
    origin = await failed_run(client, hands)
    await apply(database, POEM.replace("Write {draft}", "Improve {draft}"))
    preview = await client.post(f"/v1/runs/{origin.run_id}/fork/preview", json={"revision": "latest"})
    assert preview.json() == {"kept": ["draft"], "leaves_at": ["write"]}
    response = await fork(client, origin.run_id, revision="latest")
    assert (response.status_code, response.json()["revision"]) == (202, 2)
    claim = await hands.take()
    [kept] = await History(database).record(claim.run_id)
    assert (kept.node, kept.outputs, kept.next, kept.seq <= 0) == ("draft", {"draft": "a draft"}, ["write"], True)
    await apply(database, POEM.replace("Draft {topic}", "Sketch {topic}"))
    assert (await fork(client, origin.run_id, revision=3)).status_code == 202
    assert not (await hands.take()).has_steps
    unknown = await fork(client, origin.run_id, revision=9)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_revision")


async def test_what_a_fork_had_changed_is_kept_by_whatever_runs_it_again_and_by_their_forks(
    client: httpx.AsyncClient, hands: Hands
) -> None:
    changed = (Change("write", 1, {"draft": "another"}),)
    origin = await failed_run(client, hands)
    await fork(client, origin.run_id, **{"from": {"node": "write"}, "state": {"draft": "another"}})
    first = await hands.take()
    await hands.step(first, "write", {"poem": "a poem"})
    await fork(client, first.run_id, inputs={"lines": 5})
    again = await hands.take()
    assert again.fork is not None
    assert again.fork.earlier == changed
    await fork(client, again.run_id, **{"from": {"node": "write"}, "state": {}})
    third = await hands.take()
    assert third.fork is not None
    assert third.fork.earlier == changed
    await fork(client, first.run_id)
    over = await hands.take()
    assert over.fork is not None
    assert (over.fork.earlier, over.has_steps) == ((), False)


async def test_a_fork_without_any_change_starts_over(client: httpx.AsyncClient, hands: Hands) -> None:
    origin = await failed_run(client, hands)
    assert (await fork(client, origin.run_id)).status_code == 202
    assert not (await hands.take()).has_steps


async def test_a_fork_records_where_it_comes_from(client: httpx.AsyncClient, hands: Hands, database: Database) -> None:
    origin = await failed_run(client, hands)
    await apply(database, POEM.replace("Write {draft}", "Improve {draft}"))
    bodies: list[tuple[dict[str, Any], int, tuple[str, ...]]] = [
        ({"from": {"node": "write"}}, 1, ("write",)),
        ({"from": {"node": "draft"}}, 0, ("draft",)),
        ({"revision": "latest"}, 1, ("write",)),
        ({"inputs": {"topic": "snow"}}, 0, ("draft",)),
        ({}, 0, ()),
    ]
    for body, kept, leaves_at in bodies:
        forked = (await fork(client, origin.run_id, **body)).json()
        queued, entry = await History(database).entries(forked["id"])
        event = RunForked(str(origin.run_id), kept, leaves_at)
        assert (queued.seq, queued.type, queued.at) == (1, "run.queued", entry.at)
        assert (entry.seq, entry.type, dict(entry.data)) == (2, *encoded(event)), body
        claim = await hands.take()
        assert (claim.last_seq, claim.has_steps) == (2, kept > 0)


async def test_a_fork_that_makes_no_sense_is_refused(client: httpx.AsyncClient, hands: Hands) -> None:
    origin, at = (await failed_run(client, hands)).run_id, {"node": "write"}
    bodies: list[tuple[dict[str, Any], str, str]] = [
        ({"from": {"node": "wirte"}}, "unknown_step", "did you mean 'write'"),
        ({"from": at | {"visit": 2}}, "unknown_step", "write#2"),
        ({"from": at, "state": {"draft": 3}}, "invalid_inputs", "draft: expected str, got int 3"),
        ({"from": at, "state": {"darft": ""}}, "invalid_inputs", "did you mean 'draft'"),
        ({"from": at, "inputs": {"topic": ""}}, "invalid_request", "body.inputs"),
        ({"state": {"draft": ""}}, "invalid_request", "body.state"),
        ({"from": at | {"visit": 0}}, "invalid_request", "visit"),
    ]
    for body, code, detail in bodies:
        response = await fork(client, origin, **body)
        assert response.json()["code"] == code, body
        assert detail in response.json()["detail"]


async def test_no_fork_begins_within_a_map(client: httpx.AsyncClient, hands: Hands, database: Database) -> None:
    await apply(database, MAPPED)
    await client.post("/v1/workflows/mapped/runs", json={"inputs": {"topics": ["a"]}})
    response = await fork(client, (await hands.take()).run_id, **{"from": {"node": "each"}})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "fork from the step before" in response.json()["detail"]


BESIDE = """\
flow: {name: beside}
state:
  fields:
    ideas: {type: "list[str]", reduce: append}
    note: str
    other: str
nodes:
  - {id: bold, prompt: Be bold, outputs: [ideas]}
  - {id: careful, prompt: Be careful, outputs: [ideas, other]}
edges:
  - {from: START, to: [bold, careful]}
  - {from: bold, to: END}
  - {from: careful, to: END}
"""


async def test_what_a_branch_parallel_to_the_step_writes_can_not_be_changed_by_a_fork(
    client: httpx.AsyncClient, hands: Hands, database: Database
) -> None:
    await apply(database, BESIDE)
    await client.post("/v1/workflows/beside/runs", json={"inputs": {}})
    claim = await hands.take()
    await hands.append(claim, "step.started", node="bold", visit=1)
    for field, value in (("ideas", ["mine"]), ("other", "mine")):
        body = {"from": {"node": "bold"}, "state": {field: value}}
        refused = await fork(client, claim.run_id, **body)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
        assert "'careful', which runs in parallel to 'bold', writes it" in refused.text
    fine = await fork(client, claim.run_id, **{"from": {"node": "bold"}, "state": {"note": "mine"}})
    assert fine.status_code == 202


async def test_a_fork_can_be_forked_with_what_it_had_changed(
    client: httpx.AsyncClient, hands: Hands, database: Database
) -> None:
    origin = await failed_run(client, hands)
    first = await fork(client, origin.run_id, **{"from": {"node": "write"}, "state": {"draft": "another"}})
    child = await hands.take()
    assert str(child.run_id) == first.json()["id"]
    await hands.step(child, "write", {"text": "new"})
    second = await fork(client, child.run_id, **{"from": {"node": "write"}, "state": {"lines": 5}})
    assert second.status_code == 202, second.text
    grandchild = await hands.take()
    assert grandchild.fork is not None
    assert grandchild.fork.changes_before("write", 1) == {"draft": "another", "lines": 5}
    assert [step.node for step in await History(database).steps(grandchild.run_id)] == ["draft"]
    # From a step that both were given: what the child changed comes after it, and stays behind.
    third = await fork(client, child.run_id, **{"from": {"node": "draft"}})
    assert third.status_code == 202, third.text
    last = await hands.take()
    assert last.fork is not None
    assert last.fork.earlier == ()
    assert await History(database).steps(last.run_id) == []


async def test_the_same_fork_twice_is_one(client: httpx.AsyncClient, hands: Hands) -> None:
    origin = await failed_run(client, hands)
    url, key = f"/v1/runs/{origin.run_id}/fork", {"Idempotency-Key": "k"}
    first = await client.post(url, json={}, headers=key)
    again = await client.post(url, json={}, headers=key)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]


async def test_an_unknown_run_is_404(client: httpx.AsyncClient) -> None:
    for verb in ("cancel", "retry", "fork"):
        response = await client.post(f"/v1/runs/{uuid4()}/{verb}", json={})
        assert (response.status_code, response.json()["code"]) == (404, "unknown_run")
