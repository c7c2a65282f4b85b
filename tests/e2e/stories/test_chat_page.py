"""The page where people talk to workflows, as it comes with the stack."""

from __future__ import annotations

import re
from typing import Final

import httpx

from support.system import System
from support.visitor import Model, Visitor
from support.wire.behaviour import Text

DOCUMENT: Final = """\
flow: {name: pageguide, description: Knows the way.}
state:
  fields:
    messages: {type: 'list[message]', required: true}
    reply: str
nodes:
  - {id: answer, history: messages, outputs: [reply]}
triggers:
  talk: {chat: {}}
config:
  llm: MODEL
"""
WRITER: Final = """\
flow: {name: pagewriter, description: Writes workflows.}
state:
  fields:
    messages: {type: 'list[message]', required: true}
    reply: {type: str, format: workflow}
nodes:
  - {id: answer, history: messages, outputs: [reply]}
triggers:
  talk: {chat: {}}
config:
  llm: MODEL
"""
WRITTEN: Final = """\
flow: {name: pagewritten}
nodes:
  - {id: greet, prompt: Say hello, outputs: [greeting]}
state: {fields: {greeting: str}}
tests:
  - {name: greets, replies: {greet: Hello}, expect: {outputs: {greeting: Hello}}}
"""
OURS: Final = {"sec-fetch-site": "same-origin"}


async def test_one_login_opens_the_chat_page_and_the_dashboard(visitor: Visitor, model: Model, system: System) -> None:
    await visitor.apply("pageguide", DOCUMENT)
    model.replies = {"Where is **it**?": Text("Turn *left*, then look at `the river`.")}
    async with httpx.AsyncClient(base_url=system.url, headers=OURS, timeout=60) as browser:
        assert (await browser.get("/chat")).headers["location"].startswith("/chat/login")
        assert (await browser.post("/chat/login", data={"key": system.key})).status_code == 303
        start = await browser.get("/chat")
        assert "Knows the way." in start.text
        for asset in re.findall(r'"(/chat/static/[^"]+)"', start.text):
            assert (await browser.get(asset)).status_code == 200, asset
        begun = await browser.post("/chat/w/pageguide", data={"text": "Where is **it**?"})
        chat = begun.headers["location"]
        # Ends when the answer is there.
        stream = await browser.get(f"{chat}/1/stream")
        page = await browser.get(chat)
        for text in (stream.text, page.text):
            assert "Turn <em>left</em>, then look at <code>the river</code>." in text
        cookies = dict(browser.cookies)
    async with httpx.AsyncClient(base_url=system.dashboard_url, cookies=cookies, timeout=60) as dashboard:
        runs = await dashboard.get("/runs", params={"workflow": "pageguide"})
        assert runs.status_code == 200
        assert "succeeded" in runs.text


async def test_a_workflow_that_was_written_on_the_page_is_applied_by_a_click(
    visitor: Visitor, model: Model, system: System
) -> None:
    await visitor.apply("pagewriter", WRITER)
    model.replies = {"Write a greeting": Text(f"Here:\n```yaml\n{WRITTEN}```")}
    async with httpx.AsyncClient(base_url=system.url, headers=OURS, timeout=60) as browser:
        await browser.post("/chat/login", data={"key": system.key})
        chat = (await browser.post("/chat/w/pagewriter", data={"text": "Write a greeting"})).headers["location"]
        await browser.get(f"{chat}/1/stream")
        panel = await browser.get(f"{chat}/1/draft")
        assert "Version 1" in panel.text
        assert "1 of 1 test passed" in panel.text
        assert (await visitor.http.get("/v1/workflows/pagewritten")).status_code == 404
        applied = await browser.post(f"{chat}/1/apply", data={"name": "pagewritten"}, headers={"hx-request": "true"})
        assert "revision 1" in applied.text
    assert (await visitor.get("/v1/workflows/pagewritten"))["document"] == WRITTEN
