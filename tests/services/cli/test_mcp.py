"""`flowyard mcp`, as a client on the same machine uses it: with the SDK's own client, over standard streams."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.client.client import Client, ConnectMode
from mcp.client.stdio import stdio_client

from flowyard_cli.mcp.control import CONTROL_TOOLS
from support.documents import ROOT, commands, table
from support.remote import POEM, Remote, open_remote

PAGE = ROOT / "docs" / "mcp.md"
TOOL = POEM + "\ntriggers: {tool: {mcp: {}}}\n"
MODES: tuple[ConnectMode, ...] = ("2026-07-28", "legacy")
LOOKING = {"language_guide", "validate_workflow", "list_workflows", "get_workflow", "list_runs", "inspect_run"}
RUNNING = {"run_workflow", "cancel_run", "retry_run"}
WRITING = {"apply_workflow", "roll_back_workflow", "delete_workflow"}
OF_GATEWAY = {"poem", "start_run", "get_run"}


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        (tmp_path / "poem.yaml").write_text(TOOL)
        await remote.applied()
        yield remote


@asynccontextmanager
async def serving(remote: Remote, *args: str, mode: ConnectMode = "2026-07-28", key: str = "") -> AsyncIterator[Client]:
    environment = remote.environment | ({"FLOWYARD_API_KEY": key} if key else {})
    server = StdioServerParameters(command=sys.executable, args=["-m", "flowyard_cli", "mcp", *args], env=environment)
    async with Client(stdio_client(server), mode=mode) as client:
        yield client


async def called(client: Client, tool: str, /, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def refusal(client: Client, tool: str, /, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    [content] = result.content
    assert content.type == "text"
    return content.text


async def names(client: Client) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize("mode", MODES)
async def test_an_assistant_writes_a_workflow_runs_it_and_sees_what_became_of_it(
    remote: Remote, mode: ConnectMode
) -> None:
    async with serving(remote, mode=mode) as client:
        assert await names(client) == OF_GATEWAY | LOOKING | RUNNING | WRITING
        guide = await client.call_tool("language_guide", {})
        assert "nodes" in str(guide.content)
        wrong = await called(client, "validate_workflow", document=TOOL.replace("prompt:", "promt:"))
        assert (wrong["valid"], "promt" in str(wrong["problems"])) == (False, True)
        assert "promt" in await refusal(client, "apply_workflow", document=TOOL.replace("prompt:", "promt:"))
        document = TOOL.replace("name: poem", "name: verse")
        assert (await called(client, "validate_workflow", document=document))["valid"]
        assert (await called(client, "list_workflows"))["items"][0]["name"] == "poem"
        assert (await called(client, "apply_workflow", document=document))["revision"] == 1
        assert (await called(client, "get_workflow", name="verse"))["document"] == document
        running = asyncio.create_task(called(client, "run_workflow", workflow="verse", inputs={"topic": "a"}, wait=20))
        await remote.hands.succeed(await remote.hands.take(), {"poem": "p"})
        run = await running
        assert (run["status"], run["outputs"]) == ("succeeded", {"poem": "p"})
        seen = await called(client, "inspect_run", run_id=run["id"])
        assert [event["type"] for event in seen["events"]][-1] == "run.succeeded"
        assert [each["id"] for each in (await called(client, "list_runs", workflow="verse"))["items"]] == [run["id"]]
        assert (await called(client, "delete_workflow", name="verse"))["name"] == "verse"
        assert "verse" in await refusal(client, "get_workflow", name="verse")


@pytest.mark.parametrize("mode", MODES)
async def test_workflows_are_tools_as_at_the_gateway(remote: Remote, mode: ConnectMode) -> None:
    async with serving(remote, mode=mode) as client:
        running = asyncio.create_task(called(client, "poem", topic="rain"))
        await remote.hands.succeed(await remote.hands.take(), {"poem": "p"})
        assert await running == {"poem": "p"}
        resources = await client.list_resources()
        assert "flowyard://workflows/poem" in {str(each.uri) for each in resources.resources}


async def test_a_scope_bounds_what_is_offered_and_what_can_be_called(remote: Remote) -> None:
    async with serving(remote, "--scope", "read") as client:
        assert await names(client) == LOOKING
        with pytest.raises(Exception, match="without the scope run"):
            await client.call_tool("poem", {"topic": "rain"})
        with pytest.raises(Exception, match="without the scope run"):
            await client.call_tool("delete_workflow", {"name": "poem"})
    async with serving(remote, "--scope", "admin") as client:
        assert await names(client) == OF_GATEWAY | LOOKING | RUNNING | WRITING | {"list_keys", "list_acts"}
        assert "secret" not in (await called(client, "list_keys"))["items"][0]
        assert (await called(client, "list_acts", limit=1))["items"]


async def test_a_key_bounds_what_is_offered_and_what_can_be_called(remote: Remote) -> None:
    created = await remote.cli("keys", "create", "looks", "--scope", "read")
    async with serving(remote, "--scope", "admin", key=created.out.strip()) as client:
        assert await names(client) == LOOKING
        assert "scope" in await refusal(client, "delete_workflow", name="poem")
        assert (await called(client, "get_workflow", name="poem"))["name"] == "poem"


async def test_wrong_arguments_are_for_the_model_to_read(remote: Remote) -> None:
    async with serving(remote) as client:
        assert "run_id: Input should be a valid UUID" in await refusal(client, "inspect_run", run_id="x")
        assert "whoever: Extra inputs" in await refusal(client, "list_runs", whoever=1)


async def test_lines_that_are_no_messages_are_answered_and_what_was_asked_is_answered_before_the_end(
    remote: Remote,
) -> None:
    odd = [
        {"method": "notifications/cancelled", "params": {"requestId": [1]}},
        {"id": 8, "method": "tools/call", "params": {"name": ["x"], "_meta": 1}},
    ]
    ping = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
    lines = ["{", "[]", json.dumps(ping), '{"jsonrpc": "2.0", "method": "x"}', *map(json.dumps, odd), ""]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "flowyard_cli",
        "mcp",
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=os.environ | remote.environment,
    )
    out, err = await process.communicate("\n".join(lines).encode())
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["error"]["code"] for answer in answers if answer.get("id") is None] == [-32700, -32600]
    [pong] = [answer for answer in answers if answer.get("id") == 7]
    [refused] = [answer for answer in answers if answer.get("id") == 8]
    assert (process.returncode, err, pong) == (0, b"", {"jsonrpc": "2.0", "id": 7, "result": {}})
    assert "error" in refused


async def test_a_gateway_that_is_away_is_an_error_and_is_found_when_it_is_back(remote: Remote) -> None:
    async with serving(remote) as client:
        await remote.gateway.end()
        with pytest.raises(Exception, match="can't reach Flowyard"):
            await client.call_tool("poem", {"topic": "rain"})
        await remote.gateway.begin()
        assert "poem" in await names(client)


async def test_what_the_page_says_can_be_typed_lists_the_tools(remote: Remote) -> None:
    blocks = commands(PAGE)
    assert len(blocks) == 2
    for block in blocks:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", block.text, stdout=PIPE, env=os.environ | remote.environment | {"PATH": path}
        )
        out, _ = await process.communicate()
        assert (process.returncode, b'"tools":[{"' in out.replace(b'": ', b'":')) == (0, True), out


def test_the_tools_that_the_page_lists_are_those_that_there_are() -> None:
    listed = {scope: set(re.findall(r"\w+_\w+", tools)) for scope, tools in table(PAGE, "scope", "tools")}
    there: dict[str, set[str]] = {}
    for tool in CONTROL_TOOLS:
        there.setdefault(tool.scope, set()).add(tool.name)
    assert listed == there
