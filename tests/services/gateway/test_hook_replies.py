"""Which chat a webhook's run is to answer, and what the sender is answered at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from flowyard.storage.database import Database
from flowyard.webhooks.request import HookRequest
from services.gateway.conftest import Starting
from support.hook_senders import HEAD, SECRETS, at, send, signed
from support.hooks import FORM, PARTIES, PUBLIC_KEY
from support.queued import apply

pytestmark = pytest.mark.usefixtures("environment")
DOCUMENT = (
    HEAD
    + f"""
  slack:
    webhook: {{path: in/slack, kind: slack, secret: '${{env:SLACK_WEBHOOK_SECRET}}'}}
    inputs: {{topic: '{{payload}}'}}
    reply: {{text: '{{poem}}', token: '${{env:SLACK_BOT_TOKEN}}'}}
  discord:
    webhook: {{path: in/discord, kind: discord, public_key: {PUBLIC_KEY}}}
    when: payload.type == 2
    inputs: {{topic: '{{payload}}'}}
    reply: '{{poem}}'
"""
)
COMMAND = {
    "command": "/ask", "text": "why", "channel_id": "C1", "trigger_id": "1.2",
    "response_url": "https://hooks.slack.com/commands/T1/1/key",
}  # fmt: skip
INTERACTION = {"id": "11", "application_id": "8", "token": "interaction-token", "channel_id": "42", "type": 2}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def client(starting: Starting, database: Database, environment: None) -> AsyncIterator[httpx.AsyncClient]:
    await apply(database, DOCUMENT)
    async with starting() as gateway:
        yield gateway.client


async def receivers(database: Database) -> list[Any]:
    rows = await database.rows("SELECT on_finish FROM runs ORDER BY id")
    return [row["on_finish"] for row in rows]


async def command(client: httpx.AsyncClient) -> httpx.Response:
    request = HookRequest("POST", at(client, "slack"), (("content-type", FORM),), urlencode(COMMAND).encode())
    return await send(client, PARTIES["slack"].signed(request, datetime.now(UTC)))


async def test_a_command_of_slack_is_answered_at_once_and_its_result_goes_to_its_response_url(
    client: httpx.AsyncClient, database: Database
) -> None:
    response = await command(client)
    assert (response.status_code, response.content) == (200, b"")
    [[receiver]] = await receivers(database)
    assert (receiver["url"], receiver["status"]) == ("slack:C1", ["succeeded", "failed", "cancelled"])
    assert receiver["reply"]["target"] == {"chat": "C1", "channel": "C1", "url": COMMAND["response_url"]}
    assert (receiver["reply"]["text"], receiver["reply"]["token"]) == ("{poem}", "${env:SLACK_BOT_TOKEN}")


async def test_what_a_bot_says_in_slack_starts_nothing(client: httpx.AsyncClient, database: Database) -> None:
    event = {"type": "message", "channel": "C1", "text": "hello", "ts": "17.1"}
    bots = {**event, "bot_id": "B1"}
    response = await send(client, signed("slack", at(client, "slack"), {"event_id": "Ev1", "event": bots}))
    assert response.status_code == 200
    assert await receivers(database) == []
    assert (await client.get("/v1/deliveries")).json()["items"][0]["outcome"] == "unmatched"
    await send(client, signed("slack", at(client, "slack"), {"event_id": "Ev2", "event": event}))
    [[receiver]] = await receivers(database)
    assert receiver["reply"]["target"] == {"chat": "C1", "channel": "C1", "thread": "17.1"}


async def test_discord_shows_that_the_answer_comes_or_that_nothing_was_started(
    client: httpx.AsyncClient, database: Database
) -> None:
    deferred = await send(client, signed("discord", at(client, "discord"), INTERACTION))
    assert deferred.json() == {"type": 5}
    [[receiver]] = await receivers(database)
    assert receiver["reply"]["target"] == {
        "chat": "42", "channel": "42", "application": "8", "interaction": "interaction-token",
    }  # fmt: skip
    copy = await send(client, signed("discord", at(client, "discord"), INTERACTION))
    assert copy.json() == {"type": 5}
    nothing = await send(client, signed("discord", at(client, "discord"), {**INTERACTION, "id": "12", "type": 3}))
    assert nothing.json() == {"type": 4, "data": {"content": "Nothing was started by this.", "flags": 64}}
    ping = await send(client, signed("discord", at(client, "discord"), {"id": "13", "type": 1}))
    assert ping.json() == {"type": 1}


async def test_a_replay_answers_the_chat_as_late_as_it_is(client: httpx.AsyncClient, database: Database) -> None:
    await command(client)
    [delivery] = (await client.get("/v1/deliveries")).json()["items"]
    assert (await client.post(f"/v1/deliveries/{delivery['id']}/replay")).status_code == 202
    [[first], [second]] = await receivers(database)
    received = await database.value("SELECT received_at FROM deliveries WHERE id = $1", delivery["id"])
    assert second["reply"]["at"] == received.isoformat()
    assert second["reply"]["target"] == first["reply"]["target"]
