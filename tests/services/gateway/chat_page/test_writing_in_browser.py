"""Somebody writes a workflow on the page: in a real browser, with the assistant's own document, an executor, a
registry, and a model on this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from flowyard.drafts.assistant import Facts, assistant_document
from flowyard.language.nodes import ModelSettings
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from services.gateway.chat_page.conftest import logged_in, version, with_registry
from services.gateway.chat_page.test_browser import answered, looked_at, picture, press
from services.gateway.conftest import Gateway, Starting
from support.axe import barriers
from support.chromium import BROWSER, Tab, open_tab
from support.drafts import HAIKU
from support.executors import plain_executor
from support.queued import apply
from support.wire.behaviour import Behaviour, Held, Text
from support.wire.openai import openai_server
from support.wire.server import Request

pytestmark = [
    pytest.mark.skipif(
        BROWSER is None, reason="NO BROWSER: install chromium, or nobody knows whether the page works in one"
    ),
    pytest.mark.timeout(240),
]

WRONG = HAIKU.replace("{topic}", "{topc}")
REFINED = """\
flow: {name: haiku, description: 'Writes a haiku, and does it again until somebody likes it.'}
state:
  fields:
    topic: {type: str, required: true}
    poem: str
    mark: {type: int, description: 'how good it is, from 1 to 10'}
nodes:
  - {id: write, name: Write the haiku, prompt: 'A German haiku about {topic}', outputs: [poem]}
  - {id: judge, name: Judge it, prompt: 'How good is {poem}?', outputs: [mark]}
edges:
  - {from: START, to: write}
  - {from: write, to: judge}
  - {from: judge, loop: {to: write, until: mark >= 8, max_iterations: 3}}
config:
  llm: {provider: openai, model: gpt-4o-mini}
  budget: {usd: 0.05, model_calls: 8}
tests:
  - name: is content with a good one
    inputs: {topic: rain}
    replies: {write: Tropfen, judge: {mark: 9}}
    expect: {outputs: {poem: Tropfen}}
"""
PANEL = "document.querySelector('#turn-NUMBER [data-draft]')"


@pytest.fixture
async def tab() -> AsyncIterator[Tab]:
    async with open_tab() as tab:
        await tab.size(1280, 900)
        yield tab


@pytest.fixture
async def gateway(starting: Starting, database_url: str, nats_url: str) -> AsyncIterator[Gateway]:
    async with with_registry(starting, database_url, nats_url) as gateway:
        yield gateway


async def shown(tab: Tab, number: int) -> str:
    """The text of the panel of a turn."""
    panel = PANEL.replace("NUMBER", str(number))
    await tab.until(panel, seconds=60)
    return str(await tab.run(f"{panel}.innerText"))


async def log_in(tab: Tab, url: str, key: str) -> None:
    await tab.open(f"{url}/chat")
    await tab.type("#key", key)
    await tab.click("main button")


async def write_the_first_version(tab: Tab, first: asyncio.Event, second: asyncio.Event) -> None:
    """`first`, `second`: set to let the model go on with its first and its second draft."""
    await tab.click('.models a[href="/chat/w/assistant"]')
    await tab.type("#text", "Write haiku")
    await tab.run("window.isOld = true")
    await press(tab, "Enter")
    await tab.until("!window.isOld && location.pathname.startsWith('/chat/c/')")
    await tab.until("document.querySelector('#turn-1 .prose').innerText.includes('A first try')", seconds=60)
    first.set()
    await tab.until("document.querySelector('[id^=work-]').innerText.includes('try 2')", seconds=60)
    await tab.until("document.querySelector('#turn-1 .prose').innerText.includes('This writes')", seconds=60)
    assert "A first try" not in await tab.run("document.querySelector('#turn-1').innerText")
    await picture(tab, "draft-live-1280-light")
    assert await barriers(tab) == []
    second.set()
    text = await shown(tab, 1)
    assert "Version 1" in text
    assert "1 of 1 test passed" in text
    await looked_at(tab, "draft")


async def refine_it(tab: Tab) -> None:
    await tab.type("#text", "In German, and judge it")
    await press(tab, "Enter")
    text = await shown(tab, 2)
    assert "Changes since version 1" in text
    assert "A run costs at most $0.0500" in text
    assert await tab.run("document.querySelectorAll('#turn-2 .diff .added').length") > 3
    await looked_at(tab, "refined")


async def apply_it(tab: Tab, database: Database) -> None:
    names = "SELECT count(*) FROM workflows WHERE name = 'haiku'"
    assert await database.value(names) == 0
    await tab.run("document.querySelector('#turn-2 .draft-deeds form button').click()")
    await tab.until("document.querySelector('#turn-2 .applied')")
    assert "Applied: haiku, revision 1." in await tab.run("document.querySelector('#turn-2 .applied').innerText")
    assert await database.value(names) == 1
    # Neither panel says any more what was true before.
    standing = "[...document.querySelectorAll('[data-standing]')].map(each => each.innerText).join('|')"
    assert await tab.run(standing) == "|"
    await looked_at(tab, "applied")


async def go_back(tab: Tab) -> None:
    """To the first version, which is folded on a page that is loaded."""
    await tab.run("window.isOld = true; location.reload()")
    await tab.until("!window.isOld && document.querySelector('#turn-1 .draft-fold summary')")
    await tab.run("document.querySelector('#turn-1 .draft-fold summary').click()")
    assert "The stack has revision 1 of haiku" in await shown(tab, 1)
    await tab.run("window.isOld = true; document.querySelector('#turn-1 a[href*=\"from=1\"]').click()")
    await tab.until("!window.isOld && document.querySelector('.going-on')")
    await looked_at(tab, "going-on")


async def test_a_workflow_is_written_refined_and_applied(
    tab: Tab, gateway: Gateway, database: Database, database_url: str, nats_url: str
) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    replies: list[Behaviour] = [
        Text("What should it be about?"),
        Held(Text(version(WRONG, "A first try.")), first, after=12),
        Held(Text(version(HAIKU, "This writes a haiku about a topic.")), second, after=12),
        Text(version(REFINED, "Now it is judged, too.")),
    ]

    def reply(request: Request) -> Behaviour:
        del request
        return replies.pop(0)

    _, key = await Keys(database).create("anna", frozenset({"run", "write"}))
    url = str(gateway.client.base_url).rstrip("/")
    await log_in(tab, url, key)
    assert "Write a workflow by talking" in await tab.run("document.body.innerText")
    await looked_at(tab, "no-assistant")
    async with openai_server(reply) as model, logged_in(gateway, key) as person:
        document = assistant_document(ModelSettings("openai", "gpt-4o-mini"), Facts(), usd="1")
        here = f'"model": "gpt-4o-mini", "api_base": "{model.url}"'
        await apply(database, document.replace('"model": "gpt-4o-mini"', here))
        async with plain_executor(database_url, nats_url):
            # Executors that start later don't know who follows the run.
            await answered(person, await person.begin("Something", workflow="assistant"))
            await tab.open(f"{url}/chat")
            await write_the_first_version(tab, first, second)
            await refine_it(tab)
    await apply_it(tab, database)
    await go_back(tab)
    assert tab.complaints == []
    assert {address.split("/")[2] for address in tab.requested if "://" in address} == {url.split("/")[2]}
