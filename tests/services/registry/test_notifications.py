"""Notifications over the registry's API, and sent by its process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowyard_embedded.servers.ports import free_port
from services.registry.conftest import Starting
from support.documents import ROOT
from support.receiving import OTHER_SECRET, SECRET, ReceivingServer, ended, receiving
from support.stored import Stored, open_stored
from support.waiting import eventually

ALLOWED = {"outbound_allow": "127.0.0.1", "webhook_secret": OTHER_SECRET}


@pytest.fixture
async def stored(database_url: str) -> AsyncIterator[Stored]:
    async with open_stored(database_url) as stored:
        yield stored


@pytest.fixture(autouse=True)
def secret_of_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_WEBHOOK_SECRET", SECRET)


async def listed(client: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    response = await client.get(path, params=query)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def in_state(client: httpx.AsyncClient, state: str) -> dict[str, Any]:
    notifications: list[dict[str, Any]] = await eventually(lambda: listed(client, "/v1/notifications", state=state))
    [notification] = notifications
    return notification


async def disabled_receiver(client: httpx.AsyncClient, stored: Stored, server: ReceivingServer) -> str:
    server.answer = 410
    await ended(stored, server.receiver("/hooks?token=secret"))
    return str((await in_state(client, "failed"))["receiver"])


async def test_the_registry_sends_what_documents_and_callers_want(starting: Starting, stored: Stored) -> None:
    async with receiving() as server, starting(**ALLOWED) as registry:
        run_id = await ended(stored, server.receiver("/document"), server.receiver("/caller", secrets=()))
        await eventually(lambda: len(server.received) == 2)
        notifications = await eventually(lambda: listed(registry.client, "/v1/notifications", run=str(run_id)))
        [receiver, _] = await listed(registry.client, "/v1/receivers")
        assert (await registry.client.get(f"/v1/receivers/{receiver['id']}")).json()["id"] == receiver["id"]
        assert {each["url"] for each in notifications} == {f"{server.url}/document", f"{server.url}/caller"}
        [of_one] = await listed(registry.client, "/v1/notifications", receiver=receiver["id"])
        assert (await registry.client.get(f"/v1/notifications/{of_one['id']}")).json()["receiver"] == receiver["id"]


async def test_without_the_setting_nothing_is_sent_to_this_machine(starting: Starting, stored: Stored) -> None:
    async with receiving() as server, starting() as registry:
        await ended(stored, server.receiver())
        notification = await in_state(registry.client, "waiting")
        [tried] = await eventually(lambda: answers(registry.client, notification["id"]))
        assert "FLOWYARD_OUTBOUND_ALLOW" in tried["failure"]
        assert not server.received


async def answers(client: httpx.AsyncClient, notification: str) -> list[dict[str, Any]]:
    tried: list[dict[str, Any]] = (await client.get(f"/v1/notifications/{notification}")).json()["answers"]
    return tried


async def test_a_disabled_receiver_is_shown_and_enabled_and_gets_what_it_has_missed(
    starting: Starting, stored: Stored
) -> None:
    async with receiving() as server, starting(**ALLOWED) as registry:
        client = registry.client
        receiver = await disabled_receiver(client, stored, server)
        [shown] = await listed(client, "/v1/receivers")
        assert (shown["id"], shown["why_disabled"], shown["url"]) == (receiver, "gone", f"{server.url}/hooks?…")
        [failed] = await listed(client, "/v1/notifications")
        for path in (f"/v1/notifications/{failed['id']}/replay", f"/v1/receivers/{receiver}/replay"):
            refused = await client.post(path)
            assert (refused.status_code, refused.json()["code"]) == (409, "receiver_disabled")
        server.answer = 204
        await ended(stored, server.receiver("/hooks?token=secret"))
        assert (await client.post(f"/v1/receivers/{receiver}/enable")).json()["disabled_at"] is None
        await eventually(lambda: len(server.received) == 2)
        assert (await client.post(f"/v1/receivers/{receiver}/replay")).json() == {"count": 1}
        await eventually(lambda: len(server.received) == 3)
        assert server.received[2].id == failed["id"]
        await client.post(f"/v1/notifications/{failed['id']}/replay")
    rows = await stored.database.rows(
        "SELECT act, who, workflow, objects FROM audit_entries UNION ALL SELECT act, who, workflow, objects FROM audit"
    )
    assert sorted(tuple(row) for row in rows if row["act"].startswith(("notification", "receiver"))) == [
        ("notification.replayed", "admin", "test", [failed["id"]]),
        ("receiver.enabled", "admin", "test", [receiver]),
        ("receiver.replayed", "admin", "test", [receiver]),
    ]


async def test_pages_of_notifications_and_receivers_go_on_where_the_last_one_ended(
    starting: Starting, stored: Stored
) -> None:
    async with receiving() as server, starting(**ALLOWED) as registry:
        for number in range(5):
            await ended(stored, server.receiver(f"/{number}"))
        await eventually(lambda: len(server.received) == 5)
        for path in ("/v1/notifications", "/v1/receivers"):
            ids: list[str] = []
            page: dict[str, Any] = {"next_cursor": None}
            while len(ids) < 5:
                query = {"limit": 2, **({"cursor": page["next_cursor"]} if ids else {})}
                page = (await registry.client.get(path, params=query)).json()
                ids += [each["id"] for each in page["items"]]
            assert len(set(ids)) == 5
            assert page["next_cursor"] is None


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/receivers/0123456789abcdef", 404, "unknown_receiver"),
        ("POST", "/v1/receivers/0123456789abcdef/enable", 404, "unknown_receiver"),
        ("POST", "/v1/receivers/0123456789abcdef/replay", 404, "unknown_receiver"),
        ("GET", "/v1/notifications/019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20-6-0", 404, "unknown_notification"),
        ("POST", "/v1/notifications/019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20-6-0/replay", 404, "unknown_notification"),
        ("GET", "/v1/notifications/019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20-999999999-9999", 404, "unknown_notification"),
        ("GET", "/v1/notifications/none", 422, "invalid_request"),
        ("GET", "/v1/receivers/none", 422, "invalid_request"),
    ],
)
async def test_what_is_not_there_is_said(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_the_receiver_that_the_page_shows_accepts_what_is_sent(starting: Starting, stored: Stored) -> None:
    page = (ROOT / "docs" / "notifications.md").read_text(encoding="utf-8")
    program = page.partition("```python\n")[2].partition("```")[0]
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "HAIKU_WEBHOOK_SECRET": SECRET}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environment, stdout=asyncio.subprocess.PIPE, cwd=Path("/")
    )
    try:
        assert process.stdout is not None
        async with starting(**ALLOWED) as registry:
            server = ReceivingServer(f"http://127.0.0.1:{port}")
            run_id = await ended(stored, server.receiver("/hooks"))
            line = await asyncio.wait_for(process.stdout.readline(), 20)
            await in_state(registry.client, "sent")
        assert line.decode().split() == ["run.succeeded", str(run_id)]
    finally:
        process.kill()
        await process.wait()
