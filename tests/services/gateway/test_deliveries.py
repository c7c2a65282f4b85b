"""What came for triggers is shown, and can be replayed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard.storage.triggers import Triggers
from services.gateway.conftest import Gateway
from support.hook_senders import HEAD
from support.queued import apply

OPEN = HEAD + "  open:\n    webhook: {path: open, auth: none}\n    inputs: {topic: '{payload.a}'}\n"


@pytest.fixture
async def hooked(database: Database) -> None:
    await apply(database, OPEN)


@pytest.fixture
def client(hooked: None, gateway: Gateway) -> httpx.AsyncClient:
    return gateway.client


async def deliver(client: httpx.AsyncClient, body: Any, status: int = 202) -> dict[str, Any]:
    response = await client.post("/hooks/open?q=1", json=body, headers={"X-Kind": "k"})
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_delivery_is_shown_with_what_it_carried(client: httpx.AsyncClient) -> None:
    done = await deliver(client, {"a": 1})
    shown = (await client.get(f"/v1/deliveries/{done['delivery']}")).json()
    assert shown["headers"]["x-kind"] == "k"
    assert (shown["payload"], shown["query"], shown["has_payload"]) == ({"a": 1}, {"q": "1"}, True)
    assert (shown["outcome"], shown["run_id"], shown["address"]) == ("started", done["run_id"], "127.0.0.1")
    assert (shown["body_size"], len(shown["digest"])) == (7, 64)
    missing = await client.get(f"/v1/deliveries/{uuid4()}")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_delivery")


async def test_lists_are_filtered_and_paged(client: httpx.AsyncClient) -> None:
    first = await deliver(client, {"a": 1})
    await deliver(client, {"a": 1}, 200)
    await deliver(client, {"b": 1}, 200)
    page = (await client.get("/v1/deliveries", params={"limit": 2})).json()
    rest = (await client.get("/v1/deliveries", params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert {each["outcome"] for each in page["items"] + rest["items"]} == {"started", "repeated", "failed"}
    assert (len(page["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)
    of_run = (await client.get("/v1/deliveries", params={"run_id": first["run_id"]})).json()["items"]
    assert sorted(each["outcome"] for each in of_run) == ["repeated", "started"]
    for params, count in (
        ({"outcome": "failed"}, 1),
        ({"workflow": "hooked", "trigger": "open"}, 3),
        ({"workflow": "x"}, 0),
    ):
        assert len((await client.get("/v1/deliveries", params=params)).json()["items"]) == count
    assert (await client.get("/v1/deliveries", params={"outcome": "lost"})).status_code == 422


async def test_a_replay_starts_another_run_by_the_trigger_as_it_is_now(
    client: httpx.AsyncClient, database: Database
) -> None:
    done = await deliver(client, {"a": 1, "b": 2})
    await apply(database, OPEN.replace("payload.a", "payload.b"))
    replayed = await client.post(f"/v1/deliveries/{done['delivery']}/replay")
    assert replayed.status_code == 202
    run = (await client.get(replayed.headers["location"])).json()
    assert (run["id"] != done["run_id"], run["inputs"]) == (True, {"topic": 2})
    again = (await client.post(f"/v1/deliveries/{replayed.json()['delivery']}/replay")).json()
    shown = (await client.get(f"/v1/deliveries/{again['delivery']}")).json()
    assert (shown["replays"], shown["outcome"]) == (replayed.json()["delivery"], "started")
    assert (await deliver(client, {"a": 1, "b": 2}, 200))["run_id"] == done["run_id"]


async def test_a_failed_delivery_is_replayed_once_the_document_is_right(
    client: httpx.AsyncClient, database: Database
) -> None:
    failed = await deliver(client, {"b": 5}, 200)
    path = f"/v1/deliveries/{failed['delivery']}/replay"
    refused = await client.post(path)
    assert (refused.status_code, refused.json()["code"]) == (422, "not_mapped")
    await apply(database, OPEN.replace("payload.a", "payload.b"))
    assert (await client.post(path)).status_code == 202
    outcomes = [each["outcome"] for each in (await client.get("/v1/deliveries")).json()["items"]]
    assert sorted(outcomes) == ["failed", "failed", "started"]


async def test_a_replay_that_does_not_match_starts_nothing(client: httpx.AsyncClient, database: Database) -> None:
    done = await deliver(client, {"a": 1})
    await apply(database, OPEN + "    when: payload.a > 1\n")
    replayed = await client.post(f"/v1/deliveries/{done['delivery']}/replay")
    assert (replayed.status_code, replayed.json()["outcome"]) == (200, "unmatched")


async def test_what_cannot_be_replayed_says_why(client: httpx.AsyncClient, database: Database) -> None:
    large = await deliver(client, {"a": "x" * 300_000})
    answer = await client.post(f"/v1/deliveries/{large['delivery']}/replay")
    assert (answer.status_code, answer.json()["code"]) == (409, "payload_not_kept")
    done = await deliver(client, {"a": 1})
    path = f"/v1/deliveries/{done['delivery']}/replay"
    await Triggers(database).set_paused("hooked", "open", paused=True)
    assert (await client.post(path)).json()["code"] == "trigger_paused"
    await apply(database, OPEN.replace("  open:", "  other:"))
    assert (await client.post(path)).json()["code"] == "unknown_trigger"
    assert (await client.post(f"/v1/deliveries/{uuid4()}/replay")).status_code == 404


async def test_a_replay_is_written_down_with_who_has_done_it(client: httpx.AsyncClient, database: Database) -> None:
    done = await deliver(client, {"a": 1})
    replayed = (await client.post(f"/v1/deliveries/{done['delivery']}/replay")).json()
    [row] = await database.rows("SELECT act, who, workflow, objects, details FROM audit_entries")
    assert tuple(row) == (
        "delivery.replayed", "run", "hooked", [replayed["delivery"], replayed["run_id"]], {"replays": done["delivery"]},
    )  # fmt: skip


async def test_who_may_only_read_can_not_replay(client: httpx.AsyncClient, gateway: Gateway) -> None:
    done = await deliver(client, {"a": 1})
    async with gateway.as_one_who_may("read") as reader:
        assert (await reader.get(f"/v1/deliveries/{done['delivery']}")).status_code == 200
        assert (await reader.post(f"/v1/deliveries/{done['delivery']}/replay")).status_code == 403
    async with gateway.client_with(None) as stranger:
        assert (await stranger.get("/v1/deliveries")).status_code == 401


async def test_a_key_for_some_workflows_finds_only_their_deliveries(
    client: httpx.AsyncClient, gateway: Gateway, database: Database
) -> None:
    done = await deliver(client, {"a": 1})
    path = f"/v1/deliveries/{done['delivery']}"
    keys = [await Keys(database).create("x", frozenset({"run"}), workflows=frozenset({n})) for n in ("hooked", "other")]
    (_, of_own), (_, of_other) = keys
    async with gateway.client_with(f"Bearer {of_own}") as own, gateway.client_with(f"Bearer {of_other}") as other:
        assert (await own.get(path)).status_code == 200
        assert len((await own.get("/v1/deliveries", params={"workflow": "hooked"})).json()["items"]) == 1
        assert (await own.post(f"{path}/replay")).status_code == 202
        for refused in (await other.get(path), await other.post(f"{path}/replay")):
            assert (refused.status_code, refused.json()["code"]) == (404, "unknown_delivery")
        for client_of, query in ((own, {}), (other, {}), (other, {"workflow": "hooked"})):
            refused = await client_of.get("/v1/deliveries", params=query)
            assert (refused.status_code, refused.json()["code"]) == (403, "not_for_key")
