"""What keys with a list of workflows, an end, a rate or two secrets may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowyard.access import Scope
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from services.gateway.conftest import POEM, Gateway, Starting, submit
from support.queued import apply
from support.waiting import eventually

SCOPES: frozenset[Scope] = frozenset({"run", "write"})


@pytest.fixture
async def other(database: Database, poem: str) -> str:
    """The name of another workflow."""
    await apply(database, POEM.replace("name: poem", "name: other"))
    return "other"


async def key_for(database: Database, *workflows: str) -> str:
    return f"Bearer {(await Keys(database).create('some', SCOPES, workflows=frozenset(workflows)))[1]}"


async def test_a_key_for_some_workflows_finds_only_their_runs(
    gateway: Gateway, database: Database, poem: str, other: str
) -> None:
    own, foreign = await submit(gateway.client), await submit(gateway.client, workflow=other)
    async with gateway.client_with(await key_for(database, poem, "absent")) as client:
        assert [run["id"] for run in (await client.get("/v1/runs")).json()["items"]] == [own]
        assert (await client.get("/v1/runs", params={"cursor": own})).json()["items"] == []
        assert (await client.get(f"/v1/runs/{own}")).status_code == 200
        missing = (await client.get(f"/v1/runs/{foreign}")).json()
        assert (missing["status"], missing["code"]) == (404, "unknown_run")
        cancelled = (await client.post("/v1/runs/cancel", json={"ids": [own, foreign]})).json()
        assert (cancelled["run_ids"], cancelled["skipped"]) == ([own], {foreign: "unknown_run"})
        assert (await client.post("/v1/runs/cancel", json={"status": ["queued"]})).json()["count"] == 0
        assert (await client.get("/v1/costs", params={"by": "workflow"})).status_code == 200
    assert (await gateway.client.get(f"/v1/runs/{foreign}")).json()["status"] == "queued"


async def test_pages_of_some_workflows_are_complete_and_in_order(
    gateway: Gateway, database: Database, poem: str, other: str
) -> None:
    runs = [await submit(gateway.client, workflow=name) for name in (poem, other, poem, other, poem)]
    async with gateway.client_with(await key_for(database, poem, other)) as client:
        found: list[str] = []
        cursor = None
        while True:
            query: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await client.get("/v1/runs", params=query)).json()
            found += [run["id"] for run in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break
    assert found == runs[::-1]


async def test_a_name_outside_of_the_list_is_refused_whether_it_exists_or_not(
    gateway: Gateway, database: Database, poem: str, other: str
) -> None:
    async with gateway.client_with(await key_for(database, poem)) as client:
        for name in (other, "nowhere"):
            for sent in (
                client.post(f"/v1/workflows/{name}/runs", json={"inputs": {}}),
                # Past the short way of a submit.
                client.post(f"/v1/workflows/{name}/runs?wait=0&wait=0", json={"inputs": {}}),
                client.get("/v1/runs", params={"workflow": name}),
                client.get("/v1/costs", params={"workflow": name}),
                client.get("/v1/profiles", params={"workflow": name}),
                client.post("/v1/runs/cancel", json={"workflow": name}),
            ):
                refused = (await sent).json()
                assert (refused["status"], refused["code"], refused["workflows"]) == (403, "not_for_key", [poem])


async def test_no_hint_names_a_workflow_that_a_key_isnt_for(
    gateway: Gateway, database: Database, poem: str, other: str
) -> None:
    everything = await gateway.client.post("/v1/workflows/othe/runs", json={"inputs": {}})
    assert "other" in everything.json()["detail"]
    async with gateway.client_with(await key_for(database, "othe")) as client:
        for query in ("", "?wait=0&wait=0"):
            refused = (await client.post(f"/v1/workflows/othe/runs{query}", json={"inputs": {}})).json()
            assert refused["detail"] == "no workflow 'othe'"


async def test_an_expired_key_is_told_when_it_has_expired(gateway: Gateway, database: Database) -> None:
    end = datetime.now(UTC) - timedelta(seconds=1)
    info, text = await Keys(database).create("ci", SCOPES, expires_at=end)
    async with gateway.client_with(f"Bearer {text}") as client:
        # It is no wrong key, so it isn't slowed down.
        for _ in range(12):
            refused = await client.get("/v1/runs")
            assert (refused.status_code, refused.json()["code"]) == (401, "key_expired")
        refused = await client.get("/v1/runs")
    assert f"{end:%Y-%m-%d at %H:%M:%S} UTC" in refused.json()["detail"]
    assert refused.headers["www-authenticate"] == 'Bearer realm="flowyard", error="invalid_token"'
    async with gateway.client_with(f"Bearer fy_{info.id}_{'a' * 40}") as guesser:
        assert (await guesser.get("/v1/runs")).json()["code"] == "unauthorized"


async def test_a_key_with_a_rate_is_told_when_to_come_again(
    starting: Starting, gateway: Gateway, database: Database
) -> None:
    text = (await Keys(database).create("ci", SCOPES, rate=4))[1]
    async with starting() as second:
        clients = [each.client_with(f"Bearer {text}") for each in (gateway, second)]
        answers = [await clients[n % 2].get("/v1/runs") for n in range(6)]
        for client in clients:
            await client.aclose()
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429, 429]
    refused = answers[-1]
    assert (refused.json()["code"], refused.json()["requests_per_minute"]) == ("too_many_requests", 4)
    assert 1 <= int(refused.headers["retry-after"]) <= 15


async def test_a_key_is_created_rotated_and_listed_with_its_limits(gateway: Gateway) -> None:
    async with gateway.as_one_who_may("admin") as admin:
        wanted = {"name": "ci", "scopes": ["run"], "workflows": ["b", "a"], "requests_per_minute": 9, "expires": "30d"}
        made = (await admin.post("/v1/keys", json=wanted)).json()
        left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
        assert timedelta(days=29.9) < left < timedelta(days=30)
        assert (made["workflows"], made["requests_per_minute"], made["last_used_at"]) == (["a", "b"], 9, None)
        rotated = (await admin.post(f"/v1/keys/{made['id']}/rotate", json={"overlap_s": 3600})).json()
        assert (rotated["id"], rotated["expires_at"]) == (made["id"], made["expires_at"])
        assert rotated["old_secret_until"] is not None
        assert [await _status(gateway, key["key"]) for key in (made, rotated)] == [200, 200]
        again = (await admin.post(f"/v1/keys/{made['id']}/rotate", json={"overlap_s": 0})).json()
        assert [await _status(gateway, key["key"]) for key in (made, rotated, again)] == [401, 401, 200]
        listed = next(key for key in (await admin.get("/v1/keys")).json()["items"] if key["id"] == made["id"])
        assert listed["old_secret_until"] is None
        await admin.delete(f"/v1/keys/{made['id']}")
        refused = await admin.post(f"/v1/keys/{made['id']}/rotate", json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "key_is_over")


async def _status(gateway: Gateway, key: str) -> int:
    async with gateway.client_with(f"Bearer {key}") as client:
        return (await client.get("/v1/runs")).status_code


async def test_limits_of_keys_that_make_no_sense_are_refused(gateway: Gateway) -> None:
    bodies: list[dict[str, Any]] = [
        {"scopes": ["admin"], "workflows": ["a"]},
        {"workflows": []},
        {"workflows": ["a/b"]},
        {"workflows": [f"w{n}" for n in range(101)]},
        {"requests_per_minute": 0},
        {"requests_per_minute": True},
        {"expires": "2020-01-01"},
        {"expires": "0s"},
        {"expires": "soon"},
        {"expires": 30},
        {"expires": "999999w"},
        {"expires": "2027-01-01T00:00:00"},
    ]
    async with gateway.as_one_who_may("admin") as admin:
        for body in bodies:
            refused = await admin.post("/v1/keys", json={"name": "x", "scopes": ["run"], **body})
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request"), body
        for overlap in (-1, 90 * 86_400 + 1, "1d", None, True):
            refused = await admin.post("/v1/keys/aaaaaaaa/rotate", json={"overlap_s": overlap})
            assert refused.status_code == 422, overlap


async def test_a_last_use_is_shown(gateway: Gateway) -> None:
    async with gateway.as_one_who_may("admin") as admin:

        async def last_uses() -> dict[str, str | None]:
            return {key["name"]: key["last_used_at"] for key in (await admin.get("/v1/keys")).json()["items"]}

        async def is_shown() -> bool:
            return (await last_uses())["admin"] is not None

        await eventually(is_shown)
        assert (await last_uses())["write"] is None
