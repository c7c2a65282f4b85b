"""Runs as they are shown: alone, in lists, and what has happened in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from flowyard.runs.call_texts import CallTexts
from flowyard.runs.events import Failure
from flowyard.storage import history
from flowyard.storage.database import Database
from services.gateway.conftest import POEM, submit
from support.hands import Hands
from support.queued import apply

pytestmark = pytest.mark.usefixtures("poem")


async def ids(client: httpx.AsyncClient, **query: object) -> list[str]:
    response = await client.get("/v1/runs", params=query)  # type: ignore[arg-type]  # httpx takes what str() takes
    assert response.status_code == 200, response.text
    return [run["id"] for run in response.json()["items"]]


async def test_a_list_comes_in_pages_newest_first(client: httpx.AsyncClient) -> None:
    made = [await submit(client) for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/v1/runs", params={"limit": 2, **cursor})).json()
        seen += [run["id"] for run in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == made[::-1]


async def test_a_list_is_narrowed_by_its_filters(client: httpx.AsyncClient, hands: Hands, database: Database) -> None:
    await apply(database, POEM.replace("name: poem", "name: other"))
    ended = await submit(client)
    await hands.succeed(await hands.take(), {})
    running = await submit(client)
    await hands.take()
    queued, other = await submit(client), await submit(client, workflow="other")
    child = (await client.post(f"/v1/runs/{ended}/fork", json={})).json()["id"]
    assert await ids(client, workflow="other") == [other]
    assert await ids(client, status="running") == [running]
    assert await ids(client, workflow="poem", status=["succeeded", "queued"]) == [child, queued, ended]
    assert await ids(client, forked_from=ended) == [child]
    assert await ids(client, workflow="nobody") == []
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert await ids(client, created_from=soon) == []
    assert len(await ids(client, created_to=soon)) == 5


async def test_a_list_of_nothing_that_exists_is_refused(client: httpx.AsyncClient) -> None:
    queries = [
        {"limit": "0"},
        {"limit": "201"},
        {"status": "done"},
        {"cursor": "x"},
        {"created_from": "2026-11-23T00:00:00"},
        {"workflow": "a\x00b"},
        {"forked_from": "1"},
    ]
    for query in queries:
        response = await client.get("/v1/runs", params=query)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request"), query


async def test_the_ends_of_time_are_times(client: httpx.AsyncClient) -> None:
    first, last = "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"
    run_id = await submit(client)
    assert await ids(client, created_from=first, created_to=last) == [run_id]
    assert await ids(client, created_from=first, created_to=first) == []
    assert await ids(client, created_from=last, created_to=last) == []


async def test_events_come_in_pages(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = await submit(client)
    claim = await hands.take()
    await hands.step(claim, "draft", {"draft": "half a pair: \ud800"})
    await hands.succeed(claim, {"poem": "p"})
    first = (await client.get(f"/v1/runs/{run_id}/events", params={"limit": 2})).json()
    rest = (await client.get(f"/v1/runs/{run_id}/events", params={"after": first["next_after"]})).json()
    events = [*first["items"], *rest["items"]]
    assert [event["seq"] for event in events] == [1, 2, 3, 4]
    assert [event["type"] for event in events] == ["run.queued", "step.started", "step.finished", "run.succeeded"]
    assert events[2]["data"]["outputs"] == {"draft": "half a pair: \ud800"}
    assert (await client.get(f"/v1/runs/{run_id}/events", params={"after": 4})).json() == {"items": [], "next_after": 4}


async def test_steps_are_shown_with_their_outputs(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = await submit(client)
    await hands.step(await hands.take(), "draft", {"draft": "d\x00"})
    (step,) = (await client.get(f"/v1/runs/{run_id}/steps")).json()["items"]
    assert (step["node"], step["visit"], step["item"], step["outputs"]) == ("draft", 1, None, {"draft": "d\x00"})
    assert (await client.get(f"/v1/runs/{run_id}/calls")).json() == {"items": [], "texts_after": None}


async def test_calls_are_shown_with_what_was_said_where_it_is_kept(
    client: httpx.AsyncClient, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await submit(client)
    claim = await hands.take()
    said = CallTexts(({"role": "user", "content": "half a pair: \ud800"},), "yes", "hm")
    seqs = [await hands.call(claim, "draft", texts) for texts in (said, None, said)]
    shown = (await client.get(f"/v1/runs/{run_id}/calls")).json()
    assert [call["texts"] for call in shown["items"]] == [said.data, None, said.data]
    assert shown["texts_after"] is None
    without = (await client.get(f"/v1/runs/{run_id}/calls", params={"texts": "false"})).json()
    assert [(call["seq"], call["texts"]) for call in without["items"]] == [(seq, None) for seq in seqs]
    # If it were too much for one answer.
    monkeypatch.setattr(history, "TEXTS_BYTES", 1)
    first = (await client.get(f"/v1/runs/{run_id}/calls")).json()
    assert [call["texts"] for call in first["items"]] == [said.data, None, None]
    rest = (await client.get(f"/v1/runs/{run_id}/calls", params={"after": first["texts_after"]})).json()
    assert [call["texts"] for call in rest["items"]] == [None, said.data]
    assert rest["texts_after"] is None


async def test_a_failed_run_says_why(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = await submit(client)
    await hands.fail(await hands.take(), Failure("invalid_output", "no JSON", "draft", reply="\ud800"))
    error = (await client.get(f"/v1/runs/{run_id}")).json()["error"]
    assert error == {"code": "invalid_output", "message": "no JSON", "node": "draft", "reply": "\ud800"}
    assert await ids(client, status="failed") == [run_id]


async def test_an_unknown_run_is_404(client: httpx.AsyncClient) -> None:
    for view in ("", "/events", "/steps", "/calls"):
        response = await client.get(f"/v1/runs/{uuid4()}{view}")
        assert (response.status_code, response.json()["code"]) == (404, "unknown_run")
        assert (await client.get(f"/v1/runs/nothing{view}")).status_code == 422
