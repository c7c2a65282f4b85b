"""What runs cost and where their time went, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from flowyard.api.costs import CostReport
from flowyard.api.profiles import ProfileReport, RunProfile
from services.gateway.conftest import POEM, Gateway, submit
from support.hands import Hands
from support.ledger import Book
from support.queued import apply

pytestmark = pytest.mark.usefixtures("poem")


async def get_json(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    response = await client.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def book(client: httpx.AsyncClient, hands: Hands) -> Book:
    await submit(client)
    return Book(hands.committer, await hands.take())


async def test_costs_are_grouped_and_add_up_exactly(client: httpx.AsyncClient, hands: Hands) -> None:
    written = await book(client, hands)
    for cost, model in (("0.000000000000000000012", "a"), ("1.1", "b"), ("2.20", "b")):
        await written.call(model=model, cost=cost)
    report = await get_json(client, "/v1/costs", by="model")
    assert [(group["group"], group["cost_usd"]) for group in report["items"]] == [
        ("openai/b", "3.30"),
        ("openai/a", "0.000000000000000000012"),
    ]
    assert report["total"]["cost_usd"] == "3.300000000000000000012"
    run = await get_json(client, f"/v1/runs/{written.claim.run_id}")
    assert run["spending"]["cost_usd"] == report["total"]["cost_usd"]
    assert (report["total"]["calls"], report["group_count"], report["since"]) == (3, 2, None)
    CostReport.model_validate(report)


async def test_an_unknown_cost_is_null_next_to_the_known_sum(client: httpx.AsyncClient, hands: Hands) -> None:
    written = await book(client, hands)
    await written.call(cost="0.5")
    await written.call(cost=None, tokens=(None, None, None), error="timeout")
    total = (await get_json(client, "/v1/costs"))["total"]
    assert (total["cost_usd"], total["known_cost_usd"], total["unknown_cost"]) == (None, "0.5", 1)
    assert (total["tokens_in"], total["known_tokens_in"], total["unknown_tokens"], total["errors"]) == (None, 10, 1, 1)


async def test_costs_are_narrowed_by_time_workflow_and_run(client: httpx.AsyncClient, hands: Hands) -> None:
    written, now = await book(client, hands), datetime.now(UTC)
    for hours in (1, 30, 24 * 20):
        await written.call(at=now - timedelta(hours=hours))
    run_id = str(written.claim.run_id)
    queries: list[tuple[Mapping[str, str], int]] = [
        ({}, 3),
        ({"since": "7d"}, 2),
        ({"since": "90m"}, 1),
        ({"since": "30m"}, 0),
        ({"since": (now - timedelta(hours=31)).isoformat(), "until": "2h"}, 1),
        ({"until": "1d"}, 2),
        ({"workflow": "poem", "run_id": run_id}, 3),
        ({"workflow": "other"}, 0),
        ({"run_id": str(uuid4())}, 0),
        ({"since": "999999w"}, 3),
    ]
    for query, calls in queries:
        assert (await get_json(client, "/v1/costs", by="run", **query))["total"]["calls"] == calls, query
    assert len((await get_json(client, "/v1/costs", by="day", limit=2))["items"]) == 2


WRONG = [
    {"since": "yesterday"},
    {"since": "7"},
    {"since": "7 d"},
    {"since": "-7d"},
    {"since": "2026-13-01"},
    {"since": "2026-11-23T00:00:00"},
    {"until": ""},
    {"by": "colour"},
    {"limit": "0"},
    {"run_id": "1"},
    {"workflow": "a/b"},
]


@pytest.mark.parametrize("query", WRONG, ids=str)
async def test_a_report_of_what_makes_no_sense_is_refused(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    response = await client.get("/v1/costs", params=query)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_the_error_for_a_wrong_time_shows_a_right_one(client: httpx.AsyncClient) -> None:
    for path in ("/v1/costs", "/v1/profiles"):
        (problem,) = (await client.get(path, params={"since": "last week"})).json()["problems"]
        assert problem["where"] == "query.since"
        assert problem["message"].startswith("should be a duration such as 7d, 24h or 30m")
    (problem,) = (await client.get("/v1/costs", params={"since": "2026-11-23T00:00:00"})).json()["problems"]
    assert "time zone" in problem["message"]


async def test_the_ends_of_time_are_times(client: httpx.AsyncClient) -> None:
    for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "1969-12-31"):
        assert (await get_json(client, "/v1/costs", since=at, until=at))["total"]["calls"] == 0
        await get_json(client, "/v1/profiles", since=at)


async def ran(client: httpx.AsyncClient, hands: Hands, workflow: str = "poem") -> str:
    """A run whose first step took nearly no time, and whose second one called a model for a tenth of a second."""
    run_id = await submit(client, workflow=workflow)
    claim = await hands.take()
    await hands.append(claim, "run.claimed", attempt=1, executor="hands")
    await hands.step(claim, "draft", {"draft": "d"})
    await hands.append(claim, "step.started", node="write", visit=1)
    await hands.succeed(claim, {"poem": "p"})
    return run_id


async def test_the_profile_of_a_run_adds_up_to_its_wall_time(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = await ran(client, hands)
    profile = await get_json(client, f"/v1/runs/{run_id}/profile", threshold=0)
    run = await get_json(client, f"/v1/runs/{run_id}")
    wall = datetime.fromisoformat(run["finished_at"]) - datetime.fromisoformat(run["created_at"])
    assert profile["wall_s"] == wall.total_seconds() == pytest.approx(sum(profile["spent_s"].values()))
    assert {node["node"] for node in profile["nodes"]} == {"draft", "write"}
    assert (profile["bottleneck"], profile["threshold"]) == (profile["nodes"][0]["node"], 0)
    assert (await get_json(client, f"/v1/runs/{run_id}/profile", threshold=1))["bottleneck"] is None
    RunProfile.model_validate(profile)


async def test_an_open_run_has_a_profile_up_to_now(client: httpx.AsyncClient) -> None:
    profile = await get_json(client, f"/v1/runs/{await submit(client)}/profile")
    assert (profile["status"], profile["finished_at"], profile["bottleneck"]) == ("queued", None, None)
    assert profile["spent_s"]["queued"] == profile["wall_s"] > 0


async def test_an_unknown_run_has_no_profile(client: httpx.AsyncClient) -> None:
    response = await client.get(f"/v1/runs/{uuid4()}/profile")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_run")
    response = await client.get(f"/v1/runs/{uuid4()}/profile", params={"threshold": "nan"})
    assert response.status_code == 422


async def test_profiles_are_of_the_newest_finished_runs(client: httpx.AsyncClient, hands: Hands, database: Any) -> None:
    await apply(database, POEM.replace("name: poem", "name: other"))
    mine = [await ran(client, hands) for _ in range(3)]
    others = await ran(client, hands, "other")
    never_at_work = await submit(client)
    await client.post(f"/v1/runs/{never_at_work}/cancel")
    await submit(client)
    report = await get_json(client, "/v1/profiles")
    assert report["runs"] == 4
    assert {run["run_id"] for run in report["slowest"]} == {*mine, others}
    had = {(n["workflow"], n["node"], n["runs"]) for n in report["nodes"]}
    assert had == {("poem", "draft", 3), ("poem", "write", 3), ("other", "draft", 1), ("other", "write", 1)}
    of_mine = await get_json(client, "/v1/profiles", workflow="poem", limit=2)
    assert {run["run_id"] for run in of_mine["slowest"]} == set(mine[1:])
    assert of_mine["runs"] == 2
    means = [spread["mean_s"] for spread in of_mine["spent"].values()]
    assert sum(means) == pytest.approx(of_mine["wall"]["mean_s"], abs=1e-5)
    assert of_mine["wall"]["p50_s"] <= of_mine["wall"]["p95_s"] <= of_mine["wall"]["p99_s"]
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert (await get_json(client, "/v1/profiles", since=soon))["runs"] == 0
    assert (await get_json(client, "/v1/profiles", since="1h", workflow="poem"))["runs"] == 3
    ProfileReport.model_validate(report)


async def test_reports_need_a_key_that_may_read(gateway: Gateway) -> None:
    for path in ("/v1/costs", "/v1/profiles", f"/v1/runs/{uuid4()}/profile"):
        async with gateway.client_with(None) as stranger:
            assert (await stranger.get(path)).status_code == 401
        async with gateway.as_one_who_may("read") as reader:
            assert (await reader.get(path)).status_code in (200, 404)
