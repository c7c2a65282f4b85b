"""`web.fetch`: the readable text of a web page. No script of it is executed; a process of its own reads it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.tools.sending import REDIRECTS, charset_of, check_url, client_of, media_type, send, storable, text_of
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

if TYPE_CHECKING:
    from flowyard.outbound.requests import OutboundAnswer

_SECONDS: Final = 15.0
_READING_S: Final = 10.0
_AT_ONCE: Final = 4
"""Processes that read pages, of one executor."""
_MOST_BYTES: Final = 3_000_000
_MOST_CHARACTERS: Final = 400_000
_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
_HEADERS: Final = {
    "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9,*/*;q=0.5",
    "User-Agent": "Flowyard (web.fetch)",
}

FACTS: Final = ToolFacts(
    name="web.fetch",
    description="Reads a web page: its title, and its text without menus and advertisements.",
    parameters={
        "type": "object",
        "properties": {
            "url": {"type": "string", "minLength": 1, "maxLength": 8_000, "description": "With http:// or https://."},
            "links": {"type": "boolean", "description": "Put the address of each link behind it, in parentheses."},
        },
        "required": ["url"],
        "additionalProperties": False,
    },
    effects=frozenset({"network"}),
    guarded="url",
)


def tool(services: ToolServices) -> Tool:
    return Tool(FACTS, partial(_run, services, asyncio.Semaphore(_AT_ONCE)))


async def _run(
    services: ToolServices, places: asyncio.Semaphore, arguments: Mapping[str, Any], context: ToolContext
) -> dict[str, Any]:
    # Inline: who only checks documents needs no client.
    from flowyard.outbound.requests import OutboundRequest  # noqa: PLC0415

    client, url = client_of(services), arguments["url"]
    check_url(url, context)
    request = OutboundRequest(
        method="GET",
        url=url,
        headers=_HEADERS,
        redirects=REDIRECTS,
        why_refused=context.why_denied,
        total_s=_SECONDS,
        answer_limit=_MOST_BYTES,
        cut=True,
    )
    answer = await send(client, request)
    if answer.status >= 400:
        raise ToolFailed(f"the page can't be read: it answered {answer.status}")
    if _is_page(answer):
        async with places:
            page = await _read(answer, links=arguments.get("links", False))
    else:
        page = {"title": "", "text": text_of(answer)}
    text = storable(page["text"])
    return {
        "url": storable(answer.url),
        "title": storable(page["title"])[:1_000],
        "text": text[:_MOST_CHARACTERS],
        "is_cut": answer.is_cut or len(text) > _MOST_CHARACTERS,
    }


def _is_page(answer: OutboundAnswer) -> bool:
    """Whether it is HTML, and else text. Raises ToolFailed for a PDF, which many take for a page."""
    kind, start = media_type(answer), answer.body[:1_024].lstrip()
    if kind == "application/pdf" or start.startswith(b"%PDF-"):
        raise ToolFailed("the address leads to a PDF: only pages of HTML, and texts, can be read")
    return kind in _PAGES or (not kind and start[:15].lower().startswith((b"<!doctype html", b"<html")))


async def _read(answer: OutboundAnswer, *, links: bool) -> Mapping[str, str]:
    """Raises ToolFailed."""
    head = json.dumps({"charset": charset_of(answer), "links": links}).encode()
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "flowyard.tools.page_reader",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={},
    )  # fmt: skip
    try:
        async with asyncio.timeout(_READING_S):
            out, _ = await reader.communicate(head + b"\n" + answer.body)
    except TimeoutError as error:
        raise ToolFailed(f"the page can't be read within {_READING_S:g} s") from error
    finally:
        with suppress(ProcessLookupError):
            reader.kill()
        await reader.wait()
    if reader.returncode != 0:
        raise ToolFailed("the page can't be read: it takes too much time or memory, or isn't HTML")
    # Its size has a limit, and it is two texts.
    page: Mapping[str, str] = json.loads(out)
    return page
