"""The page as people have it: in a real browser, with a real executor and a model on this machine."""

from __future__ import annotations

import asyncio
import os
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowyard.runs.events import Failure
from flowyard.storage.database import Database
from flowyard.web.pages.entrance import COOKIE
from services.gateway.chat_page.conftest import Person, logged_in, replied
from services.gateway.conftest import Gateway
from support.axe import barriers
from support.chromium import BROWSER, Tab, open_tab
from support.executors import plain_executor
from support.hands import Hands
from support.queued import apply
from support.waiting import eventually
from support.wire.behaviour import Held, Text
from support.wire.openai import openai_server
from support.wire.server import Request

pytestmark = [
    pytest.mark.skipif(
        BROWSER is None, reason="NO BROWSER: install chromium, or nobody knows whether the page works in one"
    ),
    pytest.mark.timeout(180),
]

DOCUMENT = """
flow: {name: helper, description: Answers whatever you ask.}
state:
  fields:
    messages: {type: 'list[message]', required: true}
    reply: str
nodes:
  - {id: answer, name: Think and answer, history: messages, outputs: [reply]}
result: [reply]
config: {llm: {provider: openai, model: gpt-4o-mini, api_base: API_BASE}}
triggers:
  talk: {chat: {}}
"""
ANSWER = '''\
Your order **is on its way**. It left on *Monday*.

| Step | When | Cost |
| --- | --- | --: |
| Packed | Monday, in the morning | 1.20 |
| On its way | Monday, in the evening | 3.40 |

1. Look at [the tracking page](https://example.com/track).
2. Wait for the message.

```python
def arrives(days: int) -> str:
    """When it will be there."""
    return f"in {days} days"  # at the latest, and with a comment that is long enough to be wider than a phone
```

> What has left, arrives.

![a map](https://example.com/map.png)'''
WIDE = 1280
LIVE = "document.querySelector('[id^=last-]')"
FINAL = "document.querySelectorAll('.prose[data-final]').length"


@pytest.fixture
async def tab() -> AsyncIterator[Tab]:
    async with open_tab() as tab:
        await tab.size(1280, 900)
        yield tab


async def log_in(tab: Tab, gateway: Gateway, path: str = "/chat") -> None:
    url = str(gateway.client.base_url).rstrip("/")
    await tab.open(url + path)
    assert (await tab.run("location.pathname")) == "/chat/login"
    await tab.type("#key", gateway.keys["run"])
    await tab.click("main button")
    assert (await tab.run("location.pathname + location.search")) == path


async def press(tab: Tab, key: str, *, shift: bool = False) -> None:
    codes = {"Enter": 13, "Escape": 27}
    text = {"text": "\r"} if key == "Enter" else {}
    about = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key], "modifiers": 8 if shift else 0}
    await tab.send("Input.dispatchKeyEvent", type="keyDown", **about, **text)
    await tab.send("Input.dispatchKeyEvent", type="keyUp", **about)


async def picture(tab: Tab, name: str) -> None:
    """Saved where SCREENSHOTS says, for people to look at."""
    if folder := os.environ.get("SCREENSHOTS"):
        data = (await tab.send("Page.captureScreenshot", format="png"))["data"]
        await asyncio.to_thread(Path(folder, f"{name}.png").write_bytes, b64decode(data))


async def answered(person: Person, chat: str) -> None:
    async def has_answer() -> bool:
        return "data-final" in await person.page(chat)

    await eventually(has_answer, 60)


_STICKS_OUT = """
document.documentElement.scrollWidth <= WIDTH ? [] : [...document.querySelectorAll("body *")]
    .filter(each => each.getBoundingClientRect().right > WIDTH + 1)
    .map(each => `${each.tagName} ${each.id} ${each.className}`)
"""


async def looked_at(tab: Tab, name: str) -> None:
    """A state of the page, wide and narrow, light and dark: nothing sticks out, and nobody is kept out."""
    for width in (WIDE, 390):
        await tab.size(width, 844)
        assert await tab.run(_STICKS_OUT.replace("WIDTH", str(width))) == [], (name, width)
        for mode in ("light", "dark"):
            await tab.dark(on=mode == "dark")
            await picture(tab, f"{name}-{width}-{mode}")
            # In the dark nothing but colours is different, and they don't depend on the width.
            if mode == "light":
                assert await barriers(tab) == [], (name, width, mode)
            elif width == WIDE:
                assert await barriers(tab, only="color-contrast") == [], (name, width, mode)
    await tab.size(1280, 900)
    await tab.dark(on=False)


async def test_a_conversation_from_the_login_to_its_end(
    tab: Tab, gateway: Gateway, person: Person, database: Database, database_url: str, nats_url: str
) -> None:
    go_on = asyncio.Event()

    def replies(request: Request) -> Held | Text:
        last = request.body["messages"][-1]["content"]
        return Held(Text(ANSWER), go_on, after=4) if last == "Where is my order?" else Text("Nothing more.")

    async with openai_server(replies) as model:
        await apply(database, DOCUMENT.replace("API_BASE", model.url))
        async with plain_executor(database_url, nats_url):
            # Executors that start later don't know who follows the run.
            await answered(person, await person.begin("Are you there?", workflow="helper"))
            await log_in(tab, gateway)
            await tab.click('a[href="/chat/w/helper"]')
            assert await tab.run("document.activeElement.id") == "text"
            await tab.type("#text", "Where is my order?")
            await tab.run("window.isOld = true")
            await press(tab, "Enter")
            await tab.until("!window.isOld && location.pathname.startsWith('/chat/c/')")
            await tab.until(f"{LIVE} && {LIVE}.innerText.includes('Your order')", seconds=60)
            await picture(tab, "live-1280-light")
            assert await barriers(tab) == []
            # Loaded again in the middle of it: the same run, and the text so far.
            await tab.run("window.isOld = true; location.reload()")
            await tab.until(f"!window.isOld && {LIVE} && {LIVE}.innerText.includes('Your order')")
            await tab.run("window.isSame = true")
            go_on.set()
            await tab.until(f"{FINAL} == 1")
            await tab.until("document.getElementById('announce').textContent.includes('on its way')")
            # What comes next needs no other page.
            await tab.type("#text", "And the rest?")
            await press(tab, "Enter")
            await tab.until(f"{FINAL} == 2")
    assert await tab.run("window.isSame")
    assert await tab.run("document.activeElement.id") == "text"
    assert await tab.run("document.getElementById('text').value") == ""
    assert await tab.run("document.querySelectorAll('.prose img').length") == 0
    assert await tab.run("document.querySelectorAll('.prose .h-k').length") > 0
    await tab.run("document.querySelector('.behind summary').click()")
    await tab.until("document.querySelector('.behind-steps td')")
    assert "gpt-4o-mini" in await tab.run("document.querySelector('.behind-steps').innerText")
    await looked_at(tab, "talk")
    assert tab.complaints == []
    own = str(gateway.client.base_url).split("/")[2]
    assert {address.split("/")[2] for address in tab.requested if "://" in address} == {own}


async def test_an_answer_is_stopped_by_escape_and_keys_write_lines(
    tab: Tab, gateway: Gateway, person: Person, hands: Hands
) -> None:
    await log_in(tab, gateway, "/chat/w/support")
    await tab.type("#text", "one")
    await press(tab, "Enter", shift=True)
    await tab.type("#text", "two")
    assert await tab.run("document.getElementById('text').value") == "one\ntwo"
    await tab.run("window.isOld = true")
    await press(tab, "Enter")
    await tab.until("!window.isOld && document.querySelector('#controls .stop')")
    claim = await hands.take()
    await hands.append(claim, "step.started", node="answer", visit=1)
    await tab.until("document.querySelector('[id^=work-]').innerText == 'answer'")
    hands.say(claim, "answer", "Half of an answer")
    await tab.until(f"{LIVE}.innerText.includes('Half of')")
    # What one writes meanwhile waits.
    await tab.type("#text", "later")
    await press(tab, "Enter")
    await press(tab, "Escape")
    await hands.give_up(claim)
    await tab.until("document.querySelector('.turn .note')")
    assert "Half of an answer" in await tab.run("document.querySelector('.turn .prose').innerText")
    assert await tab.run("document.getElementById('text').value") == "later"
    assert await tab.run("document.querySelectorAll('.turn').length") == 1
    assert await tab.run("document.activeElement.id") == "text"
    # The next Enter sends it: htmx doesn't take the form's last button, that for stopping, for the one that sends.
    await press(tab, "Enter")
    await tab.until("document.getElementById('question-2')")
    assert await tab.run("document.getElementById('question-2').innerText") == "later"
    assert tab.complaints == []


async def test_two_tabs_and_a_message_that_is_edited(tab: Tab, gateway: Gateway, person: Person, hands: Hands) -> None:
    await log_in(tab, gateway)
    chat = await person.begin("first")
    await replied(hands, "A")
    await tab.open(str(gateway.client.base_url).rstrip("/") + chat)
    await person.say(chat, "from the other tab", after="1")
    claim = await hands.take()
    await tab.type("#text", "from this tab")
    await press(tab, "Enter")
    await tab.until("document.querySelector('#problem p')")
    await tab.until("document.querySelector('#controls .stop')")
    assert await tab.run("document.querySelectorAll('.turn').length") == 2
    assert await tab.run("document.getElementById('text').value") == "from this tab"
    await looked_at(tab, "busy")
    await hands.succeed(claim, {"reply": "B"})
    await tab.until(f"{FINAL} == 2")
    await tab.run("document.querySelector('#turn-1 .edit summary').click()")
    await tab.until("document.activeElement.id == 'edit-1'")
    await looked_at(tab, "editing")
    await tab.type("#edit-1", " and more")
    await press(tab, "Enter")
    await tab.until("document.querySelector('#turn-3') && !document.querySelector('#turn-1')")
    assert await tab.run("document.querySelector('#pager').innerText") == "Show 2 replaced messages"
    assert await tab.run("document.querySelector('h1').innerText") == "first and more"
    assert await tab.run("document.querySelector('[aria-current=page] .chat-title').innerText") == "first and more"
    await looked_at(tab, "edited")
    await replied(hands, "C")
    await tab.until(f"{FINAL} == 1")


async def test_answers_that_are_none_and_what_was_replaced(
    tab: Tab, gateway: Gateway, person: Person, hands: Hands
) -> None:
    url = str(gateway.client.base_url).rstrip("/")
    chat = await person.begin("A first message")
    await hands.fail(await hands.take(), Failure("timeout", "the model didn't answer within 60 s", "answer"))
    await person.say(chat, "A second one")
    await hands.give_up(await hands.take())
    await person.say(f"{chat}/2/edit", "A better one")
    await replied(hands, "Here you are.")
    await log_in(tab, gateway)
    await tab.open(f"{url}{chat}?all=true")
    await looked_at(tab, "replaced")
    assert await tab.run("document.querySelectorAll('.left-out').length") == 1
    async with logged_in(gateway, gateway.keys["read"]) as reader:
        await tab.send("Network.setCookie", url=url, name=COOKIE, value=reader.client.cookies[COOKIE])
        await tab.open(f"{url}/chat/w/support")
        await looked_at(tab, "reader")
        assert await tab.run("document.querySelector('.obstacle').innerText.includes('only read')")


async def test_what_one_has_written_outlasts_the_end_of_the_session(
    tab: Tab, gateway: Gateway, person: Person, hands: Hands
) -> None:
    await log_in(tab, gateway)
    chat = await person.begin("first")
    claim = await hands.take()
    await tab.open(str(gateway.client.base_url).rstrip("/") + chat)
    await tab.type("#text", "written with care")
    await tab.run("fetch('/chat/logout', {method: 'POST', redirect: 'manual'}).then(() => 1)")
    # The answer isn't shown to somebody who is logged out.
    await tab.until("document.querySelector('#problem p')", seconds=60)
    assert "logged out" in await tab.run("document.getElementById('problem').innerText")
    await tab.run("document.getElementById('problem').replaceChildren()")
    await hands.succeed(claim, {"reply": "A"})
    await tab.run("document.querySelector('#composer').requestSubmit()")
    await tab.until("document.querySelector('#problem p')")
    assert await tab.run("location.pathname") == chat
    assert await tab.run("document.getElementById('text').value") == "written with care"


async def test_pages_without_a_conversation_and_with_errors(
    tab: Tab, gateway: Gateway, person: Person, hands: Hands
) -> None:
    url = str(gateway.client.base_url).rstrip("/")
    await tab.open(f"{url}/chat/login")
    await looked_at(tab, "login")
    await log_in(tab, gateway)
    for number in range(3):
        await person.begin(f"Conversation number {number} with a long title that is cut somewhere in the middle of it")
        await replied(hands, "A")
    for name, path in {"start": "/chat", "new": "/chat/w/support", "missing": "/chat/nowhere"}.items():
        await tab.open(url + path)
        await looked_at(tab, name)
    await tab.open(f"{url}/chat")
    await tab.type("#q", "number 2")
    await tab.until("document.querySelectorAll('#chats li').length == 1")
    await tab.click("#chats a")
    await tab.run("document.querySelector('.menu summary').click()")
    await looked_at(tab, "menu")
    await press(tab, "Escape")
    assert not await tab.run("document.querySelector('.menu').open")
