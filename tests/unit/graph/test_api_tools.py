"""Nodes call operations of an HTTP API that their document describes by an address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from flowyard.language.installation import KEYS_AND_TOKENS
from flowyard.outbound.allowlist import PUBLIC_ONLY, Allowlist
from flowyard.outbound.client import open_outbound
from flowyard.tools.openapi_of_documents import DocumentApis
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.services import ToolServices
from support.outside import Outside, outside
from support.reaching import LOOPBACK, answering
from support.workflows import Outcome, document, run

PETS = answering((Path(__file__).parents[2] / "data" / "openapi" / "pets.yaml").read_text(encoding="utf-8"))
API = """{openapi: 'http://127.0.0.1:PORT/pets.yaml', operations: [OPERATIONS], name: pets,
    server: 'http://127.0.0.1:PORT/v1', headers: {Authorization: 'Bearer ${env:PETS_TOKEN}'}, ALLOW}"""
EVERYTHING = "allow: '*'"


@asynccontextmanager
async def registry(allow: Allowlist = LOOPBACK) -> AsyncIterator[ToolRegistry]:
    environ = {"PETS_TOKEN": "a-secret", "HOME": "/home"}
    async with open_outbound({}, allow) as http:
        yield ToolRegistry(apis=DocumentApis(ToolServices(http=http), environ, KEYS_AND_TOKENS).tools)


def node_with(work: str, server: Outside, operations: str = "listPets", allow: str = EVERYTHING) -> str:
    api = API.replace("PORT", str(server.port)).replace("OPERATIONS", operations).replace("ALLOW", allow)
    kind = "str" if work.startswith("prompt") else "any"
    return document("", fields=f"answer: {kind}", nodes=f"- id: ask\n  outputs: [answer]\n  {work.replace('API', api)}")


async def called(text: str, tools: ToolRegistry, *replies: Any) -> Outcome:
    return await run(text, replies={"ask": list(replies)} if replies else None, tools=tools)


async def test_a_tool_node_calls_an_operation_with_a_secret_from_a_variable() -> None:
    async with outside(PETS, answering('{"pets": 3}')) as server, registry() as tools:
        outcome = await called(node_with("tool: API\n  with: {tags: [a]}", server), tools)
        assert outcome.result.outputs == {"answer": {"status": 200, "body": {"pets": 3}}}
        assert "a-secret" not in server.heads[0]
        assert server.heads[1].startswith("GET /v1/pets?tags=a ")
        assert "authorization: bearer a-secret" in server.heads[1].lower()


async def test_a_model_gets_the_operations_and_the_description_is_read_once() -> None:
    async with outside(PETS, answering("[1]"), answering("{}")) as server, registry() as tools:
        calls = [{"tool_calls": [{"name": "pets_listPets", "arguments": {}}]}]
        text = node_with("prompt: Hi\n  tools: [time.now, API]", server, "listPets, addPet")
        outcome = await called(text, tools, *calls, "done")
        assert outcome.result.outputs == {"answer": "done"}
        offer = outcome.calls[0].offer
        assert offer is not None
        assert [tool["function"]["name"] for tool in offer.tools] == ["time_now", "pets_listPets", "pets_addPet"]
        await called(text, tools, *calls, "done")
        assert [head.split()[1] for head in server.heads] == ["/pets.yaml", "/v1/pets", "/v1/pets"]


async def test_what_the_document_does_not_allow_is_not_requested() -> None:
    async with outside(PETS) as server, registry() as tools:
        allow = f"allow: ['http://127.0.0.1:{server.port}/v1/toys*']"
        outcome = await called(node_with("tool: API\n  with: {}", server, allow=allow), tools)
        assert outcome.result.error is not None
        assert "allows pets.listPets no such 'address of the request'" in outcome.result.error.message
        assert len(server.heads) == 1


async def test_a_description_that_can_not_be_read_fails_the_step() -> None:
    for answer, why in ((answering("no", status=404), "it answered 404"), (answering("{}"), "it should be an OpenAPI")):
        async with outside(answer) as server, registry() as tools:
            outcome = await called(node_with("tool: API\n  with: {}", server), tools)
            assert outcome.result.error is not None
            assert (outcome.result.error.code, why in outcome.result.error.message) == ("tool_error", True)
    async with outside(PETS) as server, registry(PUBLIC_ONLY) as tools:
        outcome = await called(node_with("tool: API\n  with: {}", server), tools)
        assert "FLOWYARD_OUTBOUND_ALLOW" in str(outcome.result.error)
        assert server.heads == []
    async with outside(PETS) as server, registry() as tools:
        outcome = await called(node_with("tool: API\n  with: {}", server, "listPest"), tools)
        assert "no operation 'listPest' (did you mean 'listPets'?)" in str(outcome.result.error)
