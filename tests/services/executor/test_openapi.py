"""An executor calls the operations of an API that its setting names, and announces them."""

from __future__ import annotations

import json
from pathlib import Path

from flowyard.storage.announced_tools import AnnouncedTools
from support.executors import Yard
from support.in_process import executing
from support.outside import outside
from support.reaching import answering
from support.waiting import eventually

PETS = Path(__file__).parents[2] / "data" / "openapi" / "pets.yaml"
DOCUMENT = """\
flow: {name: adopt}
state: {fields: {pet: {type: str, required: true}, page: dict}}
nodes:
  - {id: find, tool: {pet_shop.get_pet: {allow: '*'}}, with: {petId: '{pet}'}, outputs: [page]}
"""


async def test_a_run_calls_an_operation(yard: Yard) -> None:
    workflow = await yard.apply(DOCUMENT)
    async with outside(answering('{"name": "Mia"}')) as server:
        apis = json.dumps([{"openapi": str(PETS), "server": f"http://127.0.0.1:{server.port}"}])
        async with executing(yard, poll_s=0.1, openapi=apis, outbound_allow="127.0.0.1"):
            run = await yard.ended(await yard.submit(workflow, pet="7"))
            assert (run.status, run.outputs) == ("succeeded", {"page": {"status": 200, "body": {"name": "Mia"}}})

            async def announced() -> bool:
                rows = (await AnnouncedTools(yard.database).read()).announcements
                return "pet_shop.get_pet" in [data["name"] for each in rows for data in each.tools]

            await eventually(announced)
    assert server.heads[0].startswith("GET /pets/7 ")
