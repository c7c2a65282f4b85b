"""Servers that are reached by HTTP: where, with what, and what becomes of bad answers."""

from __future__ import annotations

import asyncio

import pytest

from flowyard.language.installation import KEYS_AND_TOKENS
from flowyard.tools.tool import ToolFailed
from support.mcp_http_server import serving
from support.mcp_servers import call, loop_watched, opened_servers
from support.waiting import eventually

HELD_S = 0.25


@pytest.mark.parametrize(
    ("habit", "error"),
    [
        ("large", "the answer of 127.0.0.1 is too large: its body has more than 2,000,000 bytes"),
        ("flood", "notifications of progress in one call"),
        ("slow", "it took longer than 1 s"),
        ("trickles", "it took longer than 1 s"),
        ("no json", "Failed to parse JSON response"),
        ("redirects", "Redirect to http://127.0.0.1:9/mcp not followed"),
        ("refuses", "it answered 401"),
    ],
)
async def test_a_call_of_a_bad_server_fails_and_holds_nobody(habit: str, error: str) -> None:
    async with serving(habit) as far, opened_servers() as servers:
        server = far.remote(timeout=1 if error.endswith("1 s") else 20)
        await servers.tools(server)
        async with loop_watched() as held:
            result = await call(servers, server, "echo", {"text": "a"})
    assert error in str(result.error)
    assert held() < HELD_S


async def test_a_session_that_the_server_has_forgotten_is_replaced_without_a_word() -> None:
    async with serving() as far, opened_servers() as servers:
        assert (await call(servers, far.remote(), "echo", {"text": "a"})).value == "a"
        far.session += 1
        assert (await call(servers, far.remote(), "echo", {"text": "b"})).value == "b"
        assert far.received.count("initialize") == 2


async def test_a_call_that_is_given_up_is_cancelled_at_the_server() -> None:
    async with serving("slow") as far, opened_servers() as servers:
        calling = asyncio.create_task(call(servers, far.remote(), "echo", {"text": "a"}))
        await eventually(lambda: "tools/call" in far.received)
        calling.cancel()
        await asyncio.wait([calling])
        await eventually(lambda: "notifications/cancelled" in far.received)


async def test_a_document_reaches_no_private_address_unless_the_installation_allows_it() -> None:
    async with serving() as far:
        server = far.remote(of_document=True)
        async with opened_servers() as servers:
            with pytest.raises(ToolFailed, match=r"requests to it are refused, unless FLOWYARD_OUTBOUND_ALLOW lists"):
                await servers.tools(server)
        assert far.received == []
        async with opened_servers(allow="127.0.0.1") as servers:
            assert [tool.name for tool in await servers.tools(server)] == ["far.echo"]


async def test_headers_have_only_the_variables_that_documents_may_name() -> None:
    environ = {"WIKI_TOKEN": "given", "PASSWORD": "hidden", "FLOWYARD_SECRET_KEY": "hidden"}
    async with serving() as far, opened_servers(environ, KEYS_AND_TOKENS, allow="127.0.0.1") as servers:
        good = far.remote(of_document=True, headers=(("Authorization", "Bearer ${env:WIKI_TOKEN}"),))
        await servers.tools(good)
        assert far.headers["Authorization"] == "Bearer given"
        for name, error in {
            "PASSWORD": r"documents may not name PASSWORD: set FLOWYARD_DOCUMENT_VARIABLES=.*PASSWORD",
            "FLOWYARD_SECRET_KEY": "is a variable of Flowyard",
            "MISSING_TOKEN": "the variable MISSING_TOKEN isn't set",
        }.items():
            bad = far.remote(of_document=True, headers=(("Authorization", f"Bearer ${{env:{name}}}"),))
            with pytest.raises(ToolFailed, match=error) as failed:
                await servers.tools(bad)
            assert "hidden" not in str(failed.value)


async def test_documents_with_different_secrets_share_no_connection() -> None:
    environ = {"A_TOKEN": "a", "B_TOKEN": "b"}
    async with serving() as far, opened_servers(environ, allow="127.0.0.1") as servers:
        for name in environ:
            headers = (("Authorization", f"${{env:{name}}}"),)
            await call(servers, far.remote(of_document=True, headers=headers), "echo", {"text": "a"})
        assert far.received.count("initialize") == 2


async def test_a_server_that_is_away_is_named_and_can_come_back() -> None:
    async with opened_servers() as servers:
        async with serving() as far:
            server = far.remote()
            await servers.tools(server)
        result = await call(servers, server, "echo", {"text": "a"})
        assert str(result.error).startswith("the server 'far': can't reach 127.0.0.1: ")
