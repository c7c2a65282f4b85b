"""What a key for some workflows may apply, and what it learns of others."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx

from flowyard.access import Scope
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from services.registry.conftest import Registry

HAIKU = """\
# A first workflow.
flow: {name: haiku, description: Writes.}
state:
  fields:
    topic: {type: str, required: true, description: what it is about}
    style: {type: 'str | null', default: null}
    poem: str
nodes:
  - id: write
    prompt: Write a haiku about {topic} in the style {style}.
    outputs: [poem]
"""


async def put(client: httpx.AsyncClient, document: str = HAIKU, name: str = "haiku", **how: Any) -> httpx.Response:
    return await client.put(f"/v1/workflows/{quote(name, safe='')}", content=document.encode(), **how)


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


async def test_a_key_for_some_workflows_reads_no_others_by_their_ends(registry: Registry, database: Database) -> None:
    scopes: frozenset[Scope] = frozenset({"write"})
    key = (await Keys(database).create("some", scopes, workflows=frozenset({"haiku", "mine"})))[1]
    end = "triggers: {t: {workflow: {name: NAME}, inputs: {topic: x}}}\n"
    other, mine = (HAIKU + end.replace("NAME", name) for name in ("b", "mine"))
    async with registry.client_with(f"Bearer {key}") as client:
        assert problem(await put(client, other)) == (403, "not_for_key")
        assert (await put(client, mine)).status_code == 201
        await put(registry.client, other)
        await put(client)
        assert problem(await client.post("/v1/workflows/haiku/rollback", json={"revision": 2})) == (403, "not_for_key")
        assert problem(await put(client, name="c")) == (403, "not_for_key")


async def test_a_taken_path_names_no_workflow_to_a_key_that_isnt_for_it(registry: Registry, database: Database) -> None:
    scopes: frozenset[Scope] = frozenset({"write"})
    key = (await Keys(database).create("some", scopes, workflows=frozenset({"haiku"})))[1]
    hook = "triggers: {t: {webhook: {path: p, auth: none}, inputs: {topic: x}}}\n"
    await put(registry.client, HAIKU.replace("name: haiku", "name: zebras") + hook, name="zebras")
    async with registry.client_with(f"Bearer {key}") as client:
        refused = await put(client, HAIKU + hook)
        assert problem(refused) == (409, "path_taken")
        assert "zebras" not in refused.text
    assert "zebras" in (await put(registry.client, HAIKU + hook)).text
