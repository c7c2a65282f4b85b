"""A client of the responses API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from flowyard.runs.claim import Claim
from flowyard.storage.database import Database
from flowyard.storage.runs import Runs
from services.gateway.chat.conftest import Chunks
from support.hands import Hands
from support.open_responses import checked_response


@dataclass(frozen=True)
class Talk:
    """A client of the responses API, and the executor that answers it."""

    client: httpx.AsyncClient
    hands: Hands
    database: Database

    async def send(self, given: Any = "Hello", **more: Any) -> httpx.Response:
        headers = more.pop("headers", None)
        body = {"model": "support", "input": given, **more}
        return await self.client.post("/v1/responses", json=body, headers=headers)

    async def say(self, given: Any = "Hello", *, reply: Any = "Fine", **more: Any) -> tuple[dict[str, Any], list[Any]]:
        """The response, and what the messages of its run had, without their roles."""
        sending = asyncio.create_task(self.send(given, **more))
        claim = await self.hands.take()
        await self.hands.succeed(claim, {"reply": reply})
        response = await sending
        assert response.status_code == 200, response.text
        return checked_response(response.json()), await self.messages_of(claim.run_id)

    async def messages_of(self, run_id: UUID) -> list[Any]:
        run = await Runs(self.database).get(run_id)
        return [message["content"] for message in run.inputs["messages"]]

    @asynccontextmanager
    async def stream(self, given: Any = "Hello", **more: Any) -> AsyncIterator[Chunks]:
        body = {"model": "support", "input": given, "stream": True, **more}
        async with self.client.stream("POST", "/v1/responses", json=body) as response:
            yield Chunks(response, Unnamed(response.aiter_lines()))


class Unnamed:
    """The lines of a stream without those that name events, which the data repeats."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self.lines = lines
        self.names: list[str] = []

    def __aiter__(self) -> Unnamed:
        return self

    async def __anext__(self) -> str:
        while (line := await anext(self.lines)).startswith("event: "):
            self.names.append(line[7:])
        return line


async def begun(events: Chunks, hands: Hands) -> tuple[Claim, list[Any]]:
    """The run of a stream, at work, and the first events. No token is lost from now on."""
    claim = await hands.take()
    await hands.followed(claim)
    return claim, [await events.next(), await events.next()]
