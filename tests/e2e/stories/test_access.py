"""Keys that may do a part, for some time; and the log in which all acts are chained."""

from __future__ import annotations

import json
from typing import Final

import httpx

from support.cli import CommandLine
from support.stories import POEM
from support.system import System
from support.visitor import Visitor
from support.waiting import eventually

MINE: Final = POEM.replace("{name: poem,", "{name: mine,")
OTHERS: Final = POEM.replace("{name: poem,", "{name: others,")
FOREIGN_HOOK: Final = """\
flow: {name: hook-of-others}
state: {fields: {topic: {type: str, required: true}}}
nodes: [{id: keep, set: {topic: '{topic}'}}]
triggers: {order: {webhook: {path: stories/others, auth: none}, inputs: {topic: '{payload.topic}'}}}
"""


async def test_a_key_for_some_workflows_can_do_nothing_with_others_and_nothing_once_it_has_expired(
    visitor: Visitor, system: System, cli: CommandLine
) -> None:
    for name, document in (("mine", MINE), ("others", OTHERS), ("hook-of-others", FOREIGN_HOOK)):
        await visitor.apply(name, document)
    made = await cli.data("keys", "create", "story", "--scope", "run", "--workflow", "mine", "--rate", "1000")
    delivered = (await visitor.post("/hooks/stories/others", topic="snow")).json()
    async with httpx.AsyncClient(base_url=system.url, headers={"authorization": f"Bearer {made['key']}"}) as limited:
        run = await limited.post("/v1/workflows/mine/runs", json={"inputs": {"topic": "rain"}})
        assert run.status_code in (200, 202)
        assert (await visitor.ended(run.json()["id"]))["status"] == "succeeded"
        refused = await limited.post("/v1/workflows/others/runs", json={"inputs": {"topic": "rain"}})
        assert (refused.status_code, refused.json()["code"]) == (403, "not_for_key")
        for path in (f"/v1/runs/{delivered['run_id']}", f"/v1/deliveries/{delivered['delivery']}"):
            assert (await limited.get(path)).status_code == 404
        assert (await limited.post(f"/v1/deliveries/{delivered['delivery']}/replay")).status_code == 404
        for path in ("/v1/keys", "/v1/audit"):
            assert (await limited.get(path)).json()["code"] == "forbidden"

        # Its time is changed together with its secret: the old one isn't valid any more.
        new = await cli.data("keys", "rotate", made["id"], "--overlap", "0s", "--expires", "2s")
        assert await eventually(lambda: code_of(limited)) == "unauthorized", "as soon as all gateways know"
        limited.headers["authorization"] = f"Bearer {new['key']}"
        assert await code_of(limited) in ("", "key_expired")
        assert await eventually(lambda: code_of(limited)) == "key_expired"
    await visitor.ended(delivered["run_id"])


async def code_of(client: httpx.AsyncClient) -> str:
    """Of the error. Empty, if there is none."""
    response = await client.get("/v1/runs", params={"workflow": "mine"})
    return "" if response.is_success else str(response.json()["code"])


async def test_both_secrets_of_a_rotated_key_are_valid_until_it_is_revoked(system: System, cli: CommandLine) -> None:
    made = await cli.data("keys", "create", "rotating", "--scope", "read")
    new = await cli.data("keys", "rotate", made["id"], "--overlap", "1h")
    async with httpx.AsyncClient(base_url=system.url) as client:

        async def codes() -> list[str]:
            answers = []
            for text in (made["key"], new["key"]):
                client.headers["authorization"] = f"Bearer {text}"
                answers.append(await code_of(client))
            return answers

        async def are_revoked() -> bool:
            return await codes() == ["unauthorized"] * 2

        assert await codes() == ["", ""]
        await cli.output("keys", "revoke", made["id"])
        await eventually(are_revoked)


async def test_all_acts_are_in_a_log_whose_chain_holds_here_and_in_a_copy(visitor: Visitor, cli: CommandLine) -> None:
    await visitor.apply("mine", MINE.replace("About anything", "Applied for the log"))
    run_id = await visitor.submit("mine", topic="fog")
    await visitor.ended(run_id)
    made = await cli.data("keys", "create", "logged", "--scope", "read")
    await cli.output("keys", "revoke", made["id"])
    assert "fit together" in await cli.output("audit", "verify")
    copy = await cli.output("audit", "--json")
    acts = [json.loads(line) for line in copy.splitlines()]
    for act, wanted in {"run.submitted": run_id, "key.created": made["id"], "key.revoked": made["id"]}.items():
        assert any(each["act"] == act and wanted in each["objects"] for each in acts), act
    assert made["key"] not in copy
    (cli.folder / "log.jsonl").write_text(copy)
    assert "fit together" in await cli.output("audit", "verify", "log.jsonl")
    (cli.folder / "log.jsonl").write_text(copy.replace(run_id, run_id[::-1]))
    assert (await cli("audit", "verify", "log.jsonl")).code == 1
