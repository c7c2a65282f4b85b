from __future__ import annotations

import httpx
import pytest

from flowyard.control.parts import Control
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard.web.pages.session_guard import local_path
from services.dashboard.conftest import HAIKU, Dashboard, Starting, apply, submit

PAGES = (
    "/",
    "/workflows",
    "/workflows/haiku",
    "/workflows/haiku/live",
    "/runs",
    "/runs/live",
    "/receivers",
    "/metrics",
    "/openapi.json",
)


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_needs_a_session(dashboard: Dashboard, path: str) -> None:
    async with dashboard.stranger() as stranger:
        answer = await stranger.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")


async def test_health_and_the_login_need_none(dashboard: Dashboard) -> None:
    async with dashboard.stranger() as stranger:
        for path in ("/login", "/health/live", "/health/ready"):
            assert (await stranger.get(path)).status_code == 200


async def test_after_the_login_one_is_where_one_wanted_to_go(dashboard: Dashboard) -> None:
    async with dashboard.stranger() as stranger:
        redirect = await stranger.get("/runs?status=failed")
        page = await stranger.get(redirect.headers["location"])
        assert 'value="/runs?status=failed"' in page.text
        answer = await stranger.post("/login", data={"key": dashboard.keys["read"], "next": "/runs?status=failed"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/runs?status=failed")
        assert (await stranger.get("/runs")).status_code == 200


@pytest.mark.parametrize(
    "elsewhere", ["//evil.test", "https://evil.test", "/\\evil.test", "/a\nb", "evil", "", "/\t/evil"]
)
def test_the_login_leads_to_no_other_site(elsewhere: str) -> None:
    assert local_path(elsewhere) == "/"


async def test_the_cookie_is_for_us_alone(dashboard: Dashboard) -> None:
    async with dashboard.stranger() as stranger:
        plain = await stranger.post("/login", data={"key": dashboard.keys["read"]})
        behind = {"x-forwarded-proto": "https"}
        secure = await stranger.post("/login", data={"key": dashboard.keys["read"]}, headers=behind)
    words = plain.headers["set-cookie"].lower().split("; ")
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= set(words)
    assert "secure" not in words
    assert "secure" in secure.headers["set-cookie"].lower().split("; ")
    assert dashboard.keys["read"] not in plain.headers["set-cookie"]


@pytest.mark.parametrize(
    "key", ["", "nonsense", "fy_aaaaaaaa_" + "a" * 40, "fy_\0", "\ud800".encode("utf-8", "surrogatepass")]
)
async def test_a_wrong_key_is_refused_with_a_message(dashboard: Dashboard, key: str) -> None:
    async with dashboard.stranger() as stranger:
        answer = await stranger.post("/login", data={"key": key})
    assert answer.status_code == 401
    assert "This key isn&#39;t valid" in answer.text
    assert "set-cookie" not in answer.headers


async def test_wrong_keys_are_slowed_down_and_the_right_one_works(dashboard: Dashboard) -> None:
    async with dashboard.stranger() as stranger:
        answers = [await stranger.post("/login", data={"key": "x"}) for _ in range(11)]
        right = await stranger.post("/login", data={"key": dashboard.keys["read"]})
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert "too many" in answers[-1].text
    assert right.status_code == 303


async def test_behind_a_trusted_proxy_each_client_has_its_own_count(starting: Starting) -> None:
    async with starting(trusted_proxies="127.0.0.1") as dashboard, dashboard.stranger() as stranger:
        for _ in range(10):
            await stranger.post("/login", data={"key": "x"}, headers={"x-forwarded-for": "198.51.100.7"})
        statuses = [
            (await stranger.post("/login", data={"key": "x"}, headers={"x-forwarded-for": client})).status_code
            for client in ("198.51.100.7", "198.51.100.8")
        ]
    assert statuses == [429, 401]


async def test_who_logs_out_is_out(client: httpx.AsyncClient) -> None:
    token = client.cookies["flowyard_session"]
    answer = await client.post("/logout")
    assert answer.headers["location"] == "/login"
    assert (await client.get("/runs", headers={"cookie": f"flowyard_session={token}"})).status_code == 303


async def test_a_revoked_key_ends_its_sessions(dashboard: Dashboard, database: Database) -> None:
    await Keys(database).revoke(dashboard.keys["run"].split("_")[1])
    assert (await dashboard.client.get("/runs")).status_code == 303


async def test_metrics_can_be_read_with_a_key(dashboard: Dashboard) -> None:
    async with dashboard.stranger() as stranger:
        answer = await stranger.get("/metrics", headers={"authorization": f"Bearer {dashboard.keys['read']}"})
        pages = await stranger.get("/runs", headers={"authorization": f"Bearer {dashboard.keys['read']}"})
        refused = await stranger.get("/metrics", headers={"authorization": "Bearer fy_wrong"})
    assert "flowyard_build_info" in answer.text
    assert (pages.status_code, refused.status_code) == (303, 401)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "origin": "{own}"},
        {},
    ],
)
async def test_only_our_own_pages_may_change_something(
    dashboard: Dashboard, database: Database, control: Control, headers: dict[str, str]
) -> None:
    run_id = await submit(control, await apply(database, HAIKU), topic="rain")
    sent = {name: value.format(own=dashboard.url) for name, value in headers.items()}
    async with httpx.AsyncClient(base_url=dashboard.url, cookies=dashboard.client.cookies, headers=sent) as foreign:
        for path in ("/login", "/logout", f"/runs/{run_id}/cancel", "/workflows/haiku/runs"):
            answer = await foreign.post(path, data={"input.topic": "snow"})
            assert answer.status_code == 403
            assert "didn&#39;t come from a page of Flowyard" in answer.text
    assert (await control.queue_measures.depths())["queued"] == 1


async def test_a_browser_that_sends_the_origin_alone_is_believed(dashboard: Dashboard) -> None:
    async with httpx.AsyncClient(base_url=dashboard.url, headers={"origin": dashboard.url}) as old:
        assert (await old.post("/login", data={"key": dashboard.keys["read"]})).status_code == 303


async def test_who_may_only_read_sees_no_buttons_and_is_refused(
    dashboard: Dashboard, database: Database, control: Control
) -> None:
    run_id = await submit(control, await apply(database, HAIKU), topic="rain")
    async with dashboard.as_one_who_may("read") as reader:
        for path in ("/workflows/haiku", f"/runs/{run_id}"):
            page = await reader.get(path)
            assert page.status_code == 200
            assert page.text.count('method="post"') == page.text.count('action="/logout"') == 1
        for path in (*(f"/runs/{run_id}/{verb}" for verb in ("cancel", "retry", "fork")), "/workflows/haiku/runs"):
            answer = await reader.post(path, data={"input.topic": "snow"})
            assert answer.status_code == 403
            assert "needs the scope &#39;run&#39;" in answer.text
    assert (await control.queue_measures.depths())["queued"] == 1


async def test_a_session_lasts_as_long_as_it_is_set_to(starting: Starting) -> None:
    async with starting(session_hours=1e-9) as dashboard:
        assert (await dashboard.client.get("/runs")).status_code == 303
