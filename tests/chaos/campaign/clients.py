"""Clients of the gateway, as real ones are: they send a submit again, with the same key, until it is answered."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from chaos.campaign.shapes import Expected, Shape, step_name

_AGAIN: Final = frozenset({429, 502, 503, 504})
_ATTEMPT_S: Final = aiohttp.ClientTimeout(total=90, connect=3)

_STREAM_S: Final = aiohttp.ClientTimeout(total=None, connect=3, sock_read=60)


@dataclass
class Submission:
    """A run that is to be made. `run_ids`: of all answers with 2xx; `refusal`: an answer that no client repeats.

    `streamed`: the numbers of the events that its client has received as a stream. `seen`: when the client first knew
    that a step was committed, in seconds since 1970; `ended_at`: that the run had ended.
    """

    shape: Shape
    word: str
    wait_s: float
    is_sent_twice: bool = False
    is_followed: bool = False
    run_ids: list[str] = field(default_factory=list)
    streamed: list[int] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)
    ended_at: float = math.inf
    retries: int = 0
    refusal: str | None = None

    @property
    def key(self) -> str:
        return f"{self.shape.name}-{self.word}"

    @property
    def expected(self) -> Expected:
        return self.shape.expected(self.word)

    def received(self, event: Mapping[str, Any]) -> None:
        """Notes an event of the stream."""
        self.streamed.append(event["seq"])
        if event["type"] == "step.finished":
            self.seen[step_name(event["data"])] = time.time()
        elif event["type"] == "run.succeeded":
            self.ended_at = min(self.ended_at, time.time())


class Gateway:
    """What the campaign knows of the system: the API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = f"{url}/v1"

    async def apply(self, name: str, document: str) -> None:
        headers = {"Content-Type": "application/yaml"}
        async with self._session.put(f"{self._url}/workflows/{name}", data=document, headers=headers) as answer:
            if answer.status not in (200, 201):
                raise RuntimeError(f"apply: {answer.status} {await answer.text()}")

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """The answer; None for 404. Asks again while the gateway or Postgres is away."""
        while True:
            try:
                async with self._session.get(f"{self._url}{path}", params=params, timeout=_ATTEMPT_S) as answer:
                    if answer.status == 404:
                        return None
                    if answer.status == 200:
                        return await answer.json()
                    if answer.status not in _AGAIN:
                        raise RuntimeError(f"GET {path}: {answer.status} {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.2)

    async def open_runs(self) -> int:
        """How many runs are open, up to 100."""
        page = await self.get("/runs?status=queued&status=running&status=waiting&limit=100")
        return len(page["items"])

    async def submit(self, submission: Submission) -> None:
        """Returns when the run is accepted, or refused."""
        for _ in range(1 + submission.is_sent_twice):
            while not await self._attempt(submission):
                submission.retries += 1
                await asyncio.sleep(random.uniform(0.1, 0.5))

    async def follow(self, submission: Submission) -> None:
        """Receives the events of its run until there are no more. Connects again when the stream breaks off."""
        while not await self._receive(submission):  # noqa: ASYNC110
            await asyncio.sleep(random.uniform(0.1, 0.5))

    async def _receive(self, submission: Submission) -> bool:
        """Whether the client has all events. An event counts when it is complete, at an empty line."""
        headers = {"Accept": "text/event-stream"}
        if submission.streamed:
            headers["Last-Event-ID"] = str(submission.streamed[-1])
        url, data = f"{self._url}/runs/{submission.run_ids[0]}/events", b""
        try:
            async with self._session.get(url, headers=headers, timeout=_STREAM_S) as answer:
                if answer.status == 200:
                    async for line in answer.content:
                        if line.startswith(b"data:"):
                            data = line[5:]
                        elif not line.strip():
                            event, data = json.loads(data or b"{}"), b""
                            if "seq" in event:
                                submission.received(event)
                return answer.status == 204
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _attempt(self, submission: Submission) -> bool:
        """Whether there was an answer that ends the matter."""
        url = f"{self._url}/workflows/{submission.shape.name}/runs?wait={submission.wait_s:g}"
        body = {"inputs": submission.shape.inputs(submission.word)}
        headers = {"Idempotency-Key": submission.key}
        try:
            async with self._session.post(url, json=body, headers=headers, timeout=_ATTEMPT_S) as answer:
                if answer.status in (200, 202):
                    run = await answer.json()
                    submission.run_ids.append(run["id"])
                    if run["status"] == "succeeded":
                        submission.ended_at = min(submission.ended_at, time.time())
                elif answer.status in _AGAIN:
                    return False
                else:
                    submission.refusal = f"{answer.status} {await answer.text()}"
                return True
        except (aiohttp.ClientError, TimeoutError):
            return False
