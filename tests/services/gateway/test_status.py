"""`GET /v1/status`: what the gateway knows of itself, of the other services, and of the day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from flowyard.storage.agents import Agents, NewAgent
from flowyard.storage.database import Database
from flowyard.storage.schema import VERSION
from services.gateway.conftest import Gateway, Starting, submit
from support.hands import Hands

NOWHERE = "http://127.0.0.1:9"
FIRING = {
    "labels": {"alertname": "FlowyardQueueOld", "severity": "warning", "workflow": "poem"},
    "annotations": {"summary": "Runs wait long", "description": "…"},
    "state": "firing",
    "activeAt": "2026-11-23T06:00:00.123456789Z",
    "value": "6e+02",
}
PENDING = {"labels": {"alertname": "Soon"}, "annotations": {}, "state": "pending", "value": "1"}


@asynccontextmanager
async def answering(
    answers: Mapping[str, Any], on_request: Callable[[str], None] = lambda path: None
) -> AsyncIterator[str]:
    """The URL of a server that has just these paths: a text, JSON, or None, to which no answer ever comes."""

    async def handle(request: web.Request) -> web.Response:
        on_request(request.path)
        answer = answers[request.path]
        if answer is None:
            await asyncio.Event().wait()
        return web.Response(text=answer) if isinstance(answer, str) else web.json_response(answer)

    app = web.Application()
    for path in answers:
        app.router.add_get(path, handle)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def prometheus(*alerts: Any) -> dict[str, Any]:
    return {
        "/api/v1/status/buildinfo": {"status": "success", "data": {"version": "2.53.3"}},
        "/api/v1/alerts": {"status": "success", "data": {"alerts": alerts}},
    }


async def status_of(gateway: Gateway) -> dict[str, Any]:
    answer = await gateway.client.get("/v1/status")
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def service(status: Mapping[str, Any], name: str) -> dict[str, Any]:
    (shown,) = [one for one in status["services"] if one["name"] == name]
    assert isinstance(shown, dict)
    return shown


async def test_services_are_listed_with_their_versions_and_their_health(starting: Starting, database: Database) -> None:
    health = {"version": "0.1.0", "ready": True, "draining": False, "checks": []}
    sick = {**health, "ready": False, "checks": [{"name": "postgres", "ok": False, "detail": "Postgres is away"}]}
    await Agents(database).register(NewAgent("executor-1", "executor-1", "executor", "0.1.0", "here", {}))
    async with (
        answering({"/health/ready": health}) as registry,
        answering({"/health/ready": sick}) as dashboard,
        answering({"/api/2.0/mlflow/experiments/search": {}, "/version": "3.17.2"}) as mlflow,
        answering(prometheus()) as metrics,
        starting(registry_url=registry, dashboard_url=dashboard, mlflow_url=mlflow, prometheus_url=metrics) as gateway,
    ):
        status = await status_of(gateway)
    services = {one["name"]: (one["healthy"], one["version"], one["replicas"]) for one in status["services"]}
    assert (status["version"], status["schema_version"]) == (version("flowyard"), VERSION)
    assert services["registry"] == (True, "0.1.0", 1)
    assert services["dashboard"] == (False, "0.1.0", 1)
    assert services["mlflow"] == (True, "3.17.2", None)
    assert services["prometheus"] == (True, "2.53.3", None)
    assert services["executor"] == (True, "0.1.0", 1)
    assert services["gateway"] == (True, version("flowyard"), None)
    assert (service(status, "dashboard")["detail"], service(status, "registry")["address"]) == (
        "Postgres is away",
        registry.removeprefix("http://"),
    )
    for server in ("postgres", "nats"):
        is_there, release, _ = services[server]
        assert is_there
        assert int(release.partition(".")[0]) >= 2


async def test_an_mlflow_that_answers_but_has_no_database_is_not_well(starting: Starting) -> None:
    async with answering({"/health": "OK", "/version": "3.17.2"}) as url, starting(mlflow_url=url) as gateway:
        mlflow = service(await status_of(gateway), "mlflow")
    assert not mlflow["healthy"]


async def test_a_service_without_a_url_is_not_called(starting: Starting) -> None:
    async with starting(registry_url=NOWHERE) as gateway:
        status = await status_of(gateway)
    assert {one["name"] for one in status["services"]} == {"gateway", "postgres", "nats", "registry", "executor"}
    assert (service(status, "registry")["healthy"], service(status, "registry")["detail"]) == (
        False,
        "nothing listens there",
    )
    assert status["alerts"] is None
    assert service(status, "executor") == {
        "name": "executor",
        "healthy": False,
        "version": None,
        "address": None,
        "replicas": 0,
        "detail": "none has registered: runs wait",
    }


async def test_alerts_that_fire_are_shown(starting: Starting) -> None:
    async with answering(prometheus(PENDING, FIRING)) as url, starting(prometheus_url=url) as gateway:
        alerts = (await status_of(gateway))["alerts"]
    assert alerts["unreachable"] is None
    (alert,) = alerts["firing"]
    assert datetime.fromisoformat(alert.pop("since")).replace(microsecond=0) == datetime(2026, 11, 23, 6, tzinfo=UTC)
    assert alert == {
        "name": "FlowyardQueueOld",
        "severity": "warning",
        "summary": "Runs wait long",
        "labels": {"workflow": "poem"},
    }


@pytest.mark.parametrize(
    "answer", ["no JSON", {"data": {"alerts": [{"state": 1}]}}, {"data": {"alerts": [FIRING | {"activeAt": "x"}]}}]
)
async def test_a_prometheus_that_makes_no_sense_is_no_error(starting: Starting, answer: Any) -> None:
    async with answering({"/api/v1/alerts": answer}) as url, starting(prometheus_url=url) as gateway:
        status = await status_of(gateway)
    assert status["alerts"] == {"firing": None, "unreachable": "its answer can't be read"}
    assert service(status, "prometheus")["detail"] == "it answers with status 404"


async def test_a_prometheus_that_is_away_is_no_error(starting: Starting) -> None:
    async with starting(prometheus_url="http://user:hunter2@127.0.0.1:9") as gateway:
        status = await status_of(gateway)
    assert status["alerts"] == {"firing": None, "unreachable": "nothing listens there"}
    assert "hunter2" not in str(status)


async def test_a_silent_service_makes_status_wait_two_seconds_and_not_again(starting: Starting) -> None:
    silent = dict.fromkeys([*prometheus(), "/health/ready"])
    requests: list[str] = []
    async with (
        answering(silent, requests.append) as url,
        starting(prometheus_url=url, registry_url=url, dashboard_url=url) as gateway,
    ):
        status = await status_of(gateway)
        assert status["alerts"]["unreachable"] == "no answer within 2 s"
        assert service(status, "registry")["detail"] == "no answer within 2 s"
        made = len(requests)
        await status_of(gateway)
        assert len(requests) == made


@pytest.mark.usefixtures("poem")
async def test_the_day_has_its_runs_and_its_calls_to_the_last_digit(
    gateway: Gateway, hands: Hands, database: Database
) -> None:
    run_ids = [await submit(gateway.client) for _ in range(3)]
    await hands.succeed(await hands.take(), {})
    await hands.take()
    for number, cost in enumerate(("0.1", "0.00000002", None)):
        await database.execute(_CALL, UUID(run_ids[0]), number, "now", cost)
    await database.execute(_CALL, UUID(run_ids[0]), 9, "yesterday", "100")
    today = (await status_of(gateway))["today"]
    assert datetime.fromisoformat(today.pop("since")).time().isoformat() == "00:00:00"
    assert today == {
        "total": 3,
        "runs": {"succeeded": 1, "running": 1, "queued": 1},
        "calls": 3,
        "cost_usd": None,
        "known_cost_usd": "0.10000002",
        "unknown_cost": 1,
    }


_CALL = """
INSERT INTO model_calls (run_id, seq, visit, item, duration_s, at, node, provider, model, cost_usd)
SELECT $1, $2, 1, -1, 1, now() - CASE $3::text WHEN 'now' THEN interval '0' ELSE interval '25 hours' END, 'n', 'p', 'm',
    $4::text::numeric
"""


@pytest.mark.usefixtures("poem")
async def test_without_heartbeats_executors_can_not_be_seen_and_those_with_runs_are_not_said_to_be_down(
    starting: Starting, hands: Hands
) -> None:
    async with starting(nats_url="nats://127.0.0.1:9") as gateway:
        status = await status_of(gateway)
        assert (service(status, "executor")["healthy"], service(status, "executor")["replicas"]) == (False, 0)
        await submit(gateway.client)
        await hands.take()
        status = await status_of(gateway)
    executor = service(status, "executor")
    assert (executor["healthy"], executor["detail"]) == (None, "no heartbeats arrive; claimed runs: hands 1")
    assert (service(status, "nats")["healthy"], service(status, "nats")["version"]) == (False, None)
    assert [(holder["executor"], holder["runs"]) for holder in status["holders"]] == [("hands", 1)]
