"""`http.get` and `http.request`: what is sent and returned, and what no document and no model can reach with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowyard.language.tools import NO_RULES, ToolUse
from flowyard.outbound.allowlist import PUBLIC_ONLY
from flowyard.tools.calling import call_tool
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.tool import MOST_CHARACTERS
from support.outside import names, outside, redirect
from support.reaching import CONTEXT, answering, called


async def test_json_is_read_and_a_query_is_encoded() -> None:
    async with outside(
        answering('{"rain": [1, 2.5]}', "application/json", 200, "Set-Cookie: a=b", "X-Total: 9")
    ) as server:
        url = f"http://127.0.0.1:{server.port}/days?unit=mm"
        result = await called("http.get", {"url": url, "query": {"q": "a b&c", "wet": True, "n": [1, 2]}})
    assert server.heads[0].startswith("GET /days?unit=mm&q=a+b%26c&wet=true&n=1&n=2 HTTP/1.1\r\n")
    assert (result.value["status"], result.value["body"]) == (200, {"rain": [1, 2.5]})
    assert result.value["headers"]["x-total"] == "9"
    assert "set-cookie" not in result.value["headers"]


@pytest.mark.parametrize(
    ("given", "kind", "body"),
    [
        ({"json": {"rain": "für"}}, "application/json", json.dumps({"rain": "für"}, ensure_ascii=False)),
        ({"body": "<a/>", "headers": {"Content-Type": "text/xml"}}, "text/xml", "<a/>"),
        ({"method": "PUT", "body": "rain"}, "text/plain; charset=utf-8", "rain"),
        ({"method": "DELETE"}, None, ""),
    ],
)  # fmt: skip
async def test_what_is_sent(given: dict[str, Any], kind: str | None, body: str) -> None:
    async with outside(answering("", status=201)) as server:
        result = await called("http.request", {"url": f"http://127.0.0.1:{server.port}/x", **given})
    head, _, sent = server.heads[0].partition("\r\n\r\n")
    assert (result.value["status"], result.value["body"]) == (201, None)
    assert head.split()[0] == given.get("method", "POST")
    assert sent.encode("latin-1").decode() == body
    assert [line[14:] for line in head.split("\r\n") if line.startswith("Content-Type: ")] == ([kind] if kind else [])


async def test_json_and_a_body_are_not_sent_together() -> None:
    async with outside(answering("{}")) as server:
        result = await called("http.request", {"url": f"http://127.0.0.1:{server.port}/", "json": 1, "body": "1"})
    assert (result.outcome, server.heads) == ("failed", [])


async def test_a_status_that_is_an_error_fails_with_the_beginning_of_the_answer_unless_any_is_wanted() -> None:
    async with outside(answering("no such day" + "." * 2_000, "text/plain", 404)) as server:
        url = f"http://127.0.0.1:{server.port}/"
        failed = await called("http.get", {"url": url})
        given = await called("http.get", {"url": url, "any_status": True})
    assert failed.error is not None
    assert failed.error.startswith("it answered 404: no such day")
    assert len(failed.error) < 600
    assert given.value["status"] == 404


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("für".encode(), "text/plain; charset=utf-8", "für"),
        ("für".encode("latin-1"), "text/plain; charset=iso-8859-1", "für"),
        ("für".encode("utf-16-le"), 'text/plain; charset="UTF-16LE"', "für"),
        (b"f\xfcr", "text/plain", "f\ufffdr"),
        (b"a\0b", "text/plain", "a\ufffdb"),
        (b"{\"a\": 1", "application/json", '{"a": 1'),
        (b"{\"a\": NaN}", "application/json", '{"a": NaN}'),
        (b"{\"a\": \"\\u0000\"}", "application/json", '{"a": "\\u0000"}'),
        (b"[" * 100_000, "application/json", "[" * 100_000),
        # Codecs that Python knows, and the web doesn't.
        (b"abc", "text/plain; charset=punycode", "abc"),
        (b"616263", "text/plain; charset=hex", "616263"),
        (b"\\u0041", "text/plain; charset=unicode_escape", "\\u0041"),
    ],
)  # fmt: skip
async def test_bodies_are_texts_that_can_be_stored(body: bytes, kind: str, text: str) -> None:
    async with outside(answering(body, kind)) as server:
        result = await called("http.get", {"url": f"http://127.0.0.1:{server.port}/"})
    assert (result.error, result.value and result.value["body"]) == (None, text)


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream"])
async def test_what_is_no_text_is_refused(kind: str) -> None:
    async with outside(answering(b"\x89PNG\r\n\x1a\n\0\0", kind)) as server:
        result = await called("http.get", {"url": f"http://127.0.0.1:{server.port}/"})
    assert result.error == f"the answer is no text, but {kind}"


async def test_an_answer_that_is_too_large_is_an_error() -> None:
    async with outside(answering(b"x" * MOST_CHARACTERS, "text/plain")) as server:
        result = await called("http.get", {"url": f"http://127.0.0.1:{server.port}/"})
    assert result.error is not None
    assert "too large" in result.error


PRIVATE = (
    "127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.8", "inside.example"
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("tool", ["http.get", "http.request"])
async def test_no_private_address_is_reached(tool: str, address: str) -> None:
    async with outside(answering("{}")) as server:
        result = await called(
            tool,
            {"url": f"http://{address}:{server.port}/secret-path"},
            addresses=PUBLIC_ONLY,
            lookup=names(inside=["10.0.0.8"]),
        )
    assert server.connections == 0
    assert result.outcome == "failed"
    assert result.error is not None
    assert "FLOWYARD_OUTBOUND_ALLOW" in result.error
    assert "secret-path" not in result.error


async def test_a_name_is_resolved_once_and_what_was_checked_is_reached() -> None:
    lookup = names(pinned=["127.0.0.1"])
    lookup.answers["pinned.example"].append(["10.0.0.9"])
    async with outside(answering("{}")) as server:
        result = await called("http.get", {"url": f"http://pinned.example:{server.port}/"}, lookup=lookup)
    assert (result.error, server.connections) == (None, 1)
    assert lookup.lookups == ["pinned.example"]


@pytest.mark.parametrize("tool", ["http.get", "http.request"])
async def test_a_redirect_leads_to_no_private_address(tool: str) -> None:
    async with outside(redirect("http://169.254.169.254/latest/meta-data", 303)) as server:
        result = await called(tool, {"url": f"http://127.0.0.1:{server.port}/"})
    assert (result.outcome, len(server.heads)) == ("failed", 1)
    assert result.error is not None
    assert "169.254.169.254 is a link-local address" in result.error


async def test_a_redirect_leads_to_no_address_that_the_document_does_not_allow() -> None:
    async with outside(redirect("/admin?to=http://127.0.0.1/open/"), answering('"hidden"')) as server:
        base = f"http://127.0.0.1:{server.port}"
        allowed = await called("http.get", {"url": f"{base}/open/a"}, allow=(f"{base}/open/*",))
        denied = await called("http.get", {"url": f"{base}/admin"}, deny=("*/admin*",))
        followed = await called("http.get", {"url": f"{base}/open/a"}, allow=(f"{base}/*",))
    assert allowed.error is not None
    assert "the workflow allows http.get no such 'url'" in allowed.error
    assert denied.outcome == "denied"
    assert followed.value["body"] == "hidden"


HIDDEN = (
    "/open/../admin", "/open/%2e%2e/admin", "/open/.%2E/admin", "/open/x/../../admin?b=c", "/open/./../admin"
)  # fmt: skip


@pytest.mark.parametrize("path", HIDDEN)
async def test_patterns_are_compared_with_the_address_that_is_sent(path: str) -> None:
    async with outside(answering('"hidden"')) as server:
        base = f"http://127.0.0.1:{server.port}"
        allowed = await called("http.get", {"url": f"{base}{path}"}, allow=(f"{base}/open/*",))
        denied = await called("http.get", {"url": f"{base}/%61dmin"}, deny=("*/admin*",))
    assert server.heads == []
    assert allowed.error is not None
    assert denied.error is not None
    assert "not permitted" in allowed.error
    assert "not permitted" in denied.error


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "http://127.0.0.1:PORT/", "headers": {"X-A": "b\r\nX-C: d"}},
        {"url": "http://127.0.0.1:PORT/", "headers": {"X-A\r\nX-C": "d"}},
        {"url": "http://127.0.0.1:PORT/", "headers": {"Host": "elsewhere.example"}},
        {"url": "http://127.0.0.1:PORT/", "headers": {"Transfer-Encoding": "chunked"}},
        {"url": "http://127.0.0.1:PORT/a\r\nX-C: d"},
        {"url": "http://user:pass@127.0.0.1:PORT/"},
        {"url": "http://allowed.example\\@127.0.0.1:PORT/"},
        {"url": "file:///etc/passwd"},
        {"url": "gopher://127.0.0.1:PORT/"},
    ],
)
async def test_a_request_can_not_be_made_into_another(arguments: dict[str, Any]) -> None:
    async with outside(answering("{}")) as server:
        given = json.loads(json.dumps(arguments).replace("PORT", str(server.port)))
        result = await called("http.get", given)
    assert (result.outcome, server.heads) == ("failed", [])


async def test_nothing_is_sent_without_permission_or_without_a_client() -> None:
    tool = ToolRegistry().get("http.get")
    assert tool is not None
    arguments = {"url": "http://example.com/"}
    denied = await call_tool(tool, ToolUse("http.get"), arguments, CONTEXT, NO_RULES)
    unable = await call_tool(tool, ToolUse("http.get", ()), arguments, CONTEXT, NO_RULES)
    assert (denied.outcome, unable.outcome) == ("denied", "failed")
