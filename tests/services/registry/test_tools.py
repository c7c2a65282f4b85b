"""The tools that executors have announced: documents may name them."""

from __future__ import annotations

import httpx
import pytest

from flowyard.language.tools import ToolFacts
from flowyard.storage.agents import Agents, NewAgent
from flowyard.storage.announced_tools import AnnouncedTools
from flowyard.storage.database import Database
from services.registry.conftest import Starting
from services.registry.test_workflows import put

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
FIND = ToolFacts(name="crm.find", description="Finds.", parameters=SCHEMA, effects=frozenset({"network"}))
DOCUMENT = """\
flow: {name: haiku}
state: {fields: {found: any}}
nodes:
  - {id: find, tool: TOOL, with: {name: Ada}, outputs: [found]}
"""


@pytest.fixture
async def announced(database: Database) -> AnnouncedTools:
    agents, announced = Agents(database), AnnouncedTools(database)
    for name in ("a", "b"):
        await agents.register(NewAgent(name, name, "executor", "1", "box"))
    await announced.announce("a", {"own": [FIND.data]})
    return announced


async def test_a_document_may_name_what_executors_have_announced(
    client: httpx.AsyncClient, announced: AnnouncedTools
) -> None:
    await announced.announce("b", {"own": [FIND.data]})
    response = await put(client, DOCUMENT.replace("TOOL", "{crm.find: {allow: '*'}}"))
    assert (response.status_code, response.json()["warnings"]) == (201, [])
    denied = (await put(client, DOCUMENT.replace("TOOL", "crm.find"))).json()
    assert [each["code"] for each in denied["problems"]] == ["tool-denied"]
    unknown = (await put(client, DOCUMENT.replace("TOOL", "crm.fund"))).json()
    assert [each["code"] for each in unknown["problems"]] == ["unknown-tool"]
    assert "crm.find" in unknown["problems"][0]["suggestion"]


async def test_a_tool_that_not_all_executors_have_is_warned_of(
    client: httpx.AsyncClient, announced: AnnouncedTools
) -> None:
    document = DOCUMENT.replace("TOOL", "{crm.find: {allow: '*'}}")
    [warning] = (await put(client, document)).json()["warnings"]
    assert warning["code"] == "uneven-tool"
    assert warning["message"] == "a call of 'crm.find' may fail: only 1 of 2 executors have it"
    await announced.announce("a", {})
    assert (await put(client, document)).status_code == 422


async def test_the_schema_has_the_names_of_tools_and_models(starting: Starting, announced: AnnouncedTools) -> None:
    del announced
    prices = '{"hosted_vllm/qwen3": {"input": 1, "output": 1}, "lm_studio/*": {"input": 0, "output": 0}}'
    async with starting(prices=prices, tool_rules='{"math.*": "deny"}') as registry:
        shapes = (await registry.client.get("/v1/schema")).json()["$defs"]
    short, long, _ = shapes["NodeShape"]["properties"]["tool"]["anyOf"][0]["oneOf"]
    tools = short["anyOf"][0]["enum"]
    assert {"crm.find", "time.now"} <= set(tools)
    assert "math.eval" not in tools
    assert long["propertyNames"]["anyOf"][0]["enum"] == tools
    assert shapes["LlmShape"]["properties"]["model"]["anyOf"][0] == {"enum": ["qwen3"]}
