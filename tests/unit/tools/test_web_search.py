"""`web.search`, with services on loopback that speak each provider's form, and never a key in what comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowyard.outbound.allowlist import PUBLIC_ONLY
from flowyard.tools.services import SearchProvider, SearchService, ToolServices
from flowyard.tools.tool import ToolResult
from support.outside import Outside, outside, redirect
from support.reaching import answering, called

KEY = "key-that-nobody-may-see"
HIT = {"title": "Rain", "url": "https://example.com/rain", "snippet": "It's wet."}
# As the services answer, with more than is read.
SEARXNG = {
    "query": "rain",
    "number_of_results": 0,
    "results": [{"url": HIT["url"], "title": "Rain", "content": "It's wet.", "engine": "x", "score": 1.0}],
    "answers": [],
}
BRAVE = {
    "type": "search",
    "query": {"original": "rain"},
    "web": {
        "type": "search",
        "results": [{"title": "Rain", "url": HIT["url"], "description": "It&#x27;s wet.", "language": "en"}],
    },
}
SERPER = {
    "searchParameters": {"q": "rain", "type": "search"},
    "organic": [{"title": "Rain", "link": HIT["url"], "snippet": "It's wet.", "position": 1}],
    "credits": 1,
}
BRAVE_QUERY = "q=rain+%26+wind&count=3&text_decorations=false"
TAVILY = {
    "query": "rain",
    "answer": None,
    "images": [],
    "results": [{"title": "Rain", "url": HIT["url"], "content": "It's wet.", "score": 0.9, "raw_content": None}],
    "response_time": "1.67",
}


async def searched(server: Outside, provider: SearchProvider, **given: Any) -> ToolResult:
    search = SearchService(provider=provider, url=f"http://127.0.0.1:{server.port}", key=KEY)
    return await called("web.search", {"query": "rain & wind", **given}, services=ToolServices(search=search))


@pytest.mark.parametrize(
    ("provider", "answer", "line", "header", "body"),
    [
        ("searxng", SEARXNG, "GET /search?q=rain+%26+wind&format=json", None, None),
        ("brave", BRAVE, f"GET /res/v1/web/search?{BRAVE_QUERY}", f"X-Subscription-Token: {KEY}", None),
        ("serper", SERPER, "POST /search", f"X-API-KEY: {KEY}", {"q": "rain & wind", "num": 3}),
        ("tavily", TAVILY, "POST /search", f"Authorization: Bearer {KEY}", {"query": "rain & wind", "max_results": 3}),
    ],
)  # fmt: skip
async def test_each_provider_is_asked_in_its_form(
    provider: SearchProvider, answer: Any, line: str, header: str | None, body: Any
) -> None:
    async with outside(answering(json.dumps(answer))) as server:
        result = await searched(server, provider, limit=3)
    head, _, sent = server.heads[0].partition("\r\n\r\n")
    assert head.startswith(f"{line} HTTP/1.1\r\n")
    assert (KEY in head) is (header is not None)
    assert header is None or header in head.split("\r\n")
    assert (json.loads(sent) if sent else None) == body
    assert result.value == {"results": [HIT]}


async def test_there_are_no_more_results_than_wanted_and_none_without_an_address_on_the_web() -> None:
    wrong = [{"title": "x", "url": "javascript:alert(1)"}, {"title": "x"}, "x", None]
    rows = [*wrong, *({"title": "t" * 9_999, "url": f"https://example.com/{n}", "content": None} for n in range(30))]
    async with outside(answering(json.dumps({"results": rows}))) as server:
        result = await searched(server, "searxng")
    assert [each["url"] for each in result.value["results"]] == [f"https://example.com/{n}" for n in range(5)]
    assert {(len(each["title"]), each["snippet"]) for each in result.value["results"]} == {(300, "")}


@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (401, f'{{"error": "bad {KEY}"}}', "FLOWYARD_SEARCH_KEY"),
        (429, "", "too many"),
        (500, KEY, "500"),
        (200, KEY, "no JSON"),
    ],
)
async def test_a_failure_names_no_key_although_the_service_repeats_it(status: int, body: str, hint: str) -> None:
    async with outside(answering(body, status=status)) as server:
        result = await searched(server, "serper")
    assert result.error is not None
    assert hint in result.error
    assert KEY not in str(result)


async def test_a_key_is_masked_in_results_and_no_redirect_gets_it() -> None:
    spying = {"organic": [{"title": KEY, "link": f"https://example.com/{KEY}", "snippet": KEY}]}
    async with outside(answering(json.dumps(spying)), redirect("http://127.0.0.1:PORT/elsewhere", 307)) as server:
        masked, redirected = await searched(server, "serper"), await searched(server, "serper")
    assert KEY not in str(masked)
    assert masked.value["results"][0]["title"] == "***"
    assert (redirected.outcome, len(server.heads)) == ("failed", 2)


@pytest.mark.parametrize(
    ("services", "setting"),
    [
        (ToolServices(), "FLOWYARD_SEARCH_PROVIDER"),
        (ToolServices(search=SearchService(provider="searxng")), "FLOWYARD_SEARCH_URL"),
        (ToolServices(search=SearchService(provider="brave")), "FLOWYARD_SEARCH_KEY"),
    ],
)
async def test_what_is_not_set_up_is_named(services: ToolServices, setting: str) -> None:
    result = await called("web.search", {"query": "rain"}, services=services)
    assert result.error is not None
    assert setting in result.error


async def test_a_service_in_a_private_network_needs_to_be_named_by_a_setting() -> None:
    async with outside(answering("{}")) as server:
        search = SearchService(provider="searxng", url=f"http://127.0.0.1:{server.port}")
        services = ToolServices(search=search)
        result = await called("web.search", {"query": "rain"}, services=services, addresses=PUBLIC_ONLY)
    assert (result.outcome, server.connections) == ("failed", 0)
    assert KEY not in repr(SearchService(provider="brave", key=KEY))
