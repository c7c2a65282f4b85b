"""Documents and runs as resources, prompt nodes as prompts."""

from __future__ import annotations

import asyncio
import json

import pytest
import yaml
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, TextContent, TextResourceContents

from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from services.gateway.conftest import Gateway
from services.gateway.mcp.conftest import NOBODYS, POEM, connected
from support.hands import Hands
from support.queued import apply


async def read(client: Client, uri: str) -> tuple[str | None, str]:
    """Its type, and its text."""
    [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    return content.mime_type, content.text


async def test_documents_are_resources(client: Client) -> None:
    listed = await client.list_resources()
    assert [each.uri for each in listed.resources] == [f"flowyard://workflows/{n}" for n in ("hidden", "other", "poem")]
    mime_type, text = await read(client, "flowyard://workflows/poem")
    assert (mime_type, yaml.safe_load(text)) == ("application/yaml", yaml.safe_load(POEM))


async def test_runs_are_resources(client: Client, hands: Hands) -> None:
    calling = asyncio.create_task(client.call_tool("poem", {"topic": "rain"}))
    claim = await hands.take()
    await hands.succeed(claim, {"poem": "Wet."})
    await calling
    uri = f"flowyard://runs/{claim.run_id}"
    assert uri in {each.uri for each in (await client.list_resources(cache_mode="bypass")).resources}
    mime_type, text = await read(client, uri)
    assert mime_type == "application/json"
    run = json.loads(text)
    assert (run["status"], run["outputs"], run["inputs"]) == ("succeeded", {"poem": "Wet."}, {"topic": "rain"})


async def test_both_are_described_by_templates(client: Client) -> None:
    templates = (await client.list_resource_templates()).resource_templates
    assert {each.uri_template for each in templates} == {"flowyard://workflows/{name}", "flowyard://runs/{run_id}"}


@pytest.mark.parametrize(
    "uri",
    [
        "flowyard://workflows/peom",
        "flowyard://workflows/%00",
        "flowyard://workflows/poem/1",
        f"flowyard://runs/{NOBODYS}",
        "flowyard://runs/7",
        "file:///etc/passwd",
    ],
)
async def test_what_is_no_resource_is_an_error(client: Client, uri: str) -> None:
    with pytest.raises(MCPError, match="no resource") as caught:
        await client.read_resource(uri)
    assert caught.value.data == {"uri": uri}


async def test_a_key_with_a_list_of_workflows_sees_these_alone(gateway: Gateway, database: Database) -> None:
    _, only = await Keys(database).create("only", frozenset({"read"}), workflows=frozenset({"other"}))
    async with connected(gateway, gateway.keys["run"], "auto") as client:
        started = await client.call_tool("start_run", {"workflow": "poem", "inputs": {"topic": "rain"}})
    async with connected(gateway, only, "auto") as client:
        assert [each.name for each in (await client.list_resources()).resources] == ["other"]
        for uri in ("workflows/poem", f"runs/{started.structured_content['run_id']}"):
            with pytest.raises(MCPError, match="no resource"):
                await client.read_resource(f"flowyard://{uri}")


async def test_many_workflows_come_in_pages(gateway: Gateway, database: Database) -> None:
    for number in range(100):
        await apply(database, POEM.replace("name: poem", f"name: poem-{number:03}"))
    async with connected(gateway, gateway.keys["run"], "auto") as client:
        first = await client.list_resources()
        rest = await client.list_resources(cursor=first.next_cursor)
    assert (len(first.resources), len(rest.resources), rest.next_cursor) == (100, 3, None)


async def test_prompt_nodes_that_are_listed_are_prompts(client: Client) -> None:
    [prompt] = (await client.list_prompts()).prompts
    assert (prompt.name, prompt.title, prompt.description) == ("poem", "Sketch", "A first sketch.")
    assert [(a.name, a.description, a.required) for a in prompt.arguments or ()] == [
        ("topic", "What it is about.", True),
        ("lines", "int", False),
    ]
    result = await client.get_prompt("poem", {"topic": "rain", "lines": "2"})
    assert [(message.role, message.content) for message in result.messages] == [
        ("user", TextContent(text="You are terse.")),
        ("user", TextContent(text="2 lines about rain")),
    ]


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("peom", {}, "did you mean 'poem'"),
        ("poem.write", {}, "unknown prompt"),
        ("poem", {}, "topic: missing"),
        ("poem", {"topic": "rain", "lines": "many"}, "lines: expected int"),
        ("poem", {"topic": "rain", "tpoic": "x"}, "tpoic: isn't known"),
    ],
)
async def test_wrong_prompts_are_errors(client: Client, name: str, given: dict[str, str], words: str) -> None:
    with pytest.raises(MCPError) as caught:
        await client.get_prompt(name, given)
    assert (caught.value.code, words in caught.value.message) == (-32602, True), caught.value.message


async def test_several_prompts_are_named_by_their_nodes_and_their_choices_completed(
    gateway: Gateway, database: Database
) -> None:
    several = POEM.replace("prompts: [sketch]", "prompts: [sketch, write]")
    await apply(database, several.replace("draft: str", "draft: \"'short' | 'shy' | 'long'\""))
    async with connected(gateway, gateway.keys["run"], "auto") as client:
        assert [each.name for each in (await client.list_prompts()).prompts] == ["poem.sketch", "poem.write"]
        write = PromptReference(name="poem.write")
        for begun, values in (("", ["short", "shy", "long"]), ("sh", ["short", "shy"]), ("x", [])):
            completed = await client.complete(write, {"name": "draft", "value": begun})
            assert completed.completion.values == values
        for prompt, argument in (("poem.write", "topic"), ("nobody", "draft")):
            completed = await client.complete(PromptReference(name=prompt), {"name": argument, "value": ""})
            assert completed.completion.values == []
