"""What comes to `/mcp` that no client of the SDK would send."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from flowyard.storage.database import Database
from services.gateway.conftest import Gateway, Starting
from services.gateway.mcp.conftest import POEM
from support.hands import Hands
from support.queued import apply

HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}


def message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def post(gateway: Gateway, json: Any = None, **more: Any) -> httpx.Response:
    headers = {**HEADERS, **more.pop("headers", {})}
    return await gateway.client.post("/mcp", json=json, headers=headers, **more)


async def test_who_has_no_key_is_nobody(gateway: Gateway) -> None:
    async with gateway.client_with(None) as stranger:
        answer = await stranger.post("/mcp", json=message("tools/list"), headers=HEADERS)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="flowyard"')


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("https://app.example", 200),
        ("http://localhost:3000", 200),
        ("http://[::1]:3000", 200),
    ],
)
async def test_web_pages_need_to_be_known(starting: Starting, origin: str, status: int) -> None:
    async with starting(cors_origins="https://app.example") as gateway:
        answer = await post(gateway, message("tools/list"), headers={"origin": origin})
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000, b'{"a": "\\ud800"}'])
async def test_what_is_no_unambiguous_json_is_refused_in_the_protocols_form(gateway: Gateway, body: bytes) -> None:
    answer = await post(gateway, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (400, -32700, None)


@pytest.mark.parametrize(
    "body", [[], [message("tools/list")], 7, None, {"jsonrpc": "2.0"}, {"id": 1, "method": "ping"}]
)
async def test_what_is_no_message_is_refused(gateway: Gateway, body: Any) -> None:
    answer = await post(
        gateway, content=httpx.Request("POST", "/", json=body).content, headers={"content-type": "application/json"}
    )
    assert (answer.status_code, "error" in answer.json()) == (400, True), answer.text


async def test_bodies_have_the_limit_of_all_requests(starting: Starting) -> None:
    async with starting(body_limit=2_000) as gateway:
        answer = await post(gateway, message("tools/call", name="poem", arguments={"topic": "x" * 3_000}))
    assert answer.status_code == 413


async def test_numbers_that_are_none_start_nothing(gateway: Gateway, database: Database) -> None:
    body = (
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "poem", "arguments": {"lines": NaN}}}'
    )
    answer = await post(gateway, content=body, headers={"content-type": "application/json"})
    assert "expected int" in answer.text
    assert await database.value("SELECT count(*) FROM runs") == 0


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_there_are_no_sessions(gateway: Gateway, method: str) -> None:
    answer = await gateway.client.request(method, "/mcp", headers=HEADERS)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_shutdown_answers_calls_that_wait(starting: Starting, database: Database, hands: Hands) -> None:
    await apply(database, POEM)
    async with starting() as gateway:
        calling = asyncio.create_task(post(gateway, message("tools/call", name="poem", arguments={"topic": "rain"})))
        claim = await hands.take()
        gateway.ending.set()
        answer = await calling
    assert (answer.status_code, f"run {claim.run_id} goes on" in answer.text) == (200, True)


async def test_a_library_that_can_not_be_imported_keeps_nobody_waiting(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise ImportError(name)

    with monkeypatch.context() as broken:
        broken.setattr("flowyard_gateway.mcp.door.import_module", fail)
        assert (await post(gateway, message("tools/list"))).status_code == 500
    assert (await post(gateway, message("tools/list"))).status_code == 200
