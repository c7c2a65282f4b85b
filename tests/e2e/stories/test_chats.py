"""Conversations with a workflow by OpenAI's client, while processes come and go."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from support.lazily import lazily
from support.system import System
from support.visitor import Model, Visitor
from support.wire.behaviour import Held, Text

if TYPE_CHECKING:
    import openai
else:
    openai = lazily("openai")

DOCUMENT: Final = """\
flow: {name: guide}
state:
  fields:
    messages: {type: 'list[message]', required: true}
    reply: str
nodes:
  - {id: answer, history: messages, outputs: [reply]}
triggers:
  talk: {chat: {}}
config:
  llm: MODEL
"""
WHOLE: Final = "Turn left at the old mill and follow the river."
CHANGED: Final = "No, turn right."
HEADER: Final = "x-flowyard-run-id"


@pytest.fixture
async def client(system: System) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{system.url}/v1", api_key=system.key, max_retries=0) as client:
        yield client


class Talk:
    """One streamed answer, and the id of its run."""

    def __init__(self, client: openai.AsyncOpenAI, text: str, thread: str | None = None) -> None:
        self.text = ""
        self.run_id = ""
        self.finish: str | None = None
        self._client = client
        self._sent: Any = {"model": "guide", "messages": [{"role": "user", "content": text}]}
        if thread is not None:
            self._sent["metadata"] = {"thread_id": thread}
        self.begun = asyncio.Event()

    async def whole(self) -> Talk:
        """Raises as the client does."""
        raw = await self._client.chat.completions.with_raw_response.create(**self._sent, stream=True)
        self.run_id = raw.headers[HEADER]
        async for chunk in raw.parse():
            self.text += chunk.choices[0].delta.content or ""
            self.finish = chunk.choices[0].finish_reason or self.finish
            if self.text:
                self.begun.set()
        return self


def sent_to(model: Model) -> list[tuple[str, str]]:
    """The messages of the last call."""
    return [(message["role"], message["content"]) for message in model.server.requests[-1].body["messages"]]


async def test_a_conversation_outlives_the_gateway(
    client: openai.AsyncOpenAI, visitor: Visitor, model: Model, system: System
) -> None:
    await visitor.apply("guide", DOCUMENT)
    model.replies = {"Where is it?": Text(WHOLE)}
    first = await Talk(client, "Where is it?", "outlives").whole()
    assert (first.text, first.finish) == (WHOLE, "stop")
    await system.back("gateway", after=system.send("gateway", signal.SIGKILL))
    await Talk(client, "And then?", "outlives").whole()
    assert sent_to(model) == [("user", "Where is it?"), ("assistant", WHOLE), ("user", "And then?")]
    kept = (await visitor.get("/v1/chat/sessions", workflow="guide"))["items"]
    own = next(session for session in kept if session["name"] == "outlives")
    assert own["turns"] == 2
    turns = (await visitor.get(f"/v1/chat/sessions/{own['id']}/turns"))["items"]
    assert {turn["run_id"] for turn in turns} >= {first.run_id}


async def test_an_answer_goes_on_when_the_executor_that_wrote_it_is_killed(
    client: openai.AsyncOpenAI, visitor: Visitor, model: Model, system: System
) -> None:
    await visitor.apply("guide", DOCUMENT)
    model.replies = {"Where is it?": Held(Text(WHOLE), asyncio.Event(), after=3)}
    talk = Talk(client, "Where is it?")
    answer = asyncio.create_task(talk.whole())
    await talk.begun.wait()
    executor = (await visitor.run(talk.run_id))["executor"]
    model.replies = {"Where is it?": Text(WHOLE)}
    starts = system.send(executor, signal.SIGKILL)
    await answer
    assert (talk.text, talk.finish) == (WHOLE, "stop"), "what it has is continued, and not repeated"
    run = await visitor.ended(talk.run_id)
    assert (run["status"], run["attempt"], run["outputs"]) == ("succeeded", 2, {"reply": WHOLE})
    await system.back(executor, after=starts)


async def test_an_answer_that_becomes_another_one_ends_with_an_error(
    client: openai.AsyncOpenAI, visitor: Visitor, model: Model, system: System
) -> None:
    await visitor.apply("guide", DOCUMENT)
    model.replies = {"Where is it?": Held(Text(WHOLE), asyncio.Event(), after=3)}
    talk = Talk(client, "Where is it?")
    answer = asyncio.create_task(talk.whole())
    await talk.begun.wait()
    executor = (await visitor.run(talk.run_id))["executor"]
    model.replies = {"Where is it?": Text(CHANGED)}
    starts = system.send(executor, signal.SIGKILL)
    with pytest.raises(openai.APIError) as refused:
        await answer
    assert refused.value.code == "answer_changed"
    assert (WHOLE.startswith(talk.text), talk.finish) == (True, None)
    assert (await visitor.ended(talk.run_id))["outputs"] == {"reply": CHANGED}
    await system.back(executor, after=starts)


async def test_a_stream_of_a_killed_gateway_breaks_off_and_its_run_answers_the_next_request(
    client: openai.AsyncOpenAI, visitor: Visitor, model: Model, system: System
) -> None:
    await visitor.apply("guide", DOCUMENT)
    may_go = asyncio.Event()
    model.replies = {"Where is it?": Held(Text(WHOLE), may_go, after=3)}
    talk = Talk(client, "Where is it?", "broken")
    answer = asyncio.create_task(talk.whole())
    await talk.begun.wait()
    starts = system.send("gateway", signal.SIGKILL)
    with pytest.raises((openai.APIConnectionError, httpx.TransportError)):
        await answer
    assert (WHOLE.startswith(talk.text), talk.finish) == (True, None)
    may_go.set()
    await system.back("gateway", after=starts)
    assert (await visitor.ended(talk.run_id))["outputs"] == {"reply": WHOLE}
    await Talk(client, "And then?", "broken").whole()
    assert sent_to(model) == [("user", "Where is it?"), ("assistant", WHOLE), ("user", "And then?")]


async def test_nobody_continues_the_conversation_of_another_key(
    client: openai.AsyncOpenAI, visitor: Visitor, model: Model, system: System
) -> None:
    await visitor.apply("guide", DOCUMENT)
    await Talk(client, "My secret is 42.", "shared").whole()
    made = await visitor.post("/v1/keys", name="another", scopes=["read", "run"])
    assert made.status_code == 201, made.text
    other = made.json()["key"]
    async with openai.AsyncOpenAI(base_url=f"{system.url}/v1", api_key=other, max_retries=0) as stranger:
        await Talk(stranger, "What is it?", "shared").whole()
    assert sent_to(model) == [("user", "What is it?")]
    headers = {"authorization": f"Bearer {other}"}
    seen = (await visitor.http.get("/v1/chat/sessions", headers=headers)).json()["items"]
    assert [(session["name"], session["turns"]) for session in seen] == [("shared", 1)]
