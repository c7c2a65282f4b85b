"""A run is cancelled, retried, forked."""

from __future__ import annotations

import asyncio

from support.stories import LINKED_CHAIN
from support.visitor import Model, Visitor
from support.wire.behaviour import Hang, Status, Text

CHAIN = LINKED_CHAIN.replace("outputs: [two]", "outputs: [two], retry: 0")
ONE_AT_A_TIME = CHAIN.replace("{name: chain}", "{name: single}") + "  execution: {concurrency: 1}\n"


async def test_a_cancel_ends_the_model_call_that_is_in_flight(visitor: Visitor, model: Model) -> None:
    await visitor.apply("chain", CHAIN)
    model.replies = {"Second done.": Hang(after=2)}
    run_id = await visitor.submit("chain", topic="rain")
    await model.received("Second done.")
    response = await visitor.post(f"/v1/runs/{run_id}/cancel")
    assert (response.status_code, response.json()["cancel_requested"]) == (202, True)
    await asyncio.wait_for(model.server.hung_up.wait(), 2)
    run = await visitor.ended(run_id)
    assert (run["status"], run["outputs"], model.prompts) == (
        "cancelled",
        {"one": "done"},
        ["First rain.", "Second done."],
    )


async def test_a_run_that_is_cancelled_by_many_at_once_is_cancelled_once(visitor: Visitor, model: Model) -> None:
    await visitor.apply("chain", CHAIN)
    model.replies = {"First tea.": Hang()}
    run_id = await visitor.submit("chain", topic="tea")
    await model.received("First tea.")
    responses = await asyncio.gather(*(visitor.post(f"/v1/runs/{run_id}/cancel") for _ in range(5)))
    # 200: it had ended before the answer; 409: before the request.
    codes = {response.status_code for response in responses}
    assert codes & {200, 202}
    assert codes <= {200, 202, 409}
    assert (await visitor.ended(run_id))["status"] == "cancelled"
    assert [event["type"] for event in await visitor.events(run_id)].count("run.cancelled") == 1


async def test_a_run_that_has_ended_can_not_be_cancelled(visitor: Visitor) -> None:
    await visitor.apply("chain", CHAIN)
    run = await visitor.ended(await visitor.submit("chain", topic="fog"))
    response = await visitor.post(f"/v1/runs/{run['id']}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "illegal_move")
    assert await visitor.run(run["id"]) == run


async def test_all_runs_of_a_workflow_are_cancelled_by_one_request(visitor: Visitor, model: Model) -> None:
    await visitor.apply("single", ONE_AT_A_TIME)
    await visitor.apply("chain", CHAIN)
    model.replies = {"First sea.": Hang(), "First sky.": Hang()}
    other = await visitor.submit("chain", topic="sky")
    run_ids = [await visitor.submit("single", topic="sea") for _ in range(5)]
    await model.received("First sea.")
    await model.received("First sky.")
    response = await visitor.post("/v1/runs/cancel", workflow="single")
    cancelled = response.json()
    assert (cancelled["count"], sorted(cancelled["run_ids"]), cancelled["skipped"]) == (5, sorted(run_ids), {})
    assert {run["status"] for run in await visitor.all_ended(run_ids)} == {"cancelled"}
    assert (await visitor.run(other))["status"] == "running"
    again = await visitor.post("/v1/runs/cancel", ids=[*run_ids, other])
    assert (again.json()["run_ids"], set(again.json()["skipped"].values())) == ([other], {"illegal_move"})
    assert model.prompts.count("First sea.") == 1
    await visitor.ended(other)


async def test_a_retry_makes_only_the_calls_that_had_failed(visitor: Visitor, model: Model) -> None:
    await visitor.apply("chain", CHAIN)
    model.replies = {"Second done.": Status(500)}
    failed = await visitor.ended(await visitor.submit("chain", topic="ice"))
    assert (failed["status"], failed["error"]["node"], failed["error"]["code"]) == (
        "failed",
        "second",
        "provider_error",
    )
    model.replies = {"Second done.": Text("two")}
    response = await visitor.post(f"/v1/runs/{failed['id']}/retry")
    assert response.status_code == 202, response.text
    run = await visitor.ended(failed["id"])
    assert (run["status"], run["outputs"], run["error"]) == (
        "succeeded",
        {"one": "done", "two": "two", "three": "done"},
        None,
    )
    assert model.prompts == ["First ice.", "Second done.", "Second done.", "Third two."]
    assert (await visitor.post(f"/v1/runs/{run['id']}/retry")).status_code == 409


async def test_a_fork_goes_on_from_a_step_with_another_state(visitor: Visitor, model: Model) -> None:
    await visitor.apply("chain", CHAIN)
    origin = await visitor.ended(await visitor.submit("chain", topic="sun"))
    before = len(model.prompts)
    change = {"from": {"node": "third"}, "state": {"two": "changed"}}
    response = await visitor.http.post(f"/v1/runs/{origin['id']}/fork", json=change)
    assert response.status_code == 202, response.text
    fork = await visitor.ended(response.json()["id"])
    assert (fork["forked_from"], fork["status"]) == (origin["id"], "succeeded")
    assert model.prompts[before:] == ["Third changed."]
    assert await visitor.run(origin["id"]) == origin
    forks = (await visitor.get("/v1/runs", forked_from=origin["id"]))["items"]
    assert [run["id"] for run in forks] == [fork["id"]]


async def test_a_fork_can_begin_again_with_other_inputs(visitor: Visitor, model: Model) -> None:
    await visitor.apply("chain", CHAIN)
    origin = await visitor.ended(await visitor.submit("chain", topic="moon"))
    response = await visitor.post(f"/v1/runs/{origin['id']}/fork", inputs={"topic": "mars"})
    fork = await visitor.ended(response.json()["id"])
    assert (fork["inputs"], fork["status"]) == ({"topic": "mars"}, "succeeded")
    assert model.prompts.count("First mars.") == 1


async def test_no_fork_begins_at_a_step_that_never_was(visitor: Visitor) -> None:
    await visitor.apply("chain", CHAIN)
    origin = await visitor.ended(await visitor.submit("chain", topic="star"))
    for point in ({"node": "forth"}, {"node": "third", "visit": 2}):
        response = await visitor.http.post(f"/v1/runs/{origin['id']}/fork", json={"from": point})
        assert (response.status_code, response.json()["code"]) == (404, "unknown_step"), point
