"""MLflow on a page of the dashboard, and where it isn't."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from aiohttp import web
from pydantic import ValidationError

from flowyard.web.pages.headers import CONTENT_SECURITY_POLICY
from flowyard_dashboard.settings import DashboardSettings
from services.dashboard.conftest import Starting
from support.chromium import BROWSER, open_tab

SHOWN = "<!doctype html><title>m</title><h1>Experiments</h1><script>fetch('/ran')</script>"


@asynccontextmanager
async def small_mlflow() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The address of what looks like one from outside, and whether its scripts have run in a browser."""
    ran = asyncio.Event()

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=SHOWN, content_type="text/html")

    async def run_script(_: web.Request) -> web.Response:
        ran.set()
        return web.Response()

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/ran", run_script)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", ran
    finally:
        await runner.cleanup()


async def test_the_page_shows_mlflow_and_may_show_nothing_else(starting: Starting) -> None:
    async with starting(mlflow_public_url="https://mlflow.example:5000/behind/") as dashboard:
        page = await dashboard.client.get("/mlflow")
        other = await dashboard.client.get("/workflows")
    assert page.headers["content-security-policy"].endswith("; frame-src https://mlflow.example:5000")
    assert 'src="https://mlflow.example:5000/behind/#/experiments"' in page.text
    assert 'href="https://mlflow.example:5000/behind/" target="_blank"' in page.text
    assert '<a href="/mlflow" aria-current="page">MLflow</a>' in page.text
    assert '<a href="/mlflow">MLflow</a>' in other.text
    assert other.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


async def test_without_its_address_the_page_says_how_to_get_there(client: httpx.AsyncClient) -> None:
    page = await client.get("/mlflow")
    assert page.status_code == 200
    assert "FLOWYARD_MLFLOW_PUBLIC_URL=http" in page.text
    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "<iframe" not in page.text
    assert "MLflow" not in (await client.get("/workflows")).text
    assert "Grafana" not in (await client.get("/workflows")).text


async def test_grafana_is_linked_to(starting: Starting) -> None:
    async with starting(grafana_public_url="http://127.0.0.1:3000") as dashboard:
        assert 'href="http://127.0.0.1:3000/" target="_blank"' in (await dashboard.client.get("/runs")).text


async def test_nobody_sees_it_without_a_session(starting: Starting) -> None:
    async with starting(mlflow_public_url="http://127.0.0.1:5000") as dashboard, dashboard.stranger() as stranger:
        answer = await stranger.get("/mlflow")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/mlflow")


@pytest.mark.parametrize(
    "url",
    [
        "mlflow:5000",
        "javascript:alert(1)",
        "http://",
        "http://a b",
        "http://a;script-src *",
        "http://user:secret@mlflow",
        "http://mlflow/?x=1",
        "http://mlflow/#/x",
        'http://mlflow/"',
        "http://[::1",
    ],
)
def test_an_address_that_is_not_plain_is_refused(url: str) -> None:
    given = {"database_url": "postgresql://x", "nats_url": "nats://x", "mlflow_public_url": url}
    with pytest.raises(ValidationError):
        DashboardSettings.model_validate(given)


@pytest.mark.skipif(BROWSER is None, reason="NO BROWSER: install chromium, or nobody knows whether the frame is shown")
async def test_a_browser_shows_it_within_the_page(starting: Starting) -> None:
    async with (
        small_mlflow() as (url, ran),
        starting(mlflow_public_url=url, grafana_public_url="http://127.0.0.1:3000") as dashboard,
        open_tab() as tab,
    ):
        await tab.size(1280, 900)
        await tab.open(f"{dashboard.url}/login?next=/mlflow")
        await tab.type("#key", dashboard.keys["read"])
        await tab.click("form button")
        await tab.until("document.querySelector('iframe.framed')")
        shown = await tab.run("[...document.querySelectorAll('iframe')].map(frame => frame.offsetHeight > 500)")
        assert shown == [True]
        async with asyncio.timeout(15):
            await ran.wait()
        assert tab.complaints == []
        assert await tab.run("document.documentElement.scrollHeight <= window.innerHeight"), "one scroll bar is enough"
