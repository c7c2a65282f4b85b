"""Workflows as tools, through the client of MCP's own SDK, in both eras of the protocol."""

from __future__ import annotations

import asyncio
from typing import Any

import jsonschema
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError

from flowyard.runs.events import Failure
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard.storage.runs import Runs
from flowyard.storage.triggers import Triggers
from services.gateway.conftest import Gateway, Starting
from services.gateway.mcp.conftest import MODES, NOBODYS, POEM, connected
from support.hands import Hands
from support.queued import apply
from support.waiting import eventually


def text_of(result: Any) -> str:
    [content] = result.content
    text: str = content.text
    return text


async def test_each_workflow_with_the_trigger_is_a_tool_with_the_schemas_of_its_state(client: Client) -> None:
    listed = await client.list_tools()
    tools = {tool.name: tool for tool in listed.tools}
    assert list(tools) == ["other", "poem", "start_run", "get_run"]
    poem = tools["poem"]
    assert (poem.title, poem.description) == ("Poet", "Writes a poem.")
    assert poem.input_schema == {
        "type": "object",
        "properties": {
            "topic": {"type": "string", "description": "What it is about."},
            "lines": {"type": "integer", "default": 4},
        },
        "required": ["topic"],
        "additionalProperties": False,
    }
    assert poem.output_schema == {"type": "object", "properties": {"poem": {"type": "string"}}}
    for tool in listed.tools:
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)


async def test_a_call_is_a_run_and_its_outputs_are_the_result(client: Client, hands: Hands, database: Database) -> None:
    calling = asyncio.create_task(client.call_tool("poem", {"topic": "rain"}))
    claim = await hands.take()
    assert (await Runs(database).get(claim.run_id)).inputs == {"topic": "rain"}
    await hands.succeed(claim, {"poem": "Wet."})
    result = await calling
    assert (result.is_error, text_of(result), result.structured_content) == (False, "Wet.", {"poem": "Wet."})
    assert result.meta is not None
    assert result.meta["flowyard/run_id"] == str(claim.run_id)


async def test_large_outputs_are_part_of_the_result(client: Client, hands: Hands) -> None:
    calling = asyncio.create_task(client.call_tool("poem", {"topic": "rain"}))
    await hands.succeed(await hands.take(), {"poem": "drip " * 100_000})
    assert (await calling).structured_content == {"poem": "drip " * 100_000}


async def test_a_run_that_fails_is_an_error_for_the_model(client: Client, hands: Hands) -> None:
    calling = asyncio.create_task(client.call_tool("poem", {"topic": "rain"}))
    await hands.fail(await hands.take(), Failure("provider_error", "the model is on holiday", node="sketch"))
    result = await calling
    assert result.is_error
    assert "at 'sketch': the model is on holiday (provider_error)" in text_of(result)


async def test_wrong_arguments_are_an_error_for_the_model(client: Client, database: Database) -> None:
    result = await client.call_tool("poem", {"topics": "rain", "lines": "many"})
    assert result.is_error
    assert all(words in text_of(result) for words in ("did you mean 'topic'", "lines: expected int", "topic: missing"))
    assert await database.value("SELECT count(*) FROM runs") == 0


@pytest.mark.parametrize("name", ["peom", "hidden", "../poem", "\u202e"])
async def test_what_is_no_tool_is_an_error_of_the_protocol(client: Client, name: str) -> None:
    with pytest.raises(MCPError) as caught:
        await client.call_tool(name, {})
    assert caught.value.code == -32602
    assert "unknown tool" in caught.value.message


async def test_progress_names_the_steps(client: Client, hands: Hands) -> None:
    told: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        del total
        told.append((progress, message))

    calling = asyncio.create_task(client.call_tool("poem", {"topic": "rain"}, progress_callback=on_progress))
    claim = await hands.take()
    await hands.step(claim, "sketch", {"draft": "Rain."})
    await hands.step(claim, "write", {"poem": "Wet."})
    await hands.succeed(claim, {"poem": "Wet."})
    assert (await calling).structured_content == {"poem": "Wet."}
    assert told == [(1, "Sketch"), (2, "write")]


async def test_long_runs_are_started_and_fetched(client: Client, hands: Hands) -> None:
    started = await client.call_tool("start_run", {"workflow": "poem", "inputs": {"topic": "rain"}})
    assert started.structured_content["status"] == "queued"
    run_id = started.structured_content["run_id"]
    claim = await hands.take()
    assert str(claim.run_id) == run_id
    open_run = (await client.call_tool("get_run", {"run_id": run_id})).structured_content
    assert open_run == {"run_id": run_id, "workflow": "poem", "status": "running"}
    getting = asyncio.create_task(client.call_tool("get_run", {"run_id": run_id, "wait": 50}))
    await hands.succeed(claim, {"poem": "Wet."})
    ended = (await getting).structured_content
    assert ended == {"run_id": run_id, "workflow": "poem", "status": "succeeded", "outputs": {"poem": "Wet."}}


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("start_run", {"workflow": "hidden"}, "one of other, poem"),
        ("start_run", {"workflow": "poem", "inputs": []}, "inputs: an object"),
        ("start_run", {"workflow": "poem", "inputs": {}}, "topic: missing"),
        ("get_run", {"run_id": "7"}, "the id that start_run"),
        ("get_run", {"run_id": NOBODYS}, "no run"),
        ("get_run", {"run_id": NOBODYS, "wait": 51}, "from 0 to 50"),
        ("get_run", {"run_id": NOBODYS, "wait": True}, "from 0 to 50"),
    ],
)
async def test_what_is_wrong_with_a_start_or_a_get_is_told(
    client: Client, name: str, arguments: dict[str, Any], words: str
) -> None:
    result = await client.call_tool(name, arguments)
    assert (result.is_error, words in text_of(result)) == (True, True), text_of(result)


async def test_a_call_that_takes_too_long_says_where_its_result_will_be(
    starting: Starting, database: Database, hands: Hands
) -> None:
    await apply(database, POEM)
    async with starting(wait_max_s=0.1) as gateway, connected(gateway, gateway.keys["run"], "auto") as client:
        result = await client.call_tool("poem", {"topic": "rain"})
        assert (result.is_error, "goes on: its result will be in get_run" in text_of(result)) == (True, True)
        claim = await hands.take()
        assert str(claim.run_id) in text_of(result)


async def test_a_key_gets_what_it_may_run_and_see(gateway: Gateway, database: Database, hands: Hands) -> None:
    _, only = await Keys(database).create("only", frozenset({"run"}), workflows=frozenset({"other"}))
    async with connected(gateway, only, "auto") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["other", "start_run", "get_run"]
        with pytest.raises(MCPError, match="unknown tool"):
            await client.call_tool("poem", {"topic": "rain"})
        async with connected(gateway, gateway.keys["run"], "auto") as all_of_them:
            started = await all_of_them.call_tool("start_run", {"workflow": "poem", "inputs": {"topic": "rain"}})
        result = await client.call_tool("get_run", {"run_id": started.structured_content["run_id"]})
        assert (result.is_error, "no run" in text_of(result)) == (True, True)
    async with connected(gateway, gateway.keys["read"], "auto") as reader:
        assert (await reader.list_tools()).tools == []
        with pytest.raises(MCPError, match="scope") as caught:
            await reader.call_tool("poem", {"topic": "rain"})
        assert caught.value.data == {"code": "forbidden"}


async def test_a_paused_trigger_is_no_tool(gateway: Gateway, database: Database) -> None:
    await Triggers(database).set_paused("poem", "tool", paused=True)
    async with connected(gateway, gateway.keys["run"], "auto") as client:
        assert "poem" not in {tool.name for tool in (await client.list_tools()).tools}


async def test_who_closes_the_connection_has_given_up_in_the_new_era_alone(
    gateway: Gateway, hands: Hands, database: Database
) -> None:
    for mode in MODES:
        async with connected(gateway, gateway.keys["run"], mode) as client:
            calling = asyncio.create_task(client.call_tool("poem", {"topic": mode}))
            claim = await hands.take()
            calling.cancel()
            await asyncio.wait({calling})

        async def is_cancelled(run_id: Any = claim.run_id) -> bool:
            return (await Runs(database).get(run_id)).cancel_requested

        if mode == "legacy":
            await hands.succeed(claim, {"poem": "Wet."})
            assert not await is_cancelled()
        else:
            await eventually(is_cancelled)
