"""Calls of operations of HTTP APIs: what is sent, what is permitted, and what comes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowyard.language.tools import NO_RULES, ToolUse
from flowyard.outbound.allowlist import Allowlist
from flowyard.outbound.client import open_outbound
from flowyard.tools.calling import call_tool
from flowyard.tools.openapi_settings import read_apis
from flowyard.tools.openapi_sources import open_apis
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import ToolResult
from support.outside import Outside, outside, redirect
from support.reaching import CONTEXT, LOOPBACK, answering

PETS = Path(__file__).parents[2] / "data" / "openapi" / "pets.yaml"
TOKEN = "a-token-that-nobody-may-see"


@dataclass
class Shop:
    tools: ToolRegistry
    server: Outside

    async def call(
        self, name: str, arguments: Mapping[str, Any], allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()
    ) -> ToolResult:
        tool = self.tools.get(f"pets.{name}")
        assert tool is not None
        return await call_tool(tool, ToolUse(tool.name, allow, deny), arguments, CONTEXT, NO_RULES)

    @property
    def lines(self) -> list[str]:
        """Of the last request: its first line, its headers, its body."""
        return self.server.heads[-1].replace("\r\n\r\n", "\r\n").split("\r\n")


@asynccontextmanager
async def shop(*answers: bytes, addresses: Allowlist = LOOPBACK, description: str = str(PETS)) -> AsyncIterator[Shop]:
    async with outside(*(answers or [answering("{}")])) as server, open_outbound({}, addresses) as http:
        api = {
            "openapi": description.replace("PORT", str(server.port)),
            "name": "pets",
            "server": f"http://127.0.0.1:{server.port}/v1",
            "headers": {"Authorization": "Bearer ${env:PETS_TOKEN}", "X-Client": "flowyard"},
        }
        services, environ = ToolServices(http=http), {"PETS_TOKEN": TOKEN}
        async with open_apis(read_apis(json.dumps([api])), services, environ) as sources:
            yield Shop(ToolRegistry((), sources), server)


async def test_arguments_go_where_the_description_says() -> None:
    async with shop(answering('[{"name": "Mia"}]')) as pets:
        given = {
            "tags": ["a b", "c&d"], "ids": [1, 2], "filter": {"kind": "cat"}, "page_size": 5, "X-Tenant": "t"
        }  # fmt: skip
        result = await pets.call("listPets", given)
        assert result == ToolResult({"status": 200, "body": [{"name": "Mia"}]})
        query = "tags=a+b&tags=c%26d&ids=1,2&filter%5Bkind%5D=cat&page%5Bsize%5D=5"
        assert pets.lines[0] == f"GET /v1/pets?{query} HTTP/1.1"
        assert {"X-Tenant: t", f"Authorization: Bearer {TOKEN}", "X-Client: flowyard"} <= set(pets.lines)


@pytest.mark.parametrize(
    ("name", "arguments", "media", "body"),
    [
        ("addPet", {"name": "Mia", "kind": None, "parent": None}, "application/json", '{"name": "Mia", "kind": null}'),
        ("setPet", {"petId": "7", "body": {"petId": "8"}}, "application/json", '{"petId": "8"}'),
        ("setPet", {"petId": "7"}, None, ""),
        ("logIn", {"user": "a&b", "scopes": ["x", "y"]}, "application/x-www-form-urlencoded",
         "user=a%26b&scopes=x&scopes=y"),
    ],
)  # fmt: skip
async def test_a_body_is_json_or_a_form(name: str, arguments: dict[str, Any], media: str | None, body: str) -> None:
    async with shop() as pets:
        assert (await pets.call(name, arguments)).outcome == "ok"
        assert pets.lines[-1] == body
        assert [line[14:] for line in pets.lines if line.startswith("Content-Type: ")] == ([media] if media else [])
        has_key = f"Idempotency-Key: {CONTEXT.key}" in pets.lines
        assert has_key == (name != "setPet"), "what may not be made twice has a key"


@pytest.mark.parametrize("pet", ["..", ".", ""])
async def test_no_argument_leads_elsewhere(pet: str) -> None:
    async with shop() as pets:
        assert (await pets.call("get_pet", {"petId": pet})).outcome == "failed"
        assert pets.server.connections == 0


async def test_an_argument_in_the_path_is_encoded() -> None:
    async with shop() as pets:
        await pets.call("get_pet", {"petId": "../admin?x=1#y"})
        assert pets.lines[0] == "GET /v1/pets/..%2Fadmin%3Fx=1%23y HTTP/1.1"


async def test_patterns_of_a_document_are_compared_with_the_address() -> None:
    async with shop() as pets:
        allowed = f"http://127.0.0.1:{pets.server.port}/v1/pets/1*"
        assert (await pets.call("get_pet", {"petId": "17"}, allow=(allowed,))).outcome == "ok"
        denied = await pets.call("get_pet", {"petId": "27"}, allow=(allowed,))
        assert denied.error is not None
        assert denied.error.startswith(
            "not permitted: the workflow allows pets.get_pet no such 'address of the request'"
        )
        assert (await pets.call("get_pet", {"petId": "17"}, deny=("*/pets/*",))).outcome == "failed"
        assert pets.server.connections == 1


async def test_a_token_is_sent_nowhere_else_and_shown_to_nobody() -> None:
    async with outside(answering("{}")) as other:
        leak = answering(json.dumps({"you said": f"Bearer {TOKEN}"}))
        async with shop(leak, answering(TOKEN, "text/plain", 500), redirect(f"http://127.0.0.1:{other.port}/")) as pets:
            assert TOKEN not in str(await pets.call("listPets", {}))
            failed = await pets.call("listPets", {})
            assert failed.error is not None
            assert "it answered 500" in failed.error
            assert TOKEN not in failed.error
            await pets.call("listPets", {})
        assert TOKEN not in other.heads[0]


async def test_only_public_addresses_are_reached() -> None:
    async with shop(addresses=Allowlist()) as pets:
        assert (await pets.call("listPets", {})).outcome == "failed"
        assert pets.server.connections == 0


async def test_names_and_types_of_arguments_are_checked() -> None:
    async with shop() as pets:
        for wrong in ({"petid": "7"}, {}, {"petId": 7}):
            assert (await pets.call("get_pet", wrong)).outcome == "invalid_arguments"


async def test_a_description_is_read_from_its_address() -> None:
    description = PETS.read_bytes()
    async with shop(
        answering(description, "application/yaml"), answering("[]"), description="http://127.0.0.1:PORT/openapi.yaml"
    ) as pets:
        assert (await pets.call("listPets", {})).value == {"status": 200, "body": []}
        assert pets.server.heads[0].startswith("GET /openapi.yaml ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[{openapi: a.yaml, operatoins: [x]}]", "is wrong at 0.operatoins: Extra inputs"),
        ("[{operations: [x]}]", "is wrong at 0.openapi: Field required"),
        ("[{openapi: a.yaml, headers: {'a b': c}}]", "is wrong at the headers of a.yaml"),
        ("[{openapi: a.yaml, headers: {A: '${vault:x}'}}]", "is wrong at the headers of a.yaml: no reference"),
        ("[{openapi: a.yaml, name: 1x}]", "is wrong at 0.name"),
        ("[", "should be a list in JSON or YAML"),
        ("/nowhere/apis.yaml", "can't read /nowhere/apis.yaml"),
    ],
)
def test_a_wrong_setting_is_said(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=r"^(is wrong|should be)") as error:
        read_apis(text)
    assert fault in str(error.value)


def test_descriptions_are_beside_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "apis.yaml").write_text("- openapi: pets.yaml\n- openapi: https://a.example/openapi.json\n")
    own, other = read_apis(str(tmp_path / "apis.yaml"))
    assert (own.openapi, other.openapi) == (str(tmp_path / "pets.yaml"), "https://a.example/openapi.json")


@pytest.mark.parametrize("content", ["openapi: 2", "{", "a: [", "\t", "[1]"])
async def test_what_can_not_be_read_is_in_the_log_and_stops_nothing(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.yaml").write_text(content)
    apis = read_apis(json.dumps([{"openapi": str(tmp_path / "a.yaml")}, {"openapi": str(PETS), "name": "pets"}]))
    async with open_apis(apis, ToolServices(), {}) as sources:
        assert [len(source.tools) for source in sources] == [0, 6]
    assert "no tools of" in caplog.text
