"""The pages as people have them: in a real browser, with a real executor and a model on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from flowyard.runs.call_texts import CallTexts
from flowyard.storage.database import Database, dumps
from services.dashboard.conftest import Dashboard, apply
from support.chromium import BROWSER, Tab, open_tab
from support.executors import plain_executor
from support.wire.behaviour import Late, Text
from support.wire.openai import openai_server
from support.wire.server import Request

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="NO BROWSER: install chromium, or nobody knows whether the pages work in one"
)

TRIAGE = Path(__file__).parents[3] / "examples" / "triage.yaml"
RUNS = "document.querySelectorAll('#runs tr[id^=run]').length"


def replies(request: Request) -> Late:
    prompt = request.body["messages"][-1]["content"]
    return Late(Text("billing" if "Which category" in prompt else "<b>Thank you</b> for your message."), 0.5)


@pytest.fixture
async def tab() -> AsyncIterator[Tab]:
    async with open_tab() as tab:
        await tab.size(1280, 900)
        yield tab


async def log_in(tab: Tab, dashboard: Dashboard) -> None:
    await tab.open(f"{dashboard.url}/workflows/triage")
    assert await tab.run("location.pathname + location.search") == "/login?next=/workflows/triage"
    await tab.type("#key", dashboard.keys["run"])
    await tab.click("main button")
    assert await tab.run("location.pathname") == "/workflows/triage"


def document(api_base: str) -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load(TRIAGE.read_text())
    del described["tests"]
    model = {"provider": "openai", "model": "gpt-4o-mini", "api_base": api_base}
    return {**described, "config": {"llm": model}}


async def test_a_run_is_started_and_watched_to_its_end_without_a_reload(
    tab: Tab, dashboard: Dashboard, database: Database, database_url: str, nats_url: str
) -> None:
    async with openai_server(replies) as model:
        await apply(database, document(model.url))
        await log_in(tab, dashboard)
        await tab.type("#input-1", "My invoice is wrong")
        await tab.click("main form button")
        assert (await tab.run("location.pathname")).startswith("/runs/")
        await tab.run("window.isSame = true")
        async with plain_executor(database_url, nats_url):
            for state in ("running", "succeeded"):
                await tab.until(f"document.querySelector('#run-head .badge.{state}')", seconds=60)
        await tab.until("document.documentElement.dataset.live == 'over'")
    assert await tab.run("window.isSame")
    assert await tab.run("document.querySelectorAll('#steps tr').length") == 2
    assert await tab.run("[...document.querySelectorAll('#graph .place.done .name')].map(n => n.textContent)") == [
        "sort",
        "billing",
    ]
    assert await tab.run("document.querySelectorAll('#graph .place.skipped .name').length") == 2
    # Whatever the font, no name sticks out of its box.
    texts = "[...document.querySelectorAll('#graph .name, #graph .note')]"
    clip = "document.querySelector(each.parentElement.getAttribute('clip-path').slice(4, -1))"
    assert await tab.run(f"{texts}.every(each => {clip}.tagName == 'clipPath')")
    assert "<b>Thank you</b> for your message." in await tab.run("document.querySelector('#result').innerText")
    assert "run.succeeded" in await tab.run("document.querySelector('#events li').innerText")
    assert tab.complaints == []
    assert {address.split("/")[2] for address in tab.requested if "://" in address} == {dashboard.url.split("/")[2]}


async def test_lists_live_and_nothing_sticks_out(tab: Tab, dashboard: Dashboard, database: Database) -> None:
    await apply(database, document("http://127.0.0.1:9/v1"))
    await log_in(tab, dashboard)
    pages = ["/workflows", "/workflows/triage", "/runs"]
    await tab.open(f"{dashboard.url}/runs")
    await tab.until("document.documentElement.dataset.live == 'on'")
    answer = await dashboard.client.post("/workflows/triage/runs", data={"input.message": "x" * 300})
    pages.append(answer.headers["location"])
    await tab.until(f"{RUNS} == 1")
    await tab.run("document.querySelector('#status').value = 'failed'")
    await tab.run("document.querySelector('#status').dispatchEvent(new Event('change', {bubbles: true}))")
    await tab.until("document.querySelector('#no-runs')")
    assert await tab.run("location.search") == "?workflow=&status=failed"
    for width, page in ((width, page) for width in (1280, 390) for page in pages):
        await tab.size(width, 844)
        await tab.open(dashboard.url + page)
        assert await tab.run("document.documentElement.scrollWidth") <= width, page
    assert tab.complaints == []


async def test_a_page_that_lost_its_service_finds_it_again(
    tab: Tab, dashboard: Dashboard, database: Database, starting: Any
) -> None:
    await apply(database, document("http://127.0.0.1:9/v1"))
    async with starting() as first:
        await log_in(tab, first)
        await tab.open(f"{first.url}/runs")
        await tab.until("document.documentElement.dataset.live == 'on'")
    port = int(first.url.rpartition(":")[2])
    await tab.until("document.documentElement.dataset.live == 'lost'")
    await dashboard.client.post("/workflows/triage/runs", data={"input.message": "x"})
    async with starting(port=port):
        await tab.until(f"{RUNS} == 1", seconds=20)


async def test_what_was_said_in_a_call_is_unfolded_and_copied(
    tab: Tab, dashboard: Dashboard, database: Database
) -> None:
    await apply(database, document("http://127.0.0.1:9/v1"))
    await log_in(tab, dashboard)
    answer = await dashboard.client.post("/workflows/triage/runs", data={"input.message": "x"})
    page = answer.headers["location"]
    said = CallTexts(({"role": "user", "content": "a <b>long</b> question\n" * 40},), "an answer")
    await database.execute(
        "INSERT INTO model_calls (run_id, seq, visit, item, duration_s, at, node, provider, model, texts)"
        " VALUES ($1, 2, 1, -1, 1, now(), 'write', 'p', 'm', $2)",
        UUID(page.rpartition("/")[2]),
        dumps(said.data),
    )
    for width in (390, 1280):
        await tab.size(width, 900)
        await tab.open(dashboard.url + page)
        await tab.run("document.querySelector('.texts summary').click()")
        await tab.until("document.querySelectorAll('.said pre').length == 2")
        assert await tab.run("document.documentElement.scrollWidth") <= width
    shown = await tab.run("document.querySelector('.said pre').textContent")
    assert shown == said.messages[0]["content"]
    # Where the browser has no clipboard, the text is selected.
    await tab.run("document.querySelector('.said:last-child [data-copy]').click()")
    copied = "document.querySelector('.said:last-child [data-copy]').textContent == 'Copied'"
    await tab.until(f"{copied} || window.getSelection().toString() == 'an answer'")
    assert tab.complaints == []
