"""The stream of public events, as a test reads it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from nats.aio.client import Client


@dataclass(frozen=True)
class Published:
    """A message. `payload`: its JSON; `event`: as the official SDK reads it."""

    subject: str
    headers: dict[str, str]
    payload: dict[str, Any]
    event: BaseCloudEvent

    @property
    def id(self) -> str:
        return str(self.event.get_id())

    @property
    def kind(self) -> str:
        return str(self.event.get_type())

    @property
    def data(self) -> dict[str, Any]:
        data = self.event.get_data()
        assert isinstance(data, dict)
        return data


class StreamReader:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def request(self, verb: str, body: Any) -> dict[str, Any]:
        answer = await self._client.request(f"$JS.API.STREAM.{verb}.EVENTS", json.dumps(body).encode(), timeout=5)
        decoded: dict[str, Any] = json.loads(answer.data)
        return decoded

    async def all(self) -> list[Published]:
        """Everything, in the order of the stream. Nothing if there is no stream."""
        info = await self.request("INFO", {})
        if "error" in info:
            return []
        state = info["state"]
        answers = [await self.request("MSG.GET", {"seq": n}) for n in range(state["first_seq"], state["last_seq"] + 1)]
        return [_published(answer["message"]) for answer in answers if "message" in answer]


def _published(message: dict[str, Any]) -> Published:
    lines = base64.b64decode(message["hdrs"]).decode().split("\r\n")[1:]
    headers = dict(line.split(": ", 1) for line in lines if line)
    data = base64.b64decode(message["data"])
    return Published(message["subject"], headers, json.loads(data), JSONFormat().read(CloudEvent, data))


@asynccontextmanager
async def stream_reader(url: str, **options: Any) -> AsyncIterator[StreamReader]:
    client = Client()
    await client.connect(url, allow_reconnect=True, **options)
    try:
        yield StreamReader(client)
    finally:
        await client.close()
