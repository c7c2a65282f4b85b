"""Somebody with an API key, who knows the gateway's address and nothing else; and the model that workflows call."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import httpx
from httpx_sse import EventSource, ServerSentEvent

from support.executors import prompt_of
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Text
from support.wire.openai import openai_server
from support.wire.server import Request, WireServer

JsonObject: TypeAlias = dict[str, Any]
_TIMEOUT_S = 20


class Model:
    """Replies as `replies` says, else "done". `respond` may decide by the prompt instead."""

    def __init__(self) -> None:
        self.server: WireServer
        self.replies: dict[str, Behaviour] = {}
        self.respond: Callable[[str], Behaviour] = self._reply_to

    def _reply_to(self, prompt: str) -> Behaviour:
        # The prompt of a typed reply ends with its schema, in a paragraph of its own.
        return self.replies.get(prompt) or self.replies.get(prompt.partition("\n\n")[0]) or Text("done")

    @property
    def prompts(self) -> list[str]:
        return [prompt_of(request) for request in self.server.requests]

    @property
    def repeated_prompts(self) -> dict[str, int]:
        return {prompt: times for prompt, times in Counter(self.prompts).items() if times > 1}

    async def received(self, prompt: str, *, times: int = 1) -> None:
        """Returns when it has been."""
        await eventually(lambda: self.prompts.count(prompt) >= times, _TIMEOUT_S)

    def reply(self, request: Request) -> Behaviour:
        return self.respond(prompt_of(request))


class Visitor:
    def __init__(self, http: httpx.AsyncClient, model: Model) -> None:
        self.http = http
        self.model = model

    async def apply(self, name: str, document: str) -> JsonObject:
        """`MODEL` in the document becomes the model of this test."""
        model = f"{{provider: hosted_vllm, model: m, api_base: '{self.model.server.url}'}}"
        response = await self.http.put(f"/v1/workflows/{name}", content=document.replace("MODEL", model))
        assert response.status_code in {200, 201}, response.text
        return _json(response)

    async def submit(
        self, workflow: str, /, priority: int | None = None, *, stream: bool = False, **inputs: Any
    ) -> str:
        """The run's id."""
        path = f"/v1/workflows/{workflow}/runs"
        response = await self.post(path, inputs=inputs, priority=priority, stream=stream)
        # 200: the run had ended before the answer.
        assert response.status_code in {200, 202}, response.text
        return str(_json(response)["id"])

    async def post(
        self,
        path: str,
        /,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        **body: Any,
    ) -> httpx.Response:
        return await self.http.post(path, json=body, headers=headers, params=params)

    async def get(self, path: str, **params: Any) -> JsonObject:
        response = await self.http.get(path, params=params)
        assert response.status_code == 200, response.text
        return _json(response)

    async def run(self, run_id: str) -> JsonObject:
        return await self.get(f"/v1/runs/{run_id}")

    async def status(self) -> JsonObject:
        return await self.get("/v1/status")

    async def steps(self, run_id: str) -> list[str]:
        """The nodes, in the order in which they ended."""
        return [step["node"] for step in (await self.get(f"/v1/runs/{run_id}/steps"))["items"]]

    async def ended(self, run_id: str) -> JsonObject:
        async def look() -> JsonObject | None:
            run = await self.run(run_id)
            return run if run["finished_at"] else None

        content: JsonObject = await eventually(look, _TIMEOUT_S)
        return content

    async def all_ended(self, run_ids: list[str]) -> list[JsonObject]:
        return [await self.ended(run_id) for run_id in run_ids]

    async def events(self, run_id: str) -> list[JsonObject]:
        """As JSON."""
        items: list[JsonObject] = (await self.get(f"/v1/runs/{run_id}/events", limit=1000))["items"]
        return items

    @asynccontextmanager
    async def stream(
        self, run_id: str, *, after: str | None = None
    ) -> AsyncIterator[AsyncGenerator[ServerSentEvent, None]]:
        """The events as they come; `after`: the last id that was seen."""
        headers = {"accept": "text/event-stream"} | ({"last-event-id": after} if after else {})
        async with self.http.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as response:
            assert response.status_code == 200
            # Without data: it only says how soon to connect again.
            yield (event async for event in EventSource(response).aiter_sse() if event.data)


def data_of(event: ServerSentEvent) -> JsonObject:
    data: JsonObject = json.loads(event.data)
    return data


def _json(response: httpx.Response) -> JsonObject:
    content: JsonObject = response.json()
    return content


@asynccontextmanager
async def visitor_of(url: str, key: str, *, model_host: str = "127.0.0.1") -> AsyncIterator[Visitor]:
    model = Model()
    async with (
        openai_server(model.reply, host=model_host) as model.server,
        httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=_TIMEOUT_S) as http,
    ):
        yield Visitor(http, model)
