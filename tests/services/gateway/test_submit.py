from __future__ import annotations

import asyncio
import itertools
import json
import logging
from typing import Any

import httpx
import pytest

from flowyard.containers import MOST_CONTAINERS
from flowyard.runs.events import Failure
from flowyard.storage.database import Database
from services.gateway.conftest import POEM, Gateway, Starting
from support.hands import Hands
from support.queued import apply
from support.waiting import eventually

RUNS = "/v1/workflows/poem/runs"
RAIN: dict[str, Any] = {"inputs": {"topic": "rain"}}
JSON = {"content-type": "application/json"}

pytestmark = pytest.mark.usefixtures("poem")


def once(key: str = "a") -> dict[str, str]:
    return {"Idempotency-Key": key}


async def submit(
    client: httpx.AsyncClient, body: dict[str, Any] = RAIN, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    response = await client.post(RUNS, json=body, headers=headers)
    assert response.status_code in (200, 202), response.text
    run: dict[str, Any] = response.json()
    return run


def poem_with(fields: str) -> str:
    nodes = "nodes: [{id: write, prompt: Write., outputs: [poem]}]\nconfig: {llm: {provider: scripted}}"
    return f"flow: {{name: poem}}\nstate: {{fields: {{{fields}, poem: str}}}}\n{nodes}"


def same(runs: list[dict[str, Any]]) -> bool:
    return len({run["id"] for run in runs}) == 1


async def test_a_submitted_run_is_there_where_its_location_says(client: httpx.AsyncClient) -> None:
    accepted = await client.post(RUNS, json=RAIN)
    assert accepted.status_code == 202
    run = (await client.get(accepted.headers["location"])).json()
    assert run == accepted.json()
    assert run["status"] == "queued"
    assert run["inputs"] == {"topic": "rain"}
    assert (run["workflow"], run["revision"], run["priority"]) == ("poem", 1, 7)
    assert run["spending"] == {"calls": 0, "tokens_in": 0, "tokens_out": 0, "cost_usd": "0"}


async def test_who_waits_gets_the_finished_run(client: httpx.AsyncClient, hands: Hands) -> None:
    waiting = asyncio.create_task(client.post(RUNS, json=RAIN, params={"wait": 5}))
    claim = await hands.take()
    await hands.step(claim, "draft", {"draft": "d"})
    await hands.succeed(claim, {"poem": "p"})
    response = await waiting
    assert response.status_code == 200
    run = response.json()
    assert (run["id"], run["status"], run["outputs"]) == (str(claim.run_id), "succeeded", {"poem": "p"})


async def test_a_request_that_waits_is_answered_after_a_failure_too(client: httpx.AsyncClient, hands: Hands) -> None:
    waiting = asyncio.create_task(client.post(RUNS, json=RAIN, params={"wait": 5}))
    await hands.fail(await hands.take(), Failure("provider_error", "it is down", "draft"))
    response = await waiting
    assert response.status_code == 200
    assert response.json()["error"]["code"] == "provider_error"


async def test_a_run_that_takes_longer_than_the_wait_goes_on(client: httpx.AsyncClient, hands: Hands) -> None:
    response = await client.post(RUNS, json=RAIN, params={"wait": 0.1})
    assert response.status_code == 202
    claim = await hands.take()
    assert str(claim.run_id) == response.json()["id"]
    await hands.succeed(claim, {"poem": "p"})
    assert (await client.get(response.headers["location"])).json()["status"] == "succeeded"


async def test_the_wait_is_over_soon_after_the_run_even_if_no_message_comes(starting: Starting, hands: Hands) -> None:
    hands.silent = True
    async with starting(poll_s=0.1) as gateway:
        waiting = asyncio.create_task(gateway.client.post(RUNS, json=RAIN, params={"wait": 5}))
        await hands.succeed(await hands.take(), {})
        async with asyncio.timeout(1):
            assert (await waiting).status_code == 200


async def test_a_shutdown_answers_who_waits_at_once(gateway: Gateway, hands: Hands) -> None:
    waiting = asyncio.create_task(gateway.client.post(RUNS, json=RAIN, params={"wait": 60}))
    await hands.take()
    gateway.ending.set()
    async with asyncio.timeout(1):
        assert (await waiting).status_code == 202


async def test_a_run_is_logged_by_its_executor_and_not_again_by_the_request_that_submitted_it(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="flowyard.web.requests")
    run = await submit(client)
    await client.get(f"/v1/runs/{run['id']}")
    await client.post(RUNS, json={"inputs": {"topic": 3}})
    await client.post(f"/v1/runs/{run['id']}/cancel")
    logged = [(line.levelname, line.__dict__["status"]) for line in caplog.records if "status" in line.__dict__]
    assert logged == [("DEBUG", 202), ("DEBUG", 200), ("INFO", 422), ("INFO", 200)]


async def test_the_same_request_leads_to_the_same_run(client: httpx.AsyncClient) -> None:
    first = await client.post(RUNS, json=RAIN, headers=once())
    again = await client.post(RUNS, content=b'{ "inputs": {"topic": "ra\\u0069n"} }', headers=JSON | once())
    assert (first.status_code, again.status_code) == (202, 200)
    assert same([first.json(), again.json()])
    assert len((await client.get("/v1/runs")).json()["items"]) == 1


async def test_many_at_once_with_the_same_key_make_one_run(client: httpx.AsyncClient) -> None:
    runs = await asyncio.gather(*(submit(client, headers=once()) for _ in range(10)))
    assert same(list(runs))


async def test_the_same_request_waits_for_the_run_that_is_there(client: httpx.AsyncClient, hands: Hands) -> None:
    await submit(client, headers=once())
    waiting = asyncio.create_task(client.post(RUNS, json=RAIN, headers=once(), params={"wait": 5}))
    claim = await hands.take()
    await hands.step(claim, "draft", {"draft": "d"})
    await hands.succeed(claim, {"poem": "p"})
    assert (await waiting).json()["status"] == "succeeded"


async def test_a_key_with_another_body_is_refused(client: httpx.AsyncClient) -> None:
    await submit(client, headers=once())
    other = await client.post(RUNS, json={"inputs": {"topic": "snow"}}, headers=once())
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert "'a'" in other.json()["detail"]


async def test_keys_of_different_callers_have_nothing_to_do_with_each_other(gateway: Gateway) -> None:
    mine = await submit(gateway.client, headers=once())
    async with gateway.as_one_who_may("admin") as other:
        theirs = await submit(other, {"inputs": {"topic": "snow"}}, headers=once())
    assert not same([mine, theirs])


async def test_a_repeated_request_finds_its_run_though_the_workflow_has_changed(
    client: httpx.AsyncClient, database: Database
) -> None:
    first = await submit(client, headers=once())
    await apply(database, poem_with("other: {type: str, required: true}"))
    assert same([first, await submit(client, headers=once())])
    refused = await client.post(RUNS, json=RAIN)
    assert refused.json()["code"] == "invalid_inputs"


async def test_every_fault_of_the_inputs_is_reported(client: httpx.AsyncClient) -> None:
    response = await client.post(RUNS, json={"inputs": {"topik": "rain", "lines": "many", "poem": "x"}})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_inputs")
    problems = response.json()["problems"]
    assert len(problems) == 4
    assert any("did you mean 'topic'" in problem for problem in problems)


async def test_an_unknown_workflow_is_404_with_a_hint(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/workflows/peom/runs", json=RAIN)
    assert (response.status_code, response.json()["code"]) == (404, "unknown_workflow")
    assert "did you mean 'poem'" in response.json()["detail"]


async def test_a_full_queue_says_when_to_come_back(starting: Starting) -> None:
    async with starting(queue_limit=3) as gateway:
        answers = await asyncio.gather(*(gateway.client.post(RUNS, json=RAIN) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [202, 202, 202, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "queue_full"
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_queue_that_has_room_again_takes_runs_again(starting: Starting, hands: Hands) -> None:
    async with starting(queue_limit=1) as gateway:
        await submit(gateway.client)
        assert (await gateway.client.post(RUNS, json=RAIN)).status_code == 429
        await hands.take()

        async def is_accepted() -> bool:
            return (await gateway.client.post(RUNS, json=RAIN)).status_code == 202

        await eventually(is_accepted)


async def test_strange_inputs_are_kept_or_refused_and_never_a_bug(
    client: httpx.AsyncClient, database: Database
) -> None:
    await apply(database, poem_with("topic: {type: str, default: ''}, anything: {type: any, default: 1}"))
    deep = "[" * 5000 + "]" * 5000
    values = ['"\\u0000"', '"\\ud800"', '"' + "\\u00e9" * 100 + '"', "1e999", "NaN", "-Infinity", "9" * 5000, deep]
    for field, value in itertools.product(("topic", "anything", "\\ud800", "\\u0000"), values):
        body = f'{{"inputs": {{"{field}": {value}}}}}'.encode()
        response = await client.post(RUNS, content=body, headers=JSON)
        assert response.status_code in (202, 400, 422), (field, value[:20], response.text)
        if response.status_code == 202:
            again = await client.get(response.headers["location"])
            assert again.json()["inputs"] == response.json()["inputs"]


async def test_inputs_and_bodies_have_limits(starting: Starting) -> None:
    async with starting(inputs_limit=2000, body_limit=4000) as gateway:
        inputs = await gateway.client.post(RUNS, json={"inputs": {"topic": "x" * 2500}})
        body = await gateway.client.post(RUNS, json={"inputs": {"topic": "x" * 5000}})
    assert (inputs.status_code, inputs.json()["limit_bytes"]) == (413, 2000)
    assert (body.status_code, body.json()["limit_bytes"]) == (413, 4000)


async def test_requests_may_have_so_many_lists_and_objects(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, poem_with("topic: {type: any, default: 1}"))
    # With the body's and the inputs' objects.
    most = MOST_CONTAINERS - 3
    fits = await client.post(RUNS, json={"inputs": {"topic": [[]] * most}})
    over = await client.post(RUNS, json={"inputs": {"topic": [[]] * (most + 1)}})
    assert (fits.status_code, over.status_code) == (202, 413), fits.text[:500]
    assert over.json()["code"] == "too_large"
    assert over.json()["limit_containers"] == MOST_CONTAINERS
    assert over.json()["detail"] == "the request's body has 125,001 lists and objects; at most 125,000 are allowed"


@pytest.mark.parametrize(("text", "most"), [("é", 990), ("雨", 660), ("🌧", 495)], ids=ascii)
async def test_inputs_are_measured_in_the_bytes_of_utf_8(
    starting: Starting, database: Database, text: str, most: int
) -> None:
    def body(times: int) -> bytes:
        return f'{{"inputs": {{"topic": {{"{text * times}": 1}}}}}}'.encode()

    await apply(database, poem_with("topic: {type: any, default: 1}"))
    async with starting(inputs_limit=2000, body_limit=64_000) as gateway:
        fits = await gateway.client.post(RUNS, content=body(most), headers=JSON)
        over = await gateway.client.post(RUNS, content=body(most + 20), headers=JSON)
    assert (fits.status_code, over.status_code) == (202, 413), fits.text[:500]
    assert over.json()["detail"] == "the inputs: larger than the limit of 2000 bytes"


async def test_a_body_of_another_shape_is_refused(client: httpx.AsyncClient) -> None:
    bodies: list[tuple[Any, str]] = [
        ({"inputs": {}, "input": {}}, "body.input"),
        ({"priority": 101}, "body.priority"),
        ({"inputs": []}, "body.inputs"),
        ([], "body"),
    ]
    for body, where in bodies:
        response = await client.post(RUNS, json=body)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
        assert response.json()["problems"][0]["where"] == where


async def test_a_priority_of_its_own_goes_first(client: httpx.AsyncClient, hands: Hands) -> None:
    await submit(client)
    urgent = await submit(client, RAIN | {"priority": 50})
    assert str((await hands.take()).run_id) == urgent["id"]


async def test_a_run_uses_the_newest_revision_at_once(client: httpx.AsyncClient, database: Database) -> None:
    await submit(client)
    await apply(database, POEM.replace("Draft {topic}", "Sketch {topic}"))
    assert (await submit(client))["revision"] == 2


HOOK: dict[str, Any] = {"url": "https://example.com/hooks?a=b"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def test_a_caller_names_receivers_of_the_end_of_its_run(
    starting: Starting, hands: Hands, database: Database
) -> None:
    async with starting(webhook_secret=SECRET) as gateway:
        failed = {"url": "http://hooks.lan/", "status": ["failed"], "include": "none"}
        run = await submit(gateway.client, {**RAIN, "on_finish": [HOOK, failed]})
        await hands.succeed(await hands.take(), {"poem": "p"})
        rows = await database.rows("SELECT n.run_id, r.on_finish FROM notifications n JOIN runs r ON r.id = n.run_id")
    [row] = rows
    assert str(row["run_id"]) == run["id"]
    assert [each["url"] for each in row["on_finish"]] == [HOOK["url"], failed["url"]]


async def test_receivers_of_a_document_and_of_a_caller_add_up(starting: Starting, database: Database) -> None:
    document = poem_with("topic: {type: str, required: true}")
    await apply(database, document + "\non_finish: [{url: 'https://example.com/own', auth: none}]")
    async with starting(webhook_secret=SECRET) as gateway:
        await submit(gateway.client, {**RAIN, "on_finish": [HOOK]})
        fork_of = (await submit(gateway.client))["id"]
        await gateway.client.post(f"/v1/runs/{fork_of}/fork", json={})
    rows = await database.rows("SELECT on_finish FROM runs ORDER BY id")
    urls = [[each["url"] for each in row["on_finish"]] for row in rows]
    assert urls == [["https://example.com/own", HOOK["url"]], ["https://example.com/own"], ["https://example.com/own"]]


async def test_receivers_are_refused_where_nothing_can_sign_for_them(client: httpx.AsyncClient) -> None:
    response = await client.post(RUNS, json={**RAIN, "on_finish": [HOOK]})
    assert (response.status_code, response.json()["code"]) == (422, "missing_webhook_secret")
    assert "FLOWYARD_WEBHOOK_SECRET isn't set" in response.json()["detail"]
    assert (await client.get("/v1/runs")).json()["items"] == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.com", "must begin with http:// or https://"),
        ("https://me:secret@example.com", "contains a user or a password"),
        ("https://exämple.com", "contains the character U+00E4"),
        ("https://", "must be an address with a host"),
    ],
)
async def test_an_unusable_url_of_a_receiver_is_refused(client: httpx.AsyncClient, url: str, why: str) -> None:
    content = json.dumps({**RAIN, "on_finish": [{"url": url}]})
    response = await client.post(RUNS, content=content, headers=JSON)
    assert response.status_code == 422
    [problem] = response.json()["problems"]
    assert problem["where"] == "body.on_finish.0.url"
    assert why in problem["message"]


async def test_other_receivers_with_the_same_key_are_another_request(starting: Starting, database: Database) -> None:
    async with starting(webhook_secret=SECRET) as gateway:
        first = await submit(gateway.client, headers=once())
        # As clients of the release before send it, and as ours do that name nobody.
        for same_request in (RAIN, {**RAIN, "on_finish": None}, {**RAIN, "on_finish": []}):
            assert (await submit(gateway.client, same_request, once()))["id"] == first["id"]
        other = await gateway.client.post(RUNS, json={**RAIN, "on_finish": [HOOK]}, headers=once())
    assert other.json()["code"] == "idempotency_mismatch"
    assert await database.value("SELECT count(*) FROM runs") == 1
