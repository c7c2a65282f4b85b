"""`web.fetch`: what is read of pages, in which encodings, and what hostile pages can't do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowyard.outbound.allowlist import PUBLIC_ONLY
from flowyard.tools.tool import ToolResult
from support.outside import outside, redirect
from support.reaching import answering, called

PAGE = """<!doctype html><html><head><title> How tides
 work</title><script>document.title = "hacked"</script><style>p {}</style></head><body>
<header>My blog</header><nav><ul><li><a href="/">Home</a></li></ul></nav>
<main><h1>How tides work</h1><p>The moon pulls the water of the seas, and the earth turns below it. Für <b>uns</b>
<a href="https://example.com/moon">the moon</a> is near.</p><ul><li>A moon</li><li>Seas</li></ul>
<script>document.write("<p>written by a script</p>")</script><noscript>no script</noscript></main>
<aside>Related: waves</aside><footer>Copyright</footer></body></html>"""
HTML = "text/html; charset=utf-8"


async def fetched(body: bytes | str, kind: str = HTML, **given: Any) -> ToolResult:
    async with outside(answering(body, kind)) as server:
        return await called("web.fetch", {"url": f"http://127.0.0.1:{server.port}/page", **given})


async def test_the_text_of_a_page_is_read_without_what_is_around_it_and_no_script_is_executed() -> None:
    result = await fetched(PAGE)
    assert result.value["title"] == "How tides work"
    assert result.value["text"].split("\n\n") == [
        "How tides work",
        "The moon pulls the water of the seas, and the earth turns below it. Für uns the moon is near.",
        "  • A moon\n  • Seas",
    ]
    assert result.value["url"].endswith("/page")
    assert not result.value["is_cut"]


async def test_links_are_shown_on_demand() -> None:
    assert "the moon (https://example.com/moon) is near" in (await fetched(PAGE, links=True)).value["text"]


async def test_a_page_that_is_made_otherwise_is_read_as_a_whole() -> None:
    result = await fetched("<html><body><nav><p>Only this is here.</p></nav></body></html>")
    assert result.value["text"] == "Only this is here."


@pytest.mark.parametrize(
    ("kind", "head", "encoding"),
    [
        (HTML, "", "utf-8"),
        ("text/html; charset=iso-8859-1", "", "latin-1"),
        ("text/html", '<meta charset="windows-1252">', "cp1252"),
        ("text/html", '<meta http-equiv="Content-Type" content="text/html; charset=utf-8">', "utf-8"),
        ("text/html", "", "utf-8-sig"),
        ("text/html; charset=utf-16le", "", "utf-16-le"),
        ("text/html; charset=punycode", '<meta charset="utf-8">', "utf-8"),
        ("text/html; charset=shift_jis", "", "shift_jis"),
    ],
)
async def test_encodings_are_understood(kind: str, head: str, encoding: str) -> None:
    word = "海" if encoding == "shift_jis" else "für"
    page = f"<html><head>{head}<title>{word}</title></head><body><p>{word} alle</p></body></html>"
    result = await fetched(page.encode(encoding), kind)
    assert (result.value["title"], result.value["text"]) == (word, f"{word} alle")


async def test_a_text_is_read_as_it_is_and_a_pdf_is_refused_clearly() -> None:
    assert (await fetched("# Rain\n\nfalls", "text/markdown")).value["text"] == "# Rain\n\nfalls"
    for body, kind in ((b"%PDF-1.7\n", "application/pdf"), (b"%PDF-1.7\n", "text/html"), (b"x", "application/pdf")):
        assert "a PDF" in str((await fetched(body, kind)).error)
    assert (await fetched(b"\x89PNG\r\n\x1a\n\0", "image/png")).error == "the answer is no text, but image/png"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "page",
    [
        "<p " + " ".join(f"a{n}=1" for n in range(200_000)) + ">x",
        "<div>" * 500_000 + "x",
        "<table>" * 100_000 + "x",
        "<!--" * 400_000,
        "&amp;" * 400_000,
        "<" * 2_000_000,
        "\0" * 100_000,
        "<svg><foreignObject>" * 50_000,
        "",
    ],
    ids=["attributes", "deep", "tables", "comments", "entities", "brackets", "nulls", "foreign", "empty"],
)
async def test_hostile_pages_end_and_never_hold_up_the_loop(page: str) -> None:
    ticks, on = 0, True

    async def tick() -> None:
        nonlocal ticks
        while on:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    result = await fetched(page)
    on = False
    await ticking
    assert result.outcome in ("ok", "failed")
    assert "\0" not in str(result.value)
    assert ticks > 10


async def test_a_page_that_is_too_long_is_cut() -> None:
    result = await fetched("<p>" + "word " * 900_000)
    assert (result.value["is_cut"], len(result.value["text"])) == (True, 400_000)


async def test_no_private_address_and_none_that_the_document_does_not_allow_is_reached() -> None:
    async with outside(redirect("http://169.254.169.254/"), redirect("/admin"), answering(PAGE, HTML)) as server:
        base = f"http://127.0.0.1:{server.port}"
        private = await called("web.fetch", {"url": f"{base}/"}, addresses=PUBLIC_ONLY)
        redirected = await called("web.fetch", {"url": f"{base}/"})
        elsewhere = await called("web.fetch", {"url": f"{base}/open/a"}, allow=(f"{base}/open/*",))
        hidden = await called("web.fetch", {"url": f"{base}/open/../admin"}, allow=(f"{base}/open/*",))
    assert [each.outcome for each in (private, redirected, elsewhere, hidden)] == ["failed"] * 4
    assert len(server.heads) == 2


async def test_a_status_that_is_an_error_is_a_failure() -> None:
    async with outside(answering(PAGE, HTML, 404)) as server:
        result = await called("web.fetch", {"url": f"http://127.0.0.1:{server.port}/"})
    assert result.error == "the page can't be read: it answered 404"
