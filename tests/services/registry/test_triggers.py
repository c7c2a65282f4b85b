"""Triggers are applied with their workflow, shown and paused."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from flowyard.storage.database import Database
from services.registry.conftest import Registry
from support.hook_senders import document

DOCUMENT = document()
LONE = """
flow: {{name: {name}}}
state: {{fields: {{a: {{type: any, default: 1}}, b: any}}}}
nodes: [{{id: keep, set: {{b: "{{a}}"}}}}]
triggers:
  hook: {{webhook: {{path: {path}, secret: "${{env:A_WEBHOOK_SECRET}}"}}}}
"""


async def apply(client: httpx.AsyncClient, name: str, text: str) -> httpx.Response:
    return await client.put(f"/v1/workflows/{name}", content=text)


async def names(client: httpx.AsyncClient, **params: str) -> list[str]:
    page = (await client.get("/v1/triggers", params=params)).json()
    return [trigger["name"] for trigger in page["items"]]


async def test_triggers_are_there_when_apply_returns_and_follow_a_rollback(client: httpx.AsyncClient) -> None:
    assert (await apply(client, "hooked", DOCUMENT)).status_code == 201
    assert len(await names(client)) == 11
    assert (await apply(client, "hooked", DOCUMENT.partition("triggers:")[0])).status_code == 200
    assert await names(client) == []
    restored = await client.post("/v1/workflows/hooked/rollback", json={"revision": 1})
    assert restored.json()["revision"] == 3
    assert len(await names(client)) == 11
    assert (await client.delete("/v1/workflows/hooked")).status_code == 200
    assert await names(client) == []


async def test_two_workflows_that_want_one_path_are_told_at_apply(client: httpx.AsyncClient) -> None:
    assert (await apply(client, "one", LONE.format(name="one", path="p"))).status_code == 201
    refused = await apply(client, "two", LONE.format(name="two", path="p"))
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["path"], problem["workflow"]) == (
        409,
        "path_taken",
        "p",
        "one",
    )
    assert "belongs to the workflow 'one'" in problem["detail"]
    assert (await client.get("/v1/workflows/two")).status_code == 404
    assert (await apply(client, "two", LONE.format(name="two", path="q"))).status_code == 201
    assert (await apply(client, "one", LONE.format(name="one", path="r"))).status_code == 200
    assert (await apply(client, "two", LONE.format(name="two", path="p"))).status_code == 200
    taken = await client.post("/v1/workflows/one/rollback", json={"revision": 1})
    assert (taken.status_code, taken.json()["code"]) == (409, "path_taken")


async def test_a_webhook_without_a_secret_is_refused_and_an_open_one_warned_about(client: httpx.AsyncClient) -> None:
    text = LONE.format(name="one", path="p")
    refused = await apply(client, "one", text.replace(', secret: "${env:A_WEBHOOK_SECRET}"', ""))
    assert (refused.status_code, [p["code"] for p in refused.json()["problems"]]) == (422, ["missing-secret"])
    accepted = await apply(client, "one", text.replace('secret: "${env:A_WEBHOOK_SECRET}"', "auth: none"))
    assert (accepted.status_code, [w["code"] for w in accepted.json()["warnings"]]) == (201, ["open-webhook"])
    unknown = await apply(client, "one", text.replace("A_WEBHOOK_SECRET", "HOME"))
    assert [p["code"] for p in unknown.json()["problems"]] == ["variable-not-allowed"]


async def test_a_trigger_is_shown_with_what_its_document_says_and_no_secret(client: httpx.AsyncClient) -> None:
    await apply(client, "hooked", DOCUMENT)
    shown = (await client.get("/v1/triggers/hooked/whatsapp")).json()
    del shown["created_at"]
    assert shown == {
        "workflow": "hooked", "name": "whatsapp", "kind": "webhook", "path": "in/whatsapp", "revision": 1,
        "state": "active", "paused_at": None, "description": None, "sender": "whatsapp",
        "secrets": ["${env:WHATSAPP_WEBHOOK_SECRET}"], "verify_tokens": ["${env:META_VERIFY_TOKEN}"], "open": False,
        "when": None, "inputs": ["topic"], "wait_s": 0.0, "subject": None, "follows": None, "statuses": [],
        "schedule": None, "options": None,
    }  # fmt: skip
    missing = await client.get("/v1/triggers/hooked/whatsup")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_trigger")
    assert "did you mean 'whatsapp'?" in missing.json()["detail"]


async def test_a_trigger_is_paused_until_it_is_resumed(client: httpx.AsyncClient) -> None:
    await apply(client, "hooked", DOCUMENT)
    assert (await client.post("/v1/triggers/hooked/github/pause")).json()["state"] == "paused"
    await apply(client, "hooked", document(wait="1s"))
    assert (await client.get("/v1/triggers/hooked/github")).json()["state"] == "paused"
    assert (await client.post("/v1/triggers/hooked/github/resume")).json()["state"] == "active"
    assert (await client.post("/v1/triggers/hooked/none/pause")).status_code == 404
    await apply(client, "hooked", DOCUMENT.replace("    inputs:", "    enabled: false\n    inputs:"))
    assert (await client.get("/v1/triggers/hooked/github")).json()["state"] == "disabled"


async def test_lists_are_paged_and_filtered(client: httpx.AsyncClient) -> None:
    await apply(client, "hooked", DOCUMENT)
    await apply(client, "one", LONE.format(name="one", path="p"))
    seen, params = [], {"limit": "5"}
    while True:
        page = (await client.get("/v1/triggers", params=params)).json()
        seen += [f"{trigger['workflow']}/{trigger['name']}" for trigger in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == sorted(seen)
    assert len(seen) == 12
    assert await names(client, workflow="one") == ["hook"]
    assert (await client.get("/v1/triggers", params={"cursor": "x"})).status_code == 422


async def test_a_pause_is_written_down_once_with_who_has_done_it(client: httpx.AsyncClient, database: Database) -> None:
    await apply(client, "hooked", DOCUMENT)
    for action in ("pause", "pause", "resume", "resume"):
        await client.post(f"/v1/triggers/hooked/github/{action}")
    rows = await database.rows(
        "SELECT act, who, workflow, objects FROM (SELECT act, who, workflow, objects, at FROM audit_entries"
        " UNION ALL SELECT act, who, workflow, objects, at FROM audit) a WHERE act LIKE 'trigger.%' ORDER BY at"
    )
    assert [tuple(row) for row in rows] == [
        ("trigger.paused", "admin", "hooked", ["github"]),
        ("trigger.resumed", "admin", "hooked", ["github"]),
    ]


@pytest.mark.parametrize("action", ["pause", "resume"])
async def test_who_may_only_run_can_not_pause(registry: Registry, action: str) -> None:
    await apply(registry.client, "hooked", DOCUMENT)
    async with registry.as_one_who_may("run") as runner:
        assert (await runner.get("/v1/triggers")).status_code == 200
        assert (await runner.post(f"/v1/triggers/hooked/github/{action}")).status_code == 403


async def test_a_schedule_is_shown_in_words_and_with_its_next_five_fires_and_can_be_backfilled(
    registry: Registry, client: httpx.AsyncClient, database: Database
) -> None:
    text = LONE.format(name="timed", path="p").replace(
        '{webhook: {path: p, secret: "${env:A_WEBHOOK_SECRET}"}}',
        '{schedule: {cron: "0 7 * * 1-5", timezone: Europe/Berlin, jitter: 5m}}',
    )
    assert (await apply(client, "timed", text)).status_code == 201
    [listed] = (await client.get("/v1/triggers")).json()["items"]
    shown = (await client.get("/v1/triggers/timed/hook")).json()
    schedule = shown["schedule"]
    assert listed["schedule"] == schedule
    assert (schedule["rule"], schedule["timezone"]) == ("0 7 * * 1-5", "Europe/Berlin")
    assert schedule["words"] == "At 07:00 on Monday through Friday (Europe/Berlin)"
    fires = [datetime.fromisoformat(at) for at in schedule["next"]]
    assert len(fires) == 5
    assert all(at.hour == 7 and at.weekday() < 5 for at in fires)
    assert datetime.now(UTC) < fires[0] < fires[-1]
    assert shown["options"] == {"jitter_s": 300, "overlap": "skip", "catch_up": "last", "window_s": 86_400}
    assert (await client.post("/v1/triggers/timed/hook/pause")).json()["schedule"]["next"] == []
    body = {"from": "2026-01-01", "to": "2026-01-31"}
    path = "/v1/triggers/timed/hook/backfill"
    async with registry.as_one_who_may("read") as reader:
        assert (await reader.post(path, json=body)).status_code == 403
    assert (await client.post(path, json=body)).json()["code"] == "trigger_paused"
    await client.post("/v1/triggers/timed/hook/resume")
    assert (await client.post(path, json=body)).json() == {"fires": 22, "added": 22, "again": 0, "kept": 0}
    assert (await client.post(path, json=body)).json() == {"fires": 22, "added": 0, "again": 0, "kept": 22}
    acts = "SELECT act, who, workflow, objects, details FROM audit_entries WHERE act = 'trigger.backfilled'"
    [row, *_] = await database.rows(f"{acts} UNION ALL {acts.replace('_entries', '')}")  # no value
    assert tuple(row)[:4] == ("trigger.backfilled", "admin", "timed", ["hook"])
    assert '"fires":22' in str(row["details"]).replace(" ", "").replace("'", '"')
