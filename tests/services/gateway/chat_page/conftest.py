from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TypeAlias

import httpx
import pytest

from flowyard.runs.claim import Claim
from flowyard.storage.database import Database
from flowyard_registry.main import run_registry
from flowyard_registry.settings import RegistrySettings
from services.gateway.chat.conftest import document
from services.gateway.conftest import Gateway, Starting
from support.draft_testing import serving_draft_tests
from support.drafts import HAIKU
from support.hands import Hands
from support.queued import apply

OURS = {"sec-fetch-site": "same-origin"}
"""What a browser sends with the forms of our pages."""
HTMX = {"hx-request": "true"}


@dataclass(frozen=True)
class Person:
    """Somebody who is logged in. `client`: their browser."""

    client: httpx.AsyncClient

    async def begin(self, text: str = "Hello", *, workflow: str = "support") -> str:
        """A new conversation. Returns its path."""
        answer = await self.client.post(f"/chat/w/{workflow}", data={"text": text})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def say(self, chat: str, text: str, **more: str) -> httpx.Response:
        """As htmx sends it. Returns what is added to the page."""
        return await self.client.post(chat, data={"text": text, **more}, headers=HTMX)

    async def page(self, path: str) -> str:
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    @asynccontextmanager
    async def watch(self, chat: str, number: int) -> AsyncIterator[Watched]:
        """The stream of a turn."""
        async with self.client.stream("GET", f"{chat}/{number}/stream") as response:
            yield Watched(response, response.aiter_lines())


@dataclass(frozen=True)
class Watched:
    """The updates of a turn, as the page gets them."""

    response: httpx.Response
    lines: AsyncIterator[str]

    async def until(self, words: str) -> str:
        """All updates up to the one that has these words. Fails if the stream ends before."""
        got: list[str] = []
        async for line in self.lines:
            got.append(line.removeprefix("data: "))
            if words in line:
                return "\n".join(got)
        raise AssertionError(f"no {words!r} in {got}")

    async def rest(self) -> str:
        return "\n".join([line.removeprefix("data: ") async for line in self.lines])


Visit: TypeAlias = Callable[[str], AbstractAsyncContextManager[Person]]


@asynccontextmanager
async def logged_in(gateway: Gateway, key: str) -> AsyncIterator[Person]:
    async with httpx.AsyncClient(base_url=gateway.client.base_url, timeout=60, headers=OURS) as client:
        answer = await client.post("/chat/login", data={"key": key})
        assert answer.status_code == 303, answer.text
        yield Person(client)


@pytest.fixture
async def gateway(starting: Starting, database: Database) -> AsyncIterator[Gateway]:
    await apply(database, document())
    async with starting() as gateway:
        yield gateway


@pytest.fixture
async def person(gateway: Gateway) -> AsyncIterator[Person]:
    async with logged_in(gateway, gateway.keys["run"]) as person:
        yield person


async def replied(hands: Hands, reply: str) -> None:
    """The next run succeeds."""
    await hands.succeed(await hands.take(), {"reply": reply})


async def at_work(hands: Hands, watched: Watched, claim: Claim) -> None:
    """The answering step begins, and the stream has noticed it: it loses no token from now on."""
    await hands.append(claim, "step.started", node="answer", visit=1)
    await watched.until(">answer<")


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))


def elements_of(html: str) -> list[tuple[str, dict[str, str]]]:
    """The elements of a page, as a browser reads them: names and attributes."""
    parser = _Elements()
    parser.feed(html)
    return parser.elements


def sessions_in(page: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"/chat/c/[0-9a-f-]{36}", page)))


def without_tags(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


WRITER = """
flow: {name: writer, description: Writes workflows from what you say.}
state:
  fields:
    messages: {type: 'list[message]', required: true}
    reply: {type: str, format: workflow}
nodes:
  - {id: answer, history: messages, outputs: [reply], retry: 3}
result: reply
config: {llm: {provider: openai, model: gpt-4o-mini, api_base: 'http://127.0.0.1:9'}, budget: {model_calls: 6}}
triggers:
  talk: {chat: {show_steps: true}}
"""
GERMAN = HAIKU.replace("A haiku", "A German haiku")


def version(document: str, words: str = "Here it is.") -> str:
    """A reply of the model."""
    return f"{words}\n\n```yaml\n{document}```"


@asynccontextmanager
async def with_registry(
    starting: Starting, database_url: str, nats_url: str, *, runs_tests: bool = True
) -> AsyncIterator[Gateway]:
    """`runs_tests`: whether there is an executor for the tests of drafts."""
    ending, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    settings = RegistrySettings.model_validate({"database_url": database_url, "nats_url": nats_url, "port": 0})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_registry(settings, ending, on_listening=port.set_result))
        registry_url = f"http://127.0.0.1:{await port}"
        async with AsyncExitStack() as opened:
            if runs_tests:
                await opened.enter_async_context(serving_draft_tests(nats_url))
            yield await opened.enter_async_context(starting(registry_url=registry_url))
        ending.set()
