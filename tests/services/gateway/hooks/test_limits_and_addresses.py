"""Webhooks that are too large, too many or paused, who waits for the result, and the address that a sender signs."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from flowyard.containers import MOST_CONTAINERS
from flowyard.runs.events import Failure
from flowyard.storage.database import Database
from flowyard.storage.triggers import Triggers
from services.gateway.conftest import Starting
from support.hands import Hands
from support.hook_records import code_of, deliveries, runs_of
from support.hook_senders import HEAD, at, changed, document, send, signed
from support.hooks import without
from support.queued import apply

PLAIN = "generic"
OPEN = HEAD + "  open:\n    webhook: {path: open, auth: none}\n    inputs: {topic: '{payload.a}'}\n"


async def test_a_large_body_is_read_and_only_its_size_and_digest_are_kept(
    client: httpx.AsyncClient, database: Database
) -> None:
    body = json.dumps({"id": "evt_3", "text": "x" * 300_000})
    assert (await send(client, signed("stripe", at(client, "stripe"), body))).status_code == 202
    [stored] = await deliveries(database)
    assert (stored["payload"], stored["body_size"]) == (None, len(body))
    assert stored["digest"] == hashlib.sha256(body.encode()).digest()
    assert await runs_of(database) == 1


async def test_a_body_above_the_limit_is_413_and_recorded(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, OPEN.replace("auth: none", "auth: none, limits: {body: 100 B}"))
    url = str(client.base_url) + "/hooks/open"
    assert code_of(await client.post(url, json={"a": "x" * 200})) == (413, "too_large")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 10

    assert code_of(await client.post(url, content=pieces())) == (413, "too_large")
    assert (await client.post(url, json={"a": 1})).status_code == 202
    stored = await deliveries(database)
    assert [(each["outcome"], each["digest"] is None) for each in stored] == [
        ("refused", True), ("refused", True), ("started", False),
    ]  # fmt: skip
    await apply(database, OPEN.replace("auth: none", "auth: none, limits: {body: 1 kB}"))
    assert (await client.post(url, json={"a": "x" * 200})).status_code == 202


async def test_a_payload_of_too_many_lists_is_413_and_recorded(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, OPEN)
    response = await client.post(str(client.base_url) + "/hooks/open", json=[[]] * MOST_CONTAINERS)
    assert code_of(response) == (413, "too_large")
    [stored] = await deliveries(database)
    assert (stored["outcome"], stored["status"]) == ("refused", 413)
    assert stored["reason"] == "the webhook's body has 125,001 lists and objects; at most 125,000 are allowed"


async def test_more_than_the_rate_is_429_with_a_time_to_wait(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, OPEN.replace("auth: none", "auth: none, limits: {rate: 3/min}"))
    url = str(client.base_url) + "/hooks/open"
    responses = [await client.post(url, json={"a": i}) for i in range(5)]
    assert [response.status_code for response in responses] == [202, 202, 202, 429, 429]
    assert responses[-1].json()["code"] == "too_many_deliveries"
    assert 1 <= int(responses[-1].headers["retry-after"]) <= 20
    assert [each["outcome"] for each in await deliveries(database)] == ["started"] * 3 + ["refused"] * 2


async def test_a_flood_of_strangers_is_recorded_in_part_only(client: httpx.AsyncClient, database: Database) -> None:
    request = without(signed("github", at(client, "github")), "x-hub-signature-256")
    responses = [await send(client, request.with_headers(("x-large", "x" * 5000))) for _ in range(70)]
    assert {response.status_code for response in responses} == {401}
    stored = await deliveries(database)
    assert 60 <= len(stored) <= 63
    assert max(len(str(each)) for each in stored) < 2000


@pytest.mark.parametrize("disabled", [True, False], ids=["disabled", "paused"])
async def test_a_paused_trigger_asks_for_patience_and_keeps_what_came(
    client: httpx.AsyncClient, database: Database, *, disabled: bool
) -> None:
    if disabled:
        await apply(database, OPEN + "    enabled: false\n")
    else:
        await apply(database, OPEN)
        await Triggers(database).set_paused("hooked", "open", paused=True)
    response = await client.post(str(client.base_url) + "/hooks/open", json={"a": 1})
    assert (*code_of(response), response.headers["retry-after"]) == (503, "trigger_paused", "300")
    [stored] = await deliveries(database)
    assert (stored["outcome"], stored["payload"], stored["status"]) == ("paused", {"a": 1}, 503)
    if not disabled:
        await Triggers(database).set_paused("hooked", "open", paused=False)
        assert (await client.post(str(client.base_url) + "/hooks/open", json={"a": 1})).status_code == 202


async def test_who_waits_gets_the_result(client: httpx.AsyncClient, database: Database, hands: Hands) -> None:
    await apply(database, OPEN.replace("auth: none", "auth: none, wait: 5s"))
    url = str(client.base_url) + "/hooks/open"
    waiting = asyncio.create_task(client.post(url, json={"a": 1}))
    claim = await hands.take()
    repeated = asyncio.create_task(client.post(url, json={"a": 1}))
    await hands.step(claim, "keep", {"poem": 1})
    await hands.succeed(claim, {"poem": 1})
    for response, outcome in ((await waiting, "started"), (await repeated, "repeated")):
        assert response.status_code == 200
        result = response.json()
        assert (result["outcome"], result["status"], result["outputs"]) == (outcome, "succeeded", {"poem": 1})
    assert [each["status"] for each in await deliveries(database)] == [200, 200]
    assert await runs_of(database) == 1


async def test_who_waits_is_told_of_outputs_that_are_too_large_for_a_response(
    client: httpx.AsyncClient, database: Database, hands: Hands
) -> None:
    await apply(database, OPEN.replace("auth: none", "auth: none, wait: 5s"))
    waiting = asyncio.create_task(client.post(str(client.base_url) + "/hooks/open", json={"a": 1}))
    claim = await hands.take()
    poem = "x" * 300_000
    await hands.step(claim, "keep", {"poem": poem})
    await hands.succeed(claim, {"poem": poem})
    result = (await waiting).json()
    assert (result["status"], result["outputs"], result["large_outputs"]) == ("succeeded", {}, {"poem": 300_002})


async def test_who_waits_too_long_gets_202_and_the_run_goes_on(
    client: httpx.AsyncClient, database: Database, hands: Hands
) -> None:
    await apply(database, OPEN.replace("auth: none", "auth: none, wait: 100ms"))
    response = await client.post(str(client.base_url) + "/hooks/open", json={"a": 1})
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    await hands.fail(await hands.take(), Failure("provider_error", "it is down", "keep"))
    repeated = (await client.post(str(client.base_url) + "/hooks/open", json={"a": 1})).json()
    assert (repeated["status"], repeated["error"]["code"]) == ("failed", "provider_error")


async def test_a_full_queue_is_429_and_the_sender_may_repeat(
    starting: Starting, database: Database, hands: Hands, environment: None
) -> None:
    await apply(database, OPEN)
    async with starting(queue_limit=1) as gateway:
        url = str(gateway.client.base_url) + "/hooks/open"
        assert (await gateway.client.post(url, json={"a": 1})).status_code == 202
        full = await gateway.client.post(url, json={"a": 2})
        assert (*code_of(full), full.headers["retry-after"]) == (429, "queue_full", "2")
        await hands.take()
        await asyncio.sleep(0.6)
        assert (await gateway.client.post(url, json={"a": 2})).status_code == 202
    assert [each["outcome"] for each in await deliveries(database)] == ["started", "refused", "started"]


@pytest.mark.parametrize(
    ("settings", "headers", "url"),
    [
        ({"public_url": "https://hooks.example/"}, {}, "https://hooks.example"),
        (
            {"trusted_proxies": "127.0.0.1"},
            {"x-forwarded-proto": "http, https", "x-forwarded-host": "bad.example, hooks.example"},
            "https://hooks.example",
        ),
    ],
)
async def test_twilio_signs_the_address_that_it_has(
    starting: Starting, database: Database, environment: None, settings: Any, headers: dict[str, str], url: str
) -> None:
    await apply(database, document())
    async with starting(**settings) as gateway:
        own = at(gateway.client, "twilio", "?a=%20b")
        request = signed(
            "twilio", own.replace(str(gateway.client.base_url).rstrip("/"), url), "MessageSid=SM1", headers=headers
        )
        assert (await send(gateway.client, changed(request, url=own))).status_code == 200
        assert code_of(await send(gateway.client, signed("twilio", own, "MessageSid=SM2", headers=headers))) == (
            401, "unverified",
        )  # fmt: skip


async def test_a_stranger_can_not_choose_the_address_that_counts(client: httpx.AsyncClient) -> None:
    own = at(client, "twilio")
    forged = signed(
        "twilio", "https://evil.example/hooks/in/twilio", "MessageSid=SM1", headers={"x-forwarded-host": "evil.example"}
    )
    assert code_of(await send(client, changed(forged, url=own))) == (401, "unverified")


async def test_headers_and_parameters_can_be_mapped(client: httpx.AsyncClient, database: Database) -> None:
    inputs = "{topic: ['{headers[\"x-kind\"]}', '{query.a}', '{query.b}']}"
    await apply(database, OPEN.replace("{topic: '{payload.a}'}", inputs))
    url = str(client.base_url) + "/hooks/open?a=1&b=x&b=%C3%A4"
    response = await client.post(url, headers=[("X-Kind", "one"), ("X-Kind", "two")])
    run = (await client.get(f"/v1/runs/{response.json()['run_id']}")).json()
    assert run["inputs"] == {"topic": ["one, two", "1", ["x", "ä"]]}


async def test_no_header_with_a_secret_can_be_mapped(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, OPEN.replace("{payload.a}", '{headers["authorization"]}'))
    response = await client.post(str(client.base_url) + "/hooks/open", json={})
    assert response.json()["outcome"] == "failed"


@pytest.mark.parametrize(
    "query", ["?%00=%00", "?" + "&".join(f"a{i}=1" for i in range(1500)), "?%ff=%ff", "?a=%ED%A0%80"]
)
@pytest.mark.parametrize("host", ["[::1", "x", "a\tb"])
async def test_odd_requests_are_no_500(client: httpx.AsyncClient, database: Database, query: str, host: str) -> None:
    await apply(database, OPEN)
    url = str(client.base_url) + "/hooks/open" + query
    response = await client.post(url, json={"a": 1}, headers={"host": host})
    assert response.status_code in (202, 400), response.text


async def test_the_end_of_a_run_that_a_webhook_has_started_is_reported_as_its_document_says(
    client: httpx.AsyncClient, database: Database
) -> None:
    await apply(database, OPEN + "on_finish: [{url: 'https://example.com/ends', auth: none}]\n")
    assert (await client.post("/hooks/open", json={"a": 1})).status_code == 202
    [row] = await database.rows("SELECT on_finish FROM runs")
    assert [each["url"] for each in row["on_finish"]] == ["https://example.com/ends"]
