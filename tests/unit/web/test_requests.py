from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from flowyard.telemetry.logs import JsonLines
from unit.web.conftest import BODY_LIMIT, Running, Service

LARGE = b"x" * (BODY_LIMIT + 1)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize("path", ["/v1/raw", "/v1/items"])
async def test_a_body_with_a_too_large_content_length_is_refused(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, content=LARGE, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert response.json()["code"] == "too_large"
    assert response.json()["limit_bytes"] == BODY_LIMIT
    assert response.json()["instance"].endswith(response.headers["x-request-id"])


@pytest.mark.parametrize("path", ["/v1/raw", "/v1/items"])
async def test_a_body_that_turns_out_too_large_is_refused(running: Running, path: str) -> None:
    async with running() as client:
        response = await client.post(
            path, content=chunks(LARGE[:600], LARGE[:600]), headers={"content-type": "application/json"}
        )
    assert response.status_code == 413
    assert response.json()["code"] == "too_large"


async def test_a_body_at_the_limit_is_taken(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/raw", content=LARGE[:-1])).json() == BODY_LIMIT
    assert (await client.post("/v1/raw", content=chunks(LARGE[:500], LARGE[:500]))).json() == BODY_LIMIT


async def test_a_much_too_large_body_gets_its_answer_over_real_http(running: Running) -> None:
    async with running() as client:
        response = await client.post("/v1/raw", content=b"x" * 5_000_000)
        assert response.status_code == 413
        assert (await client.get("/health/live")).status_code == 200


async def test_answers_make_browsers_careful(client: httpx.AsyncClient) -> None:
    headers = (await client.get("/v1/nothing")).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"


async def test_what_an_answer_says_itself_stays(running: Running) -> None:
    async with running() as client, client.stream("GET", "/v1/events") as response:
        assert response.headers.get_list("cache-control") == ["no-cache, no-transform"]


async def test_a_callers_request_id_is_kept_if_it_is_one(client: httpx.AsyncClient) -> None:
    kept = await client.get("/health/live", headers={"x-request-id": "abc-12345"})
    assert kept.headers["x-request-id"] == "abc-12345"
    made = await client.get("/health/live", headers={"x-request-id": 'no" good'})
    assert len(made.headers["x-request-id"]) == 32


async def test_requests_are_counted_by_template_and_never_by_path(service: Service) -> None:
    async with service.client() as client:
        await client.get("/v1/runs/r1")
        await client.get("/v1/runs/r2")
        await client.get("/v1/nothing/at/all")
        await client.request("BREW", "/v1/nothing")
    count = "flowyard_http_requests_total"
    value = service.metrics.value
    assert value(count, method="GET", route="/v1/runs/{run_id}", status="404") == 2
    assert value(count, method="GET", route="none", status="404") == 1
    assert value(count, method="other", route="none", status="404") == 1
    assert value("flowyard_http_request_duration_seconds_count", method="GET", route="/v1/runs/{run_id}") == 2


async def test_a_bug_is_counted_as_a_500(service: Service) -> None:
    async with service.client() as client:
        await client.get("/v1/bug")
    assert service.metrics.value("flowyard_http_requests_total", method="GET", route="/v1/bug", status="500") == 1


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "flowyard.web.requests"]


async def test_requests_that_are_slow_or_fail_or_change_something_are_logged_and_others_for_who_looks_closely(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="flowyard.web.requests")
    for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/v1/slow", "/v1/runs/r1?secret=x"):
        await client.get(path)
    await client.post("/v1/raw", content=b"x")
    assert [line.levelno for line in lines(caplog)] == [logging.DEBUG] * 4 + [logging.INFO] * 3
    logged = lines(caplog)[-2].__dict__
    assert (logged["method"], logged["route"], logged["status"]) == ("GET", "/v1/runs/{run_id}", 404)
    assert "secret" not in str(logged)


async def test_what_is_logged_of_a_request_about_a_run_bears_its_id(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caplog.handler, "formatter", JsonLines("gateway"))
    caplog.set_level(logging.DEBUG, logger="flowyard.web.requests")
    run_id = uuid4()
    for path in (f"/v1/runs/{run_id}", f"/v1/runs/{run_id}/nothing", "/v1/runs/r1", f"/v1/items/{run_id}"):
        await client.get(path)
    written = [json.loads(line) for line in caplog.text.splitlines() if "request answered" in line]
    ids = [(line.get("run_id"), line.get("trace_id")) for line in written]
    assert ids == [(str(run_id), run_id.hex)] * 2 + [(None, None)] * 2


async def test_who_cancels_a_request_sees_it_cancelled(service: Service) -> None:
    with pytest.raises(TimeoutError):
        async with service.client() as client, asyncio.timeout(0.05):
            await client.get("/v1/events")
