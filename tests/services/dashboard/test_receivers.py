"""The page with the receivers of notifications."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from support.receiving import ended, receiving, sending
from support.stored import Stored, open_stored
from support.waiting import eventually


@pytest.fixture
async def stored(database_url: str) -> AsyncIterator[Stored]:
    async with open_stored(database_url) as stored:
        yield stored


async def test_without_any_the_page_says_how_to_have_one(client: httpx.AsyncClient) -> None:
    assert "<code>on_finish</code> in a document names receivers" in (await client.get("/receivers")).text


async def test_receivers_are_shown_with_what_went_wrong_and_how_to_enable_them(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    async with receiving() as server, sending(stored) as at_work:
        await ended(stored, server.receiver("/good?token=secret"))
        await eventually(lambda: server.received)
        server.answer = 410
        await ended(stored, server.receiver("/<b>gone"))
        await eventually(lambda: at_work.metrics.value("flowyard_receivers_disabled") == 1)
        [disabled] = [
            each for each in await at_work.notifications.receivers(after=None, limit=10) if each.disabled_at is not None
        ]
    page = (await client.get("/receivers")).text
    assert f"{server.url}/good?…" in page
    assert "secret" not in page
    assert "&lt;b&gt;gone" in page
    assert "it answered 410" in page
    assert f"flowyard notifications enable {disabled.id}" in page
    assert '<a class="wide" href="/receivers" aria-current="page">' in page


async def test_a_page_of_receivers_goes_on_where_the_last_one_ended(client: httpx.AsyncClient, stored: Stored) -> None:
    await stored.database.execute(
        "INSERT INTO receivers (id, workflow, url, tried_at)"
        " SELECT lpad(to_hex(n), 16, '0'), 'w', 'https://example.com/' || n, now() FROM generate_series(1, 101) n"
    )
    assert 'href="/receivers?after=0000000000000064"' in (await client.get("/receivers")).text
    rest = (await client.get("/receivers?after=0000000000000064")).text
    assert rest.count('<tr id="receiver-') == 1
    assert "after=" not in rest
