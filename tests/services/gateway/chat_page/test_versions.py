"""A conversation that writes a workflow: what is shown of each version, and what is done with it by a click."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable

import httpx
import pytest

from flowyard.access import Scope
from flowyard.runs.events import Failure
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from services.gateway.chat_page.conftest import (
    GERMAN,
    HTMX,
    WRITER,
    Person,
    at_work,
    elements_of,
    logged_in,
    version,
    with_registry,
    without_tags,
)
from services.gateway.conftest import Gateway, Starting
from support.drafts import HAIKU
from support.hands import Hands
from support.queued import apply


@pytest.fixture
async def gateway(starting: Starting, database: Database, database_url: str, nats_url: str) -> AsyncIterator[Gateway]:
    await apply(database, WRITER)
    async with with_registry(starting, database_url, nats_url) as gateway:
        yield gateway


async def key_of(database: Database, *scopes: Scope, workflows: Iterable[str] | None = None) -> str:
    only = frozenset(workflows) if workflows is not None else None
    return (await Keys(database).create("page", frozenset(scopes), workflows=only))[1]


@pytest.fixture
async def person(gateway: Gateway, database: Database) -> AsyncIterator[Person]:
    async with logged_in(gateway, await key_of(database, "run", "write")) as person:
        yield person


async def begun(person: Person, hands: Hands, reply: str) -> str:
    chat = await person.begin("Write haiku", workflow="writer")
    await hands.succeed(await hands.take(), {"reply": reply})
    return chat


async def said(person: Person, hands: Hands, chat: str, reply: str, text: str = "In German") -> None:
    await person.say(chat, text)
    await hands.succeed(await hands.take(), {"reply": reply})


async def panel(person: Person, chat: str, number: int = 1) -> str:
    return without_tags(await person.page(f"{chat}/{number}/draft"))


async def press_apply(person: Person, chat: str, number: int = 1, name: str = "haiku") -> str:
    """As htmx sends it. Returns what is shown then."""
    answer = await person.client.post(f"{chat}/{number}/apply", data={"name": name}, headers=HTMX)
    assert answer.status_code == 200, answer.text
    return without_tags(answer.text)


async def names(database: Database) -> list[str]:
    return [row["name"] for row in await database.rows("SELECT name FROM workflows ORDER BY name")]


async def test_a_version_is_shown_with_all_that_one_needs_to_know(person: Person, hands: Hands) -> None:
    chat = await begun(person, hands, version(HAIKU))
    assert f'hx-get="{chat}/1/draft" hx-trigger="load"' in await person.page(chat)
    html = await person.page(f"{chat}/1/draft")
    text = without_tags(html)
    assert "Version 1 valid 1 of 1 test passed haiku" in text
    assert "A run costs at most $0, with at most 4 model calls" in text
    assert "writes about rain passed" in text
    assert "Nothing of it is applied or run before you apply it." in text
    assert '<svg role="img"' in html
    assert 'aria-label="write"' in html
    assert "Changes" not in text


async def test_a_version_is_shown_without_an_executor_and_may_be_applied_untested(
    starting: Starting, database: Database, database_url: str, nats_url: str, hands: Hands
) -> None:
    await apply(database, WRITER)
    key = await key_of(database, "run", "write")
    async with (
        with_registry(starting, database_url, nats_url, runs_tests=False) as gateway,
        logged_in(gateway, key) as person,
    ):
        text = await panel(person, await begun(person, hands, version(HAIKU)))
    assert "valid tests not run haiku" in text
    assert "the tests weren't run: no executor answered" in text.replace("&#39;", "'")
    assert "writes about rain not run" in text
    assert "Apply, though its tests weren't run" in text.replace("&#39;", "'")


async def test_more_turns_refine_it_and_show_what_has_changed(person: Person, hands: Hands) -> None:
    chat = await begun(person, hands, version(HAIKU))
    await said(person, hands, chat, "Which language?", "Another language")
    await said(person, hands, chat, version(GERMAN))
    page = await person.page(chat)
    # The earlier one is checked when somebody unfolds it, the question not at all.
    assert f'hx-get="{chat}/1/draft" hx-trigger="toggle once"' in page
    assert f'hx-get="{chat}/3/draft" hx-trigger="load"' in page
    assert f"{chat}/2/draft" not in page
    assert (await person.client.get(f"{chat}/2/draft")).status_code == 404
    html = await person.page(f"{chat}/3/draft")
    assert "Changes since version 1" in html
    assert re.search(r'<span class="gone">-  - \{id: write, prompt: &#39;A haiku', html)
    assert re.search(r'<span class="added">\+  - \{id: write, prompt: &#39;A German haiku', html)
    assert "Version 2" in without_tags(html)


async def test_nothing_is_applied_before_the_click_and_then_exactly_what_was_written(
    person: Person, hands: Hands, database: Database
) -> None:
    chat = await begun(person, hands, version(HAIKU))
    await said(person, hands, chat, version(GERMAN))
    await panel(person, chat, 2)
    assert await names(database) == ["writer"]
    assert "Applied: haiku , revision 1." in await press_apply(person, chat, 2)
    assert await database.value("SELECT document FROM definitions ORDER BY id DESC LIMIT 1") == GERMAN
    assert "This is revision 1 of haiku, which the stack has now." in await panel(person, chat, 2)
    assert "The stack has revision 1 of haiku" in await panel(person, chat, 1)
    assert "Nothing has changed: haiku , revision 1." in await press_apply(person, chat, 2)
    assert "Applied: haiku , revision 2." in await press_apply(person, chat, 1)


async def test_a_browser_without_scripts_shows_and_applies_a_version_on_pages_of_their_own(
    person: Person, hands: Hands, database: Database
) -> None:
    chat = await begun(person, hands, version(HAIKU))
    assert f'<a href="{chat}/1/draft">' in await person.page(chat)
    page = await person.page(f"{chat}/1/draft")
    assert page.startswith("<!doctype html>")
    assert f'<form method="post" action="{chat}/1/apply"' in page
    answer = await person.client.post(f"{chat}/1/apply", data={"name": "haiku"})
    assert "Applied: haiku , revision 1." in without_tags(answer.text)
    assert f'<a href="{chat}">' in answer.text
    part = await person.client.get(f"{chat}/1/draft", headers=HTMX)
    assert "<!doctype" not in part.text


async def test_it_is_applied_in_the_name_of_the_key_that_has_logged_in(
    gateway: Gateway, hands: Hands, database: Database
) -> None:
    info, key = await Keys(database).create("anna", frozenset({"run", "write"}))
    async with logged_in(gateway, key) as person:
        await press_apply(person, await begun(person, hands, version(HAIKU)))
    row = await database.row("SELECT key_id, who, address FROM audit_entries WHERE workflow = 'haiku'")
    assert row is not None
    assert tuple(row) == (info.id, "anna", "127.0.0.1")


async def test_a_download_is_the_document_as_it_was_written(person: Person, hands: Hands) -> None:
    document = HAIKU + "# Grüße\r\n"
    chat = await begun(person, hands, f"Here:\n~~~yml\n{document}~~~\nDone.")
    answer = await person.client.get(f"{chat}/1/document.yaml")
    assert answer.headers["content-disposition"] == 'attachment; filename="haiku.yaml"'
    assert answer.content == document.replace("\r\n", "\n").encode()


@pytest.mark.parametrize(
    ("scopes", "words"),
    [(("run",), "Your key may not apply workflows: that needs the scope write."), (("run", "read"), "scope write")],
)
async def test_without_the_scope_there_is_no_button_and_no_way(
    gateway: Gateway, hands: Hands, database: Database, scopes: tuple[Scope, ...], words: str
) -> None:
    async with logged_in(gateway, await key_of(database, *scopes)) as person:
        chat = await begun(person, hands, version(HAIKU))
        html = await person.page(f"{chat}/1/draft")
        assert words in without_tags(html)
        assert "/apply" not in html
        refused = await person.client.post(f"{chat}/1/apply", data={"name": "haiku"}, headers=HTMX)
        assert refused.status_code == 403
    assert await names(database) == ["writer"]


async def test_a_key_for_some_workflows_applies_no_others(gateway: Gateway, hands: Hands, database: Database) -> None:
    key = await key_of(database, "run", "write", workflows=["writer", "poem"])
    async with logged_in(gateway, key) as person:
        chat = await begun(person, hands, version(HAIKU))
        assert "Your key is for other workflows, and may not apply this one." in await panel(person, chat)
        assert "It wasn't applied" in await press_apply(person, chat)
        # Under the name of one that it may apply, it is another document than it says.
        assert "describes the workflow" in await press_apply(person, chat, name="poem")
        await said(person, hands, chat, version(HAIKU.replace("name: haiku", "name: poem")))
        assert "Applied: poem" in await press_apply(person, chat, 2, "poem")
    assert await names(database) == ["poem", "writer"]


async def test_only_our_own_pages_may_apply_or_go_on(person: Person, hands: Hands, database: Database) -> None:
    chat = await begun(person, hands, version(HAIKU))
    cookies = dict(person.client.cookies)
    foreign_headers: list[dict[str, str]] = [{"sec-fetch-site": "cross-site"}, {"origin": "https://evil.test"}, {}]
    for headers in foreign_headers:
        async with httpx.AsyncClient(base_url=person.client.base_url, cookies=cookies, headers=headers) as foreign:
            for path in ("apply", "go-on"):
                answer = await foreign.post(f"{chat}/1/{path}", data={"name": "haiku", "text": "x"})
                assert answer.status_code == 403
    # Nor by a link.
    assert (await person.client.get(f"{chat}/1/apply")).status_code == 405
    assert await names(database) == ["writer"]


async def test_versions_of_others_are_none(person: Person, gateway: Gateway, hands: Hands, database: Database) -> None:
    chat = await begun(person, hands, version(HAIKU))
    async with logged_in(gateway, await key_of(database, "admin")) as other:
        for path in ("draft", "document.yaml"):
            assert (await other.client.get(f"{chat}/1/{path}")).status_code == 404
        for path in ("apply", "go-on"):
            answer = await other.client.post(f"{chat}/1/{path}", data={"name": "haiku", "text": "x"})
            assert answer.status_code == 404
    async with httpx.AsyncClient(base_url=gateway.client.base_url) as stranger:
        assert (await stranger.get(f"{chat}/1/draft")).status_code == 303


async def test_drafts_are_shown_while_they_are_written_and_begin_again_when_they_are_corrected(
    person: Person, hands: Hands
) -> None:
    chat = await person.begin("Write haiku", workflow="writer")
    claim = await hands.take()
    async with person.watch(chat, 1) as watched:
        await at_work(hands, watched, claim)
        hands.say(claim, "answer", "A first draft", call=1)
        await watched.until("A first draft")
        hands.say(claim, "answer", "A second draft", call=2)
        update = await watched.until("A second draft")
        assert 'hx-swap-oob="innerHTML"></div>' in update
        await watched.until("answer: the version is being corrected (try 2)")
    async with person.watch(chat, 1) as watched:
        # Who comes only now knows it, too.
        await watched.until(">answer<")
        hands.say(claim, "answer", "A second draft", call=2)
        await watched.until("answer: the version is being corrected (try 2)")
        await hands.succeed(claim, {"reply": version(HAIKU)})
        rest = await watched.rest()
    assert f'hx-get="{chat}/1/draft" hx-trigger="load"' in rest


async def test_a_version_whose_tests_fail_says_so_before_it_is_applied(person: Person, hands: Hands) -> None:
    chat = await begun(person, hands, version(HAIKU.replace("poem: Drops", "poem: Snow")))
    text = await panel(person, chat)
    assert "0 of 1 test passed" in text
    assert "expected &#34;Snow&#34;, got &#34;Drops&#34;" in text
    assert "Apply, though tests fail" in text


async def test_an_invalid_version_shows_its_problems_and_cant_be_applied(
    person: Person, hands: Hands, database: Database
) -> None:
    chat = await begun(person, hands, version(HAIKU.replace("{topic}", "{topc}")))
    html = await person.page(f"{chat}/1/draft")
    text = without_tags(html)
    assert "not valid" in text
    assert "7:41 no field &#39;topc&#39; (did you mean &#39;topic&#39;?)" in text
    assert "/apply" not in html
    assert "It wasn't applied" in await press_apply(person, chat)
    assert await names(database) == ["writer"]


async def test_a_reply_that_broke_off_is_no_version(person: Person, hands: Hands) -> None:
    chat = await person.begin("Write haiku", workflow="writer")
    failure = Failure("reply_cut_off", "cut", reply=version(HAIKU)[:120])
    await hands.fail(await hands.take(), failure)
    assert f"{chat}/1/draft" in await person.page(chat)
    text = await panel(person, chat)
    assert "A version that broke off not valid" in text
    assert "the yaml block has no end" in text
    await said(person, hands, chat, version(HAIKU), "Again")
    assert "Version 1 valid" in await panel(person, chat, 2)


async def test_the_last_try_of_a_run_that_gave_up_is_shown_with_its_problems(person: Person, hands: Hands) -> None:
    chat = await person.begin("Write haiku", workflow="writer")
    claim = await hands.take()
    wrong = version(HAIKU.replace("{topic}", "{topc}"))
    async with person.watch(chat, 1) as watched:
        await hands.fail(claim, Failure("invalid_output", "no field 'topc'", "answer", reply=wrong))
        assert f'hx-get="{chat}/1/draft" hx-trigger="load"' in await watched.rest()
    assert "The run has failed: no field &#39;topc&#39;" in await person.page(chat)
    html = await person.page(f"{chat}/1/draft")
    assert "The last try, which was wrong, too not valid" in without_tags(html)
    assert "/apply" not in html
    await said(person, hands, chat, version(HAIKU), "Again")
    assert "Version 1 valid" in await panel(person, chat, 2)


async def test_after_an_apply_no_panel_says_what_was_true_before(person: Person, hands: Hands) -> None:
    chat = await begun(person, hands, version(HAIKU))
    assert re.search(r"<p [^>]*data-standing>Nothing of it is applied", await person.page(f"{chat}/1/draft"))
    answer = await person.client.post(f"{chat}/1/apply", data={"name": "haiku"}, headers=HTMX)
    assert '<div hx-swap-oob="innerHTML:[data-standing]"></div>' in answer.text
    assert '<div hx-swap-oob="innerHTML:.draft-applied"></div>' in answer.text


async def test_the_conversation_goes_on_from_an_earlier_version(person: Person, hands: Hands) -> None:
    chat = await begun(person, hands, version(HAIKU))
    await said(person, hands, chat, version(GERMAN))
    assert f'href="{chat}?from=1#text"' in await person.page(f"{chat}/1/draft")
    assert "?from=" not in await person.page(f"{chat}/2/draft")
    page = await person.page(f"{chat}?from=1")
    assert "The next message goes on from version 1." in page
    assert f'action="{chat}/1/go-on"' in page
    answer = await person.client.post(f"{chat}/1/go-on", data={"text": "In French"})
    assert (answer.status_code, answer.headers["location"]) == (303, chat)
    claim = await hands.take()
    run = await person.page(f"{chat}/3/steps")
    assert str(claim.run_id) in run
    french = HAIKU.replace("A haiku", "A French haiku")
    await hands.succeed(claim, {"reply": version(french)})
    page = await person.page(chat)
    assert "In German" not in page
    text = await panel(person, chat, 3)
    assert "Version 3" in text
    assert "Changes since version 1" in text
    # The one that was left out is kept, and one can go on from it, too.
    assert "Version 2" in await panel(person, chat, 2)
    await person.client.post(f"{chat}/2/go-on", data={"text": "Longer"})
    assert "A German haiku" in await person.page(chat)


async def test_a_message_that_cant_be_sent_is_kept(person: Person, hands: Hands) -> None:
    chat = await begun(person, hands, version(HAIKU))
    await person.say(chat, "still at work")
    answer = await person.client.post(f"{chat}/1/go-on", data={"text": "my words"})
    assert answer.status_code == 409
    assert "my words" in answer.text
    assert "goes on from version 1" in answer.text


async def test_without_a_registry_the_page_says_so_and_lets_one_try_again(
    starting: Starting, hands: Hands, database: Database
) -> None:
    await apply(database, WRITER)
    key = await key_of(database, "run", "write")
    async with starting(registry_url="http://127.0.0.1:9") as gateway, logged_in(gateway, key) as person:
        chat = await begun(person, hands, version(HAIKU))
        html = await person.page(f"{chat}/1/draft")
        assert "can't be checked at the moment" in html
        assert f'hx-get="{chat}/1/draft"' in html
        assert "It wasn't applied" in await press_apply(person, chat)


EVIL = """\
flow: {name: 'NAME', description: "<script>x</script>"}
state: {fields: {topic: {type: str, default: rain}, poem: str, "a<b>": str}}
nodes:
  - {id: write, name: '<svg onload=x><a href="javascript:x">', prompt: 'On {topic}', outputs: [poem]}
  - {id: again, prompt: 'On {topic}', outputs: [poem]}
edges:
  - {from: START, to: write}
  - {from: write, routes: [{if: "poem == '</text><script>x</script>'", to: again}, {default: END}]}
  - {from: again, to: END}
config: {llm: {provider: scripted}}
tests:
  - {name: '<img src=x onerror=x>', replies: {write: Drops}, expect: {outputs: {poem: '<style>*{x:y}</style>'}}}
"""


@pytest.mark.parametrize(
    "document",
    [
        EVIL.replace(', "a<b>": str', "").replace("NAME", "evil"),
        EVIL.replace(', "a<b>": str', "").replace("NAME", "../../x<script>"),
        EVIL,
        "flow: {name: <script>x</script>}\nnodes: [{id: '\"><img src=x onerror=x>'}]\n'<b hx-get=/x>': 1\n",
    ],
)
async def test_whatever_a_document_says_is_text(person: Person, hands: Hands, document: str) -> None:
    chat = await begun(person, hands, version("flow: {name: <svg onload=x>}\n<script>x</script>\n"))
    await said(person, hands, chat, version(document))
    pages = [await person.page(f"{chat}/2/draft"), await person.page(chat)]
    for name in ("evil", "..", "<script>x</script>"):
        answer = await person.client.post(f"{chat}/2/apply", data={"name": name}, headers=HTMX)
        pages.append(answer.text)
    for page in pages:
        for tag, attributes in elements_of(page):
            assert tag not in ("style", "iframe", "img", "b-", "foreignobject") or attributes.get("src", "").startswith(
                "/chat/static/"
            ), page
            assert tag != "script" or attributes["src"].startswith("/chat/static/"), page
            assert not any(name.startswith(("on", "style", "srcdoc", "xlink")) for name in attributes), attributes
            assert attributes.get("href", "/").startswith(("/", "#", "http")), attributes
            assert attributes.get("hx-get", "/chat").startswith("/chat"), attributes
    download = await person.client.get(f"{chat}/2/document.yaml")
    assert re.fullmatch(r'attachment; filename="[A-Za-z0-9_-]+\.yaml"', download.headers["content-disposition"])
