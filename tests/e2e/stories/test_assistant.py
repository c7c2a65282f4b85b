"""Somebody says what a workflow should do, and the assistant writes it: by the chat API, through the whole stack."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
from httpx_sse import EventSource

from flowyard.drafts.assistant import Facts, assistant_document
from flowyard.language.nodes import ModelSettings
from support import drafts
from support.documents import ROOT
from support.outside import OK, outside
from support.system import System
from support.visitor import JsonObject, Model, Visitor, data_of
from support.wire.behaviour import Behaviour, Text
from support.wire.server import Request

pytestmark = pytest.mark.timeout(120)

PAGE: Final = ROOT / "docs" / "assistant.md"
HAIKU: Final = drafts.HAIKU.replace("name: haiku", "name: written_haiku")
WRONG: Final = HAIKU.replace("{topic}'", "{topc}'")
FAILING: Final = HAIKU.replace("poem: Drops", "poem: Snow")


def reply(document: str, words: str = "Here it is.") -> str:
    return f"{words}\n\n```yaml\n{document}```"


class Assistant:
    """The assistant on the stack, with a model that says what it is given, in order."""

    def __init__(self, visitor: Visitor, model: Model) -> None:
        self.visitor, self.model = visitor, model
        self.answers: list[Behaviour] = []
        self.session = uuid4().hex

    def respond(self, prompt: str) -> Behaviour:
        del prompt
        return self.answers.pop(0)

    async def say(self, text: str, *answers: str | Behaviour) -> httpx.Response:
        self.answers = [Text(answer) if isinstance(answer, str) else answer for answer in answers]
        response = await self.visitor.post(
            "/v1/chat/completions",
            {"x-flowyard-session-id": self.session},
            model="assistant",
            messages=[{"role": "user", "content": text}],
        )
        assert self.answers == []
        return response

    @property
    def conversations(self) -> list[list[JsonObject]]:
        """The messages of each call, without those of the system."""
        return [_messages(request)[1:] for request in self.model.server.requests]


def _messages(request: Request) -> list[Any]:
    messages: list[Any] = request.body["messages"]
    return messages


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


@pytest.fixture
async def assistant(visitor: Visitor, model: Model) -> Assistant:
    assistant = Assistant(visitor, model)
    model.respond = assistant.respond
    document = assistant_document(ModelSettings("hosted_vllm", "m"), Facts(), usd=None)
    await visitor.apply(
        "assistant", document.replace('llm: {"provider": "hosted_vllm", "model": "m", ', "llm: MODEL #")
    )
    return assistant


async def test_a_wrong_draft_goes_back_with_its_position_and_the_right_one_is_the_answer(assistant: Assistant) -> None:
    answer = text_of(await assistant.say("Write haiku", reply(WRONG), reply(HAIKU)))
    assert answer == reply(HAIKU)
    first, second = assistant.conversations
    assert [message["content"] for message in first] == ["Write haiku"]
    wrong, correction = second[-2:]
    assert wrong["content"] == reply(WRONG)
    assert "document:7:41: no field 'topc' (did you mean 'topic'?) [unknown-field]" in correction["content"]


async def test_more_turns_refine_it(assistant: Assistant) -> None:
    await assistant.say("Write haiku", reply(HAIKU))
    german = HAIKU.replace("A haiku", "A German haiku")
    assert text_of(await assistant.say("In German, please", reply(german))) == reply(german)
    assert [message["content"] for message in assistant.conversations[-1]] == [
        "Write haiku",
        reply(HAIKU),
        "In German, please",
    ]


async def test_a_question_and_a_refusal_are_answers(assistant: Assistant) -> None:
    assert text_of(await assistant.say("Something", "What should it do?")) == "What should it do?"
    assert text_of(await assistant.say("Tell me a joke", "I only write workflows.")) == "I only write workflows."


async def test_tests_that_fail_go_back_too(assistant: Assistant) -> None:
    assert text_of(await assistant.say("Write haiku", reply(FAILING), reply(HAIKU))) == reply(HAIKU)
    correction = assistant.conversations[-1][-1]["content"]
    assert 'the test \'writes about rain\' fails: outputs.poem: expected "Snow", got "Drops"' in correction


async def test_a_reply_that_is_cut_off_is_known_to_be_and_the_conversation_goes_on(assistant: Assistant) -> None:
    cut = await assistant.say("Write haiku", Text(reply(HAIKU)[:80], ending="length"))
    assert cut.json()["choices"][0]["finish_reason"] == "length"
    assert text_of(await assistant.say("Again", reply(HAIKU))) == reply(HAIKU)
    assert "Again" in str(assistant.conversations[-1])


async def test_tries_are_bounded_and_the_error_says_what_is_wrong(assistant: Assistant) -> None:
    response = await assistant.say("Write haiku", *[reply(WRONG)] * 4)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "invalid_output"
    assert "no field 'topc'" in response.json()["error"]["message"]


async def test_a_budget_ends_the_tries(assistant: Assistant, visitor: Visitor) -> None:
    document = assistant_document(ModelSettings("hosted_vllm", "m"), Facts(), usd=None)
    document = document.replace('"model_calls": 6', '"model_calls": 2')
    await visitor.apply(
        "assistant", document.replace('llm: {"provider": "hosted_vllm", "model": "m", ', "llm: MODEL #")
    )
    response = await assistant.say("Write haiku", reply(WRONG), reply(WRONG))
    assert (response.status_code, response.json()["error"]["code"]) == (402, "budget_exceeded")


HOSTILE: Final = """\
flow: {name: hostile}
state:
  fields: {topic: {type: str, default: rain}, poem: str}
nodes:
  - {id: write, prompt: 'On {topic}', outputs: [poem]}
config:
  llm:
    provider: hosted_vllm
    model: m
    api_base: http://127.0.0.1:PORT/v1
    extra: {extra_headers: {X-Key: '${env:CANARY_API_KEY}', X-File: '${file:passwd}'}}
triggers:
  every: {schedule: {every: 1s}}
  hook: {webhook: {path: hostile, auth: none}}
  after: {workflow: {name: assistant}}
on_finish:
  - {url: 'http://127.0.0.1:PORT/ended', auth: none}
tests:
  - {name: calls nobody, replies: {write: Drops}, expect: {outputs: {poem: Drops}}}
"""


async def test_a_document_has_no_effect_before_somebody_applies_it(assistant: Assistant, visitor: Visitor) -> None:
    async with outside(OK) as server:
        hostile = HOSTILE.replace("PORT", str(server.port))
        assert text_of(await assistant.say("Do it", reply(hostile))) == reply(hostile)
        view = await visitor.post("/v1/drafts", text=reply(hostile))
        assert view.json()["valid"], view.text
        assert [test["passed"] for test in view.json()["tests"]] == [True]
    assert server.connections == 0
    names = [each["name"] for each in (await visitor.get("/v1/workflows"))["items"]]
    assert "hostile" not in names
    assert (await visitor.get("/v1/runs", workflow="hostile"))["items"] == []
    assert (await visitor.http.post("/hooks/hostile", json={})).status_code == 404


async def test_endless_tests_end_in_time_and_are_sent_back(assistant: Assistant) -> None:
    assert text_of(await assistant.say("Count", reply(drafts.HUGE), "I can't.")) == "I can't."
    assert "the tests take longer than 5 s" in assistant.conversations[-1][-1]["content"]


async def test_a_version_is_shown_with_all_that_one_needs_to_know(assistant: Assistant, visitor: Visitor) -> None:
    first = text_of(await assistant.say("Write haiku", reply(HAIKU)))
    paid = HAIKU.replace(
        "llm: {provider: scripted}", "llm: {provider: openai, model: gpt-4o-mini}\n  budget: {usd: 0.5, model_calls: 3}"
    )
    second = text_of(await assistant.say("With a paid model", reply(paid)))
    view = (await visitor.post("/v1/drafts", text=second, last=first)).json()
    assert (view["name"], view["valid"], view["problems"], view["remarks"]) == ("written_haiku", True, [], [])
    assert "+  llm: {provider: openai, model: gpt-4o-mini}" in view["difference"]
    assert "-  llm: {provider: scripted}" in view["difference"]
    assert Decimal(view["cost"]["usd"]) == Decimal("0.5")
    assert view["cost"]["calls"] == 3
    assert view["tests"] == [{"name": "writes about rain", "passed": True, "faults": []}]
    assert [node["id"] for node in view["graph"]["nodes"]] == ["START", "write", "END"]
    assert "START --> write" in view["drawing"]
    assert view["document"] == paid
    # One click.
    applied = await visitor.http.put("/v1/workflows/written_haiku", content=view["document"])
    assert applied.status_code == 201


async def test_the_program_of_the_page_talks_to_it(assistant: Assistant, system: System) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    program = program.replace("http://127.0.0.1:8400", system.url).replace("fy_…", system.key)
    assistant.answers = [Text("First."), Text("Second.")]
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "First.\nSecond.\n", "")
    assert len(assistant.conversations[-1]) == 3


async def test_a_stream_shows_drafts_while_they_are_written_and_the_answer_when_it_was_checked(
    assistant: Assistant, visitor: Visitor
) -> None:
    assistant.answers = [Text(reply(WRONG, "A first one.")), Text(reply(HAIKU, "A second one."))]
    request = {"model": "assistant", "messages": [{"role": "user", "content": "Write haiku"}], "stream": True}
    thoughts, content = [], []
    async with visitor.http.stream("POST", "/v1/chat/completions", json=request) as response:
        async for event in EventSource(response).aiter_sse():
            if event.data and event.data != "[DONE]":
                delta = data_of(event)["choices"][0]["delta"]
                thoughts.append(delta.get("reasoning_content") or "")
                content.append(delta.get("content") or "")
    assert "".join(content) == reply(HAIKU, "A second one.")
    assert "".join(thoughts) == f"{reply(WRONG, 'A first one.')}\n\n{reply(HAIKU, 'A second one.')}"
