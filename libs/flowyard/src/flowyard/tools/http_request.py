"""`http.get` reads from an address, `http.request` sends anything to one: by the guarded client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from flowyard.language.tools import ToolFacts
from flowyard.threads import in_daemon_thread
from flowyard.tools.sending import REDIRECTS, beginning_of, check_url, client_of, content_of, send, storable
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

if TYPE_CHECKING:
    from flowyard.outbound.requests import OutboundAnswer

_SECONDS: Final = 25.0
_MOST_BYTES: Final = 900_000
_MOST_URL: Final = 8_000
_LONGEST_HEADER: Final = 1_000
_HEADERS: Final = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": 8_000},
    "maxProperties": 50,
}
_SCALAR: Final = {"type": ["string", "number", "boolean"]}
_ADDRESS: Final[Mapping[str, Any]] = {
    "url": {"type": "string", "minLength": 1, "maxLength": _MOST_URL, "description": "With http:// or https://."},
    "query": {
        "type": "object",
        "additionalProperties": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR, "maxItems": 100}]},
        "maxProperties": 100,
        "description": "Values that are added to the URL after a question mark, and encoded.",
    },
    "headers": _HEADERS,
    "any_status": {
        "type": "boolean",
        "description": "Return the answer also if its status is 400 or above, which is an error otherwise.",
    },
}

GET: Final = ToolFacts(
    name="http.get",
    description="Reads from an HTTP address: the status, the headers, and the body, which is JSON or text.",
    parameters={"type": "object", "properties": dict(_ADDRESS), "required": ["url"], "additionalProperties": False},
    effects=frozenset({"network"}),
    guarded="url",
)
REQUEST: Final = ToolFacts(
    name="http.request",
    description="Sends an HTTP request that may change something, with JSON or text; returns what is answered.",
    parameters={
        "type": "object",
        "properties": {
            "method": {"enum": ["POST", "PUT", "PATCH", "DELETE"], "description": "POST if left out."},
            **_ADDRESS,
            "json": {"description": "What is sent, as JSON."},
            "body": {"type": "string", "description": "What is sent, as it is. Not with json."},
        },
        "required": ["url"],
        "additionalProperties": False,
    },
    effects=frozenset({"network"}),
    guarded="url",
    once=True,
)


def get_tool(services: ToolServices) -> Tool:
    return Tool(GET, partial(_run, services))


def request_tool(services: ToolServices) -> Tool:
    return Tool(REQUEST, partial(_run, services, method="POST"))


async def _run(
    services: ToolServices, arguments: Mapping[str, Any], context: ToolContext, *, method: str = "GET"
) -> dict[str, Any]:
    # Inline: who only checks documents needs no client.
    from flowyard.outbound.requests import OutboundRequest  # noqa: PLC0415

    client, url, method = client_of(services), _url(arguments), arguments.get("method", method)
    check_url(url, context)
    body, headers = _body(arguments)
    request = OutboundRequest(
        method=method,
        url=url,
        headers={**headers, **arguments.get("headers", {})},
        body=body,
        redirects=REDIRECTS,
        why_refused=context.why_denied,
        total_s=_SECONDS,
        answer_limit=_MOST_BYTES,
    )
    answer = await send(client, request)
    if answer.status >= 400 and not arguments.get("any_status", False):
        raise ToolFailed(f"it answered {answer.status}{beginning_of(answer)}")
    return {
        "status": answer.status,
        "url": storable(answer.url),
        "headers": _headers(answer),
        # In a thread: a megabyte of JSON takes long enough to hold others up.
        "body": await in_daemon_thread(lambda: content_of(answer)),
    }


def _url(arguments: Mapping[str, Any]) -> str:
    url, query = str(arguments["url"]), arguments.get("query")
    if not query:
        return url
    address, _, _ = url.partition("#")
    given = [(name, each) for name, value in query.items() for each in (value if isinstance(value, list) else [value])]
    text = urlencode([(name, str(value).lower() if isinstance(value, bool) else value) for name, value in given])
    return f"{address}{'&' if '?' in address else '?'}{text}"


def _body(arguments: Mapping[str, Any]) -> tuple[bytes | None, Mapping[str, str]]:
    if "json" in arguments and "body" in arguments:
        raise ToolFailed("there can be either 'json' or 'body'")
    if "json" in arguments:
        return json.dumps(arguments["json"], ensure_ascii=False).encode("utf-8", "replace"), _type("application/json")
    if "body" in arguments:
        return arguments["body"].encode("utf-8", "replace"), _type("text/plain; charset=utf-8")
    return None, {}


def _type(name: str) -> Mapping[str, str]:
    return {"Content-Type": name}


def _headers(answer: OutboundAnswer) -> dict[str, str]:
    """Without cookies: they are a login, and nobody here needs it."""
    return {
        storable(name.lower()): storable(value[:_LONGEST_HEADER])
        for name, value in answer.headers.items()
        if name.lower() not in ("set-cookie", "set-cookie2")
    }
