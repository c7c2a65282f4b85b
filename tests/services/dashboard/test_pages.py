from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from flowyard.control.cancel import cancel_run
from flowyard.control.parts import Control
from flowyard.storage.database import Database
from flowyard.web.pages.assets import AssetsMissing, load_assets
from flowyard.web.pages.site import Site
from services.dashboard.conftest import HAIKU, apply, submit

BAD = "<img src=x onerror=alert(1)>\"'</textarea></script>"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


async def test_without_anything_pages_say_what_to_do(client: httpx.AsyncClient) -> None:
    assert "No workflows yet: <code>flowyard apply FILE</code>" in (await client.get("/workflows")).text
    assert "No runs yet" in (await client.get("/runs")).text
    assert "No failed runs." in (await client.get("/runs?status=failed")).text
    assert "No workflow has “x”" in (await client.get("/workflows?q=x")).text


async def test_every_answer_has_the_strict_policy(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, HAIKU)
    for path in ("/login", "/", "/workflows", "/workflows/haiku", "/runs", "/receivers", "/nowhere", "/health/live"):
        answer = await client.get(path)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"


async def test_no_page_has_anything_from_elsewhere_or_inline(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    run_id = await submit(control, await apply(database, HAIKU), topic="rain")
    for path in ("/login", "/workflows", "/workflows/haiku", "/runs", "/receivers", f"/runs/{run_id}"):
        page = (await client.get(path)).text
        for address in re.findall(r'(?:src|href|action|sse-connect|hx-get)="([^"]*)"', page):
            assert re.match(r"/(?!/)|#", address), address
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|hx-on|javascript:", page)


async def test_assets_are_ours_and_kept_for_ever(client: httpx.AsyncClient) -> None:
    page = (await client.get("/login")).text
    addresses = re.findall(r'"(/static/[^"]+)"', page)
    assert {address.rpartition("/")[2] for address in addresses} == {
        "app.css", "app.js", "icon.svg", "htmx.min.js", "sse.min.js"
    }  # fmt: skip
    for address in addresses:
        answer = await client.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        plain = await client.get(address, headers={"accept-encoding": "identity"})
        assert plain.content == answer.content
        assert not re.search(rb"(?:src|href|url|import)\W{1,3}https?://", plain.content)
    assert (await client.get("/static/0123456789abcdef/app.css")).status_code == 404


def test_without_its_scripts_the_service_says_what_to_run(tmp_path: Path) -> None:
    for name in ("app.css", "app.js", "icon.svg"):
        (tmp_path / name).write_text("")
    with pytest.raises(AssetsMissing, match=r"need vendor/htmx\.min\.js: run `make setup`"):
        load_assets(Site(ways=()), folder=tmp_path)


def hostile() -> dict[str, Any]:
    fields = {"topic": {"type": "str", "required": True, "description": BAD}, "poem": "str"}
    node = {"id": "write", "name": BAD, "prompt": "{topic}", "outputs": ["poem"]}
    name = BAD.replace("/", "")
    return {**HAIKU, "flow": {"name": name, "description": BAD}, "state": {"fields": fields}, "nodes": [node]}


async def test_whatever_people_write_is_shown_and_never_obeyed(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    name = await apply(database, hostile())
    run_id = await submit(control, name, topic=BAD)
    pages = [
        await client.get("/workflows"),
        await client.get(f"/workflows?q={httpx.QueryParams({'x': BAD})['x']}"),
        await client.get(httpx.URL("/workflows/" + name.replace(" ", "%20").replace("<", "%3C").replace(">", "%3E"))),
        await client.get("/runs", params={"workflow": name}),
        await client.get(f"/runs/{run_id}"),
        await client.get(f"/runs/{run_id}", params={"fork": BAD}),
        await client.post(f"/runs/{run_id}/fork", data={"from": BAD, "changes": BAD}),
        await client.get("/login", params={"next": f"/{BAD}"}),
        await client.get(f"/{BAD}"),
    ]
    for page in pages:
        assert "<img src=x" not in page.text, page.url
        assert "</textarea></script>" not in page.text, page.url
    assert sum("&lt;img src=x" in page.text for page in pages) >= 6


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere", "/workflows/unknown", "/workflows/a%00b", "/workflows/a%2Fb", "/runs/nonsense",
        "/runs/01a206af-a90f-7a31-9cc4-6ad022b9206d", "/runs/01a206af-a90f-7a31-9cc4-6ad022b9206d/live",
    ],
)  # fmt: skip
async def test_what_does_not_exist_is_an_error_on_a_page(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert '<a href="/workflows">' in answer.text


async def test_odd_questions_have_answers(client: httpx.AsyncClient) -> None:
    for path in (
        "/workflows?q=%00",
        "/workflows?after=%00",
        "/runs?workflow=%00",
        "/runs?before=x",
        "/runs?status=x%00",
    ):
        assert (await client.get(path)).status_code in (200, 404)


async def test_the_list_of_workflows_shows_how_their_runs_end(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    name = await apply(database, HAIKU)
    await cancel_run(control, UUID(await submit(control, name, topic="x")))
    await submit(control, name, topic="x")
    page = (await client.get("/workflows?q=HAI")).text
    assert '<span class="badge queued">queued</span>' in page
    assert '<span class="count cancelled" title="cancelled">1' in page
    assert '<span class="count running" title="open">1' in page


async def test_the_page_of_a_workflow_shows_when_its_schedules_fire(
    client: httpx.AsyncClient, database: Database
) -> None:
    triggers = {
        "mornings": {
            "schedule": {"cron": "0 7 * * 1-5", "timezone": "Europe/Berlin"},
            "inputs": {"topic": "{fire.date}"},
        },
        "often": {"schedule": {"every": "15m"}, "inputs": {"topic": "{fire.at}"}, "enabled": False},
    }
    await apply(database, {**HAIKU, "triggers": triggers})
    page = (await client.get("/workflows/haiku")).text
    assert "At 07:00 on Monday through Friday (Europe/Berlin) <code>0 7 * * 1-5</code>" in page
    fires = re.findall(r'<time datetime="([^"]+)" title="\1">\w{3} ([\d-]+) 07:00:00 \+0[12]00</time>', page)
    assert len(fires) == 5
    assert all(instant.startswith(f"{day}T07:00:00+0") for instant, day in fires)
    assert "Every 15 minutes" in page
    assert "It is disabled, and fires nothing." in page
    await apply(database, HAIKU)
    assert "Schedules" not in (await client.get("/workflows/haiku")).text
