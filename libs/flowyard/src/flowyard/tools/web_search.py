"""`web.search`: asks the search service of the installation. Their APIs:
https://docs.searxng.org/dev/search_api.html, https://api-dashboard.search.brave.com/documentation,
https://serper.dev, https://docs.tavily.com/documentation/api-reference/endpoint/search
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from html import unescape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from flowyard.language.tools import ToolFacts
from flowyard.tools.sending import send, storable, without
from flowyard.tools.services import SearchService, ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

if TYPE_CHECKING:
    from flowyard.outbound.requests import OutboundRequest

_SECONDS: Final = 20.0
_MOST_BYTES: Final = 2_000_000
_MOST: Final = 20
_FEW: Final = 5
_LONGEST: Final = {"title": 300, "url": 2_000, "snippet": 2_000}
"""Characters of what a result has."""

FACTS: Final = ToolFacts(
    name="web.search",
    description="Searches the web; returns titles, addresses and a few words of each page.",
    parameters={
        "type": "object",
        "properties": {
            "query": {"type": "string", "minLength": 1, "maxLength": 400},
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": _MOST,
                "description": f"Most results; {_FEW} if left out.",
            },
        },
        "required": ["query"],
        "additionalProperties": False,
    },
    effects=frozenset({"network"}),
)


@dataclass(frozen=True, slots=True)
class _Api:
    """`base`: its usual address; empty: everybody has one of their own. `results`: where they are in an answer.

    `names`: what it calls a title, an address and a snippet.
    """

    base: str
    request: Callable[[SearchService, str, int], tuple[str, str, Mapping[str, str], Any]]
    results: tuple[str, ...]
    names: tuple[str, str, str]


def tool(services: ToolServices) -> Tool:
    return Tool(FACTS, partial(_run, services))


async def _run(services: ToolServices, arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
    del context
    search, client = services.search, services.trusted_http
    if search is None or client is None:
        raise ToolFailed("no search service is set up: set FLOWYARD_SEARCH_PROVIDER")
    if search.provider == "searxng" and not search.url:
        raise ToolFailed("SearXNG has no usual address: set FLOWYARD_SEARCH_URL")
    if search.provider != "searxng" and not search.key:
        raise ToolFailed(f"the search service {search.provider} needs a key: set FLOWYARD_SEARCH_KEY")
    api, limit = _APIS[search.provider], arguments.get("limit", _FEW)
    answer = await send(client, _request(api, search, arguments["query"], limit))
    if answer.status != 200:
        raise ToolFailed(f"the search service {search.provider} answered {answer.status}{_hint(search, answer.status)}")
    try:
        given = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise ToolFailed(f"the answer of the search service {search.provider} is no JSON") from error
    for name in api.results:
        given = given.get(name) if isinstance(given, dict) else None
    results = [result for each in given if (result := _result(api, each, search))] if isinstance(given, list) else []
    return {"results": results[:limit]}


def _request(api: _Api, search: SearchService, query: str, limit: int) -> OutboundRequest:
    # Inline: who only checks documents needs no client.
    from flowyard.outbound.requests import OutboundRequest  # noqa: PLC0415

    method, path, headers, body = api.request(search, query, limit)
    content = {"Content-Type": "application/json"} if body is not None else {}
    return OutboundRequest(
        method=method,
        url=f"{(search.url or api.base).rstrip('/')}{path}",
        headers={"Accept": "application/json", **content, **headers},
        body=json.dumps(body).encode() if body is not None else None,
        total_s=_SECONDS,
        answer_limit=_MOST_BYTES,
    )


def _searxng(_: SearchService, query: str, limit: int) -> tuple[str, str, Mapping[str, str], Any]:
    del limit  # It has none.
    return "GET", f"/search?{urlencode({'q': query, 'format': 'json'})}", {}, None


def _brave(search: SearchService, query: str, limit: int) -> tuple[str, str, Mapping[str, str], Any]:
    parameters = urlencode({"q": query, "count": limit, "text_decorations": "false"})
    return "GET", f"/res/v1/web/search?{parameters}", {"X-Subscription-Token": search.key}, None


def _serper(search: SearchService, query: str, limit: int) -> tuple[str, str, Mapping[str, str], Any]:
    return "POST", "/search", {"X-API-KEY": search.key}, {"q": query, "num": limit}


def _tavily(search: SearchService, query: str, limit: int) -> tuple[str, str, Mapping[str, str], Any]:
    return "POST", "/search", {"Authorization": f"Bearer {search.key}"}, {"query": query, "max_results": limit}


_APIS: Final[Mapping[str, _Api]] = {
    "searxng": _Api("", _searxng, ("results",), ("title", "url", "content")),
    "brave": _Api("https://api.search.brave.com", _brave, ("web", "results"), ("title", "url", "description")),
    "serper": _Api("https://google.serper.dev", _serper, ("organic",), ("title", "link", "snippet")),
    "tavily": _Api("https://api.tavily.com", _tavily, ("results",), ("title", "url", "content")),
}


def _result(api: _Api, given: Any, search: SearchService) -> dict[str, str] | None:
    """None for what has no address on the web."""
    if not isinstance(given, dict):
        return None
    values = [given.get(name) for name in api.names]
    texts = [storable(unescape(value)) if isinstance(value, str) else "" for value in values]
    if not texts[1].startswith(("http://", "https://")):
        return None
    shown = zip(_LONGEST.items(), texts, strict=True)
    return {name: without(text[:longest], search.key) for (name, longest), text in shown}


def _hint(search: SearchService, status: int) -> str:
    if status == 403 and search.provider == "searxng":
        return ": its settings must list json among the formats of search"
    if status in (401, 403):
        return ": check FLOWYARD_SEARCH_KEY"
    return ": too many searches" if status == 429 else ""
