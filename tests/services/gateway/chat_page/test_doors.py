"""Who gets to the page: sessions and no keys, forms of our own pages, the strict policy."""

from __future__ import annotations

import re

import httpx
import pytest

from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from services.gateway.chat.conftest import said
from services.gateway.chat_page.conftest import HTMX, OURS, Person, at_work, elements_of, logged_in, replied
from services.gateway.chat_page.test_markdown import HOSTILE
from services.gateway.conftest import Gateway
from support.hands import Hands

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


async def test_a_key_opens_no_page_and_a_session_nothing_else(person: Person, gateway: Gateway) -> None:
    for path in ("/chat", "/chat/w/support"):
        answer = await gateway.client.get(path)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/chat/login")
    for path in ("/v1/chat/sessions", "/v1/models", "/v1/runs", "/openapi.json", "/metrics"):
        assert (await person.client.get(path)).status_code == 401, path
    body = {"model": "support", "messages": [said()]}
    assert (await person.client.post("/v1/chat/completions", json=body)).status_code == 401


async def test_the_login_is_that_of_the_dashboard(gateway: Gateway, person: Person) -> None:
    token = person.client.cookies["flowyard_session"]
    async with httpx.AsyncClient(base_url=gateway.client.base_url, cookies={"flowyard_session": token}) as other:
        assert (await other.get("/chat")).status_code == 200
    await person.client.post("/chat/logout")
    assert (await person.client.get("/chat", headers={"cookie": f"flowyard_session={token}"})).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {},
    ],
)
async def test_only_our_own_pages_may_change_something(
    person: Person, gateway: Gateway, hands: Hands, headers: dict[str, str]
) -> None:
    chat = await person.begin("a")
    await replied(hands, "A")
    cookies = dict(person.client.cookies)
    async with httpx.AsyncClient(base_url=gateway.client.base_url, cookies=cookies, headers=headers) as foreign:
        paths = [chat, f"{chat}/title", f"{chat}/delete", f"{chat}/1/edit", f"{chat}/1/again", f"{chat}/1/stop"]
        for path in [*paths, "/chat/w/support", "/chat/login", "/chat/logout"]:
            answer = await foreign.post(path, data={"text": "x", "title": "x"})
            assert answer.status_code == 403, path
    assert "1 turn " in await person.page(chat)


async def test_every_page_has_the_strict_policy_and_nothing_from_elsewhere(person: Person, hands: Hands) -> None:
    chat = await person.begin("[a](https://evil.test) <script>x</script>")
    await replied(hands, "![x](https://evil.test/x.png)")
    async with httpx.AsyncClient(base_url=person.client.base_url) as stranger:
        login = await stranger.get("/chat/login")
    paths = ("/chat", "/chat/w/support", chat, "/chat/nowhere", f"{chat}/9/steps")
    for page in [login, *[await person.client.get(path) for path in paths]]:
        assert page.headers["content-security-policy"] == POLICY, page.url
        assert page.headers["cache-control"] == "no-store"
        for address in re.findall(r'(?:src|action|sse-connect|hx-get|hx-post)="([^"]*)"', page.text):
            assert re.match(r"/(?!/)", address), address
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|hx-on|javascript:", page.text)
    assets = re.findall(r'"(/chat/static/[^"]+)"', login.text)
    assert {address.rpartition("/")[2] for address in assets} == {
        "app.css", "app.js", "chat.css", "chat.js", "drafts.css", "icon.svg", "htmx.min.js", "sse.min.js"
    }  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
async def test_whatever_is_said_is_shown_and_never_obeyed(person: Person, hands: Hands, text: str) -> None:
    chat = await person.begin(text.replace("\0", ""))
    claim = await hands.take()
    async with person.watch(chat, 1) as watched:
        await at_work(hands, watched, claim)
        hands.say(claim, "answer", text.replace("\0", ""))
        hands.say(claim, "answer", "\n\nTHE END OF IT")
        streamed = await watched.until("THE END OF IT")
        await hands.succeed(claim, {"reply": text.replace("\0", "")})
        streamed += await watched.rest()
    await person.client.post(f"{chat}/title", data={"title": text})
    for page in (await person.page(chat), await person.page("/chat"), streamed):
        for tag, attributes in elements_of(page):
            assert tag not in ("style", "svg", "math", "iframe", "mglyph", "a:xlink"), page
            assert tag != "script" or attributes["src"].startswith("/chat/static/"), page
            assert not any(name.startswith(("on", "style", "srcdoc", "xlink")) for name in attributes), attributes
            assert attributes.get("hx-get", "/chat").startswith("/chat"), attributes
            assert attributes.get("hx-trigger") != "load"
            for name in ("href", "src", "action"):
                address = attributes.get(name, "/").strip().lower()
                assert address.startswith(("/", "#", "https://", "http://", "mailto:")), attributes
            assert tag != "img" or attributes["src"].startswith("/chat/static/"), attributes


async def test_a_stranger_is_led_to_the_login_and_back(gateway: Gateway, hands: Hands) -> None:
    async with httpx.AsyncClient(base_url=gateway.client.base_url, headers=OURS) as stranger:
        redirect = await stranger.get("/chat/w/support")
        assert redirect.headers["location"] == "/chat/login?next=/chat/w/support"
        answer = await stranger.post("/chat/login", data={"key": gateway.keys["run"], "next": "/chat/w/support"})
        assert answer.headers["location"] == "/chat/w/support"
        away = await stranger.post("/chat/login", data={"key": gateway.keys["run"], "next": "//evil.test"})
        assert away.headers["location"] == "/chat"
        wrong = await stranger.post("/chat/login", data={"key": "fy_nonsense"})
        assert wrong.status_code == 401
        stranger.cookies.clear()
        page = f"{gateway.client.base_url}/chat/c/x?after=1"
        htmx = await stranger.post("/chat/c/x", headers={**HTMX, "hx-current-url": page})
        assert htmx.headers["hx-redirect"] == "/chat/login?next=/chat/c/x"


async def test_requests_of_a_key_with_a_rate_are_counted(gateway: Gateway, database: Database) -> None:
    _, text = await Keys(database).create("slow", frozenset({"run"}), rate=3)
    async with logged_in(gateway, text) as person:
        statuses = [(await person.client.get("/chat")).status_code for _ in range(6)]
    assert statuses.count(200) < 6
    assert 429 in statuses
