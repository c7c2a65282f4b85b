from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from flowyard.storage.database import Database
from services.gateway.conftest import Gateway, Starting
from support.hands import Hands
from support.queued import apply

DOCUMENT = """
flow: {name: support}
state:
  fields:
    messages: {type: 'list[message]', required: true}
    language: {type: str, default: en}
    kind: str
    reply: str
nodes:
  - {id: classify, prompt: "Which kind? {messages}", outputs: [kind]}
  - {id: answer, history: messages, system: "Answer in {language}: {kind}", outputs: [reply]}
result: [reply]
triggers:
  talk:
    chat: {answer: answer, OPTIONS}
    inputs: {language: "{request.metadata.language}"}
"""


def document(options: str = "concurrent: queue", name: str = "support") -> str:
    return DOCUMENT.replace("OPTIONS", options).replace("name: support", f"name: {name}")


def said(text: str = "Hello", role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


@dataclass(frozen=True)
class Sender:
    """Sends requests to the model `support`."""

    client: httpx.AsyncClient

    async def send(
        self, *messages: dict[str, Any], headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        body = {"model": "support", "messages": list(messages) or [said()], **more}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)

    @asynccontextmanager
    async def stream(
        self, *messages: dict[str, Any], headers: dict[str, str] | None = None, **more: Any
    ) -> AsyncIterator[Chunks]:
        body = {"model": "support", "messages": list(messages) or [said()], "stream": True, **more}
        async with self.client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            yield Chunks(response, response.aiter_lines())


@dataclass(frozen=True)
class Chunks:
    """The events of one stream, as a client reads them. `response`: its head."""

    response: httpx.Response
    lines: AsyncIterator[str]

    async def next(self) -> Any:
        """The data of the next event; None after the last one."""
        async for line in self.lines:
            if line.startswith("data: "):
                return line[6:] if line == "data: [DONE]" else json.loads(line[6:])
            assert line == "" or line.startswith(":")
        return None

    async def rest(self) -> list[Any]:
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


def text_of(events: list[Any]) -> str:
    deltas = [event["choices"][0]["delta"] for event in events if isinstance(event, dict) and event.get("choices")]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.fixture
async def gateway(starting: Starting, database: Database) -> AsyncIterator[Gateway]:
    await apply(database, document())
    async with starting() as gateway:
        yield gateway


@pytest.fixture
def sender(client: httpx.AsyncClient) -> Sender:
    return Sender(client)


async def answered(sender: Sender, hands: Hands, reply: str, *messages: Any, **more: Any) -> httpx.Response:
    """A request, and its run, which replies so."""
    sending = asyncio.create_task(sender.send(*messages, **more))
    await hands.succeed(await hands.take(), {"reply": reply})
    return await sending
