"""A submit that is right goes past FastAPI, and gets the same answer as by its route."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from services.gateway.conftest import Gateway

RUNS = "/v1/workflows/poem/runs"
RAIN = b'{"inputs": {"topic": "rain"}}'
QUICK = "application/json"
SLOW = "application/json; charset=utf-8"
"""With more than the plain header, the request goes by FastAPI's route."""
OWN = ("id", "instance", "created_at", "location", "x-request-id")
"""What differs between two answers to the same request."""

pytestmark = pytest.mark.usefixtures("poem")


async def answered(client: httpx.AsyncClient, kind: str, path: str, request: dict[str, Any]) -> dict[str, Any]:
    headers = httpx.Headers([*request.pop("headers", []), ("content-type", kind)])
    response = await client.post(path, headers=headers, **{"content": RAIN} | request)
    kept = {name: value for name, value in response.json().items() if name not in OWN}
    said = {name: value for name, value in response.headers.items() if name not in (*OWN, "date", "content-length")}
    return {"status": response.status_code, "body": kept, "headers": said}


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        (RUNS, {}),
        (RUNS, {"params": {"wait": "0.01"}}),
        (RUNS, {"content": b"{}"}),
        (RUNS, {"content": b'{"inputs": {"topic": "rain"}, "priority": 5, "stream": true}'}),
        (RUNS, {"content": b""}),
        (RUNS, {"content": b"[1]"}),
        (RUNS, {"content": b'{"inputs": '}),
        (RUNS, {"content": b"\xff"}),
        (RUNS, {"content": b'{"inputs": {"topic": "a", "topic": "b"}}'}),
        (RUNS, {"content": b'{"inputs": {"topic": 3}}'}),
        (RUNS, {"content": b'{"inputs": {"topic": "a"}, "priority": 101, "other": 1}'}),
        (RUNS, {"params": {"wait": "301"}}),
        (RUNS, {"params": {"wait": "nan"}}),
        (RUNS, {"params": {"wait": ""}}),
        (RUNS, {"params": [("wait", "0"), ("wait", "x")]}),
        (RUNS, {"params": {"other": "1"}}),
        (RUNS, {"headers": [("idempotency-key", "")]}),
        (RUNS, {"headers": [("idempotency-key", "a b")]}),
        (RUNS, {"headers": [("idempotency-key", "x" * 256)]}),
        ("/v1/workflows/nobody/runs", {}),
        ("/v1/workflows/a%2Fb/runs", {}),
        ("/v1/workflows/a%00b/runs", {}),
        (f"/v1/workflows/{'x' * 129}/runs", {}),
        (f"{RUNS}/", {}),
    ],
    ids=str,
)
async def test_the_answer_is_that_of_the_route(client: httpx.AsyncClient, path: str, request_: dict[str, Any]) -> None:
    quick, slow = [await answered(client, kind, path, dict(request_)) for kind in (QUICK, SLOW)]
    assert quick == slow


async def test_who_may_only_read_can_not_submit(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {gateway.keys['read']}"}
    for kind in (QUICK, SLOW):
        response = await gateway.client.post(RUNS, content=RAIN, headers={**headers, "content-type": kind})
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    without = await gateway.client.post(RUNS, content=RAIN, headers={"authorization": "", "content-type": QUICK})
    assert without.status_code == 401


async def test_the_same_key_is_the_same_request_on_both_ways(client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "k"}
    made, again = [
        await client.post(RUNS, content=RAIN, headers={**headers, "content-type": kind}) for kind in (QUICK, SLOW)
    ]
    assert (made.status_code, again.status_code) == (202, 200)
    assert made.json()["id"] == again.json()["id"]


async def test_both_ways_are_counted_as_the_same_route(client: httpx.AsyncClient) -> None:
    for kind in (QUICK, SLOW):
        await client.post(RUNS, content=RAIN, headers={"content-type": kind})
    metrics = (await client.get("/metrics")).text
    counted = [
        line for line in metrics.splitlines() if line.startswith("flowyard_http_requests_total") and "POST" in line
    ]
    [submits] = counted
    assert 'route="/v1/workflows/{name}/runs"' in submits
    assert submits.endswith(" 2.0")
