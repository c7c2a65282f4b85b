"""Somebody writes in a chat, and gets the result of the run there: signed and answered as the chats do it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from flowyard.chats.platforms import Chat
from flowyard.webhooks.request import HookRequest
from support.chat_servers import ChatServer
from support.foreign_signers import FOREIGN, PLAIN, Sign, Unsigned
from support.hook_senders import send
from support.hooks import FORM, JSON, PARTIES, PUBLIC_KEY
from support.system import System
from support.visitor import JsonObject, Visitor
from support.waiting import eventually

DOCUMENT: Final = f"""\
flow: {{name: answering}}
state:
  fields:
    text: {{type: str, required: true}}
    answer: str
nodes:
  - {{id: polite, assert: "not contains(text, 'stupid')", message: somebody is impolite}}
  - {{id: answer, set: {{answer: 'You wrote: {{text}}'}}}}
triggers:
  telegram:
    webhook: {{path: stories/chats/telegram, kind: telegram, secret: '${{env:TELEGRAM_WEBHOOK_SECRET}}'}}
    inputs: {{text: '{{payload.message.text}}'}}
    reply: {{text: '{{answer}}', failed: 'Please be polite.', token: '${{env:TELEGRAM_BOT_TOKEN}}'}}
  whatsapp:
    webhook:
      path: stories/chats/whatsapp
      kind: whatsapp
      secret: ${{env:WHATSAPP_WEBHOOK_SECRET}}
      verify_token: ${{env:META_VERIFY_TOKEN}}
    inputs: {{text: '{{payload.message.text.body}}'}}
    reply: {{text: '{{answer}}', token: '${{env:WHATSAPP_ACCESS_TOKEN}}'}}
  slack:
    webhook: {{path: stories/chats/slack, kind: slack, secret: '${{env:SLACK_WEBHOOK_SECRET}}'}}
    when: contains(payload, 'event')
    inputs: {{text: '{{payload.event.text}}'}}
    reply: {{text: '{{answer}}', token: '${{env:SLACK_BOT_TOKEN}}'}}
  command:
    webhook: {{path: stories/chats/command, kind: slack, secret: '${{env:SLACK_WEBHOOK_SECRET}}'}}
    inputs: {{text: '{{payload.text}}'}}
    reply: '{{answer}}'
  discord:
    webhook: {{path: stories/chats/discord, kind: discord, public_key: {PUBLIC_KEY}}}
    inputs: {{text: '{{payload.data.text}}'}}
    reply: '{{answer}}'
"""
LONG: Final = "word " * 500
"""More than a message of Discord may have, less than one of the others."""
SIGNERS: Final[Mapping[str, Sign]] = {
    "telegram": PLAIN["Telegram's token"][1],
    "whatsapp": PLAIN["octokit for WhatsApp"][1],
    "slack": FOREIGN["slack"][1],
    "command": FOREIGN["slack"][1],
    "discord": FOREIGN["discord-interactions"][1],
}


@pytest.fixture
async def chats(system: System) -> AsyncIterator[Mapping[Chat, ChatServer]]:
    async with system.near.chats() as servers:
        yield servers


async def write(visitor: Visitor, trigger: str, body: Any) -> None:
    """As the chat sends what somebody wrote. `body`: JSON, or the fields of a form."""
    is_form = isinstance(body, tuple)
    content = urlencode(body) if is_form else json.dumps(body)
    url = f"{str(visitor.http.base_url).rstrip('/')}/hooks/stories/chats/{trigger}"
    secret = PARTIES["slack" if trigger == "command" else trigger].secret
    headers = {"Content-Type": FORM if is_form else JSON, **SIGNERS[trigger](Unsigned(url, content, secret))}
    response = await send(visitor.http, HookRequest("POST", url, tuple(headers.items()), content.encode()))
    assert response.is_success, response.text


def telegram_update(number: int, text: str) -> JsonObject:
    return {"update_id": number, "message": {"message_id": number, "text": text, "chat": {"id": 42}}}


def whatsapp_body(text: str) -> JsonObject:
    value = {
        "metadata": {"phone_number_id": "9"},
        "messages": [{"id": "wamid.Q", "from": "49170", "type": "text", "text": {"body": text}}],
    }
    return {"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}


def slack_event(text: str) -> JsonObject:
    event = {"type": "app_mention", "text": text, "channel": "C1", "ts": "17.1", "user": "U1"}
    return {"type": "event_callback", "event_id": "Ev-reply", "event": event}


def slack_command(text: str, url: str) -> tuple[tuple[str, str], ...]:
    return ("command", "/ask"), ("text", text), ("trigger_id", "1.reply"), ("response_url", url), ("channel_id", "C2")


def interaction(text: str) -> JsonObject:
    return {
        "id": "21",
        "application_id": "8",
        "token": "interaction-token",
        "channel_id": "42",
        "type": 2,
        "data": {"text": text},
    }


async def test_what_somebody_writes_in_a_chat_is_answered_there(
    visitor: Visitor, chats: Mapping[Chat, ChatServer]
) -> None:
    await visitor.apply("answering", DOCUMENT)
    # Not taken at first: it is sent again.
    chats["whatsapp"].refuse = [(503, {"error": {"message": "busy", "code": 2}}, {})]
    async with asyncio.TaskGroup() as writers:
        for trigger, body in {
            "telegram": telegram_update(101, "hello"),
            "whatsapp": whatsapp_body("hello"),
            "slack": slack_event("<@U7> hello"),
            "command": slack_command("hello", f"{chats['slack'].url}/commands/T1/1/key"),
            "discord": interaction(LONG),
        }.items():
            writers.create_task(write(visitor, trigger, body))
    counts: dict[Chat, int] = {"telegram": 1, "whatsapp": 1, "slack": 2, "discord": 2}
    await eventually(lambda: {chat: len(server.taken) for chat, server in chats.items()} == counts)
    taken = {chat: {(each.place, each.text) for each in server.taken} for chat, server in chats.items()}
    assert taken["telegram"] == {("42", "You wrote: hello")}
    assert taken["whatsapp"] == {("49170", "You wrote: hello")}
    assert taken["slack"] == {("C1", "You wrote: &lt;@U7&gt; hello"), ("/commands/T1/1/key", "You wrote: hello")}
    first, second = chats["discord"].taken
    assert first.place == "PATCH /webhooks/8/interaction-token/messages/@original"
    assert second.place == "POST /webhooks/8/interaction-token"
    assert f"{first.text} {second.text}".split() == f"You wrote\\: {LONG}".split()


async def test_who_makes_a_run_fail_is_answered_too_and_the_answer_is_listed(
    visitor: Visitor, chats: Mapping[Chat, ChatServer]
) -> None:
    await visitor.apply("answering", DOCUMENT)
    await write(visitor, "telegram", telegram_update(102, "how stupid"))
    await eventually(lambda: chats["telegram"].texts == ["Please be polite."])
    [run] = (await visitor.get("/v1/runs", workflow="answering", status="failed", limit=1))["items"]

    async def accepted() -> JsonObject | None:
        [listed] = (await visitor.get("/v1/notifications", run=run["id"]))["items"]
        return listed if listed["state"] == "sent" else None

    listed = await eventually(accepted)
    assert (listed["url"], listed["run_status"], listed["tries"]) == ("telegram:42", "failed", 1)
