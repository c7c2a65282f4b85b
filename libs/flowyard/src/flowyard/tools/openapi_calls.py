"""Calls operations of HTTP APIs, by the guarded client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

from flowyard.language.openapi.arguments import FORM, Placed
from flowyard.language.openapi.description import Operation
from flowyard.secrets.masking import Masker
from flowyard.threads import in_daemon_thread
from flowyard.tools.foreign_schemas import shallow
from flowyard.tools.sending import REDIRECTS, beginning_of, check_url, client_of, content_of, send
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

_SECONDS: Final = 25.0
_MOST_BYTES: Final = 900_000


def tool_of(operation: Operation, headers: Mapping[str, str], services: ToolServices, masker: Masker) -> Tool:
    """`headers`: sent with each request. `masker`: of the secrets in them, which no answer may show."""
    run = partial(_run, operation, headers, services, masker)
    return Tool(operation.facts, run, checked=_checked(operation))


def _checked(operation: Operation) -> dict[str, Any]:
    """Names and types; the server checks the rest. Models write null for what they leave out."""
    checked = shallow(operation.facts.parameters)
    for name, schema in checked["properties"].items():
        if "type" in schema and name not in checked["required"]:
            schema["type"] = [*schema["type"], "null"]
    return checked


async def _run(
    operation: Operation,
    fixed: Mapping[str, str],
    services: ToolServices,
    masker: Masker,
    arguments: Mapping[str, Any],
    context: ToolContext,
) -> dict[str, Any]:
    # Inline: who only checks documents needs no client.
    from flowyard.outbound.requests import OutboundRequest  # noqa: PLC0415

    client, url = client_of(services), address(operation, arguments)
    check_url(url, context)
    body = _body(operation, arguments)
    headers = {name: _plain(value) for name, value in _placed(operation, arguments, "header")}
    ours = {name.lower() for name in fixed}
    if body is not None and operation.media is not None:
        headers["Content-Type"] = operation.media
    if operation.facts.once:
        headers["Idempotency-Key"] = context.key
    request = OutboundRequest(
        method=operation.method,
        url=url,
        headers={"Accept": "application/json", **{n: v for n, v in headers.items() if n.lower() not in ours}, **fixed},
        body=body,
        redirects=REDIRECTS,
        why_refused=context.why_denied,
        total_s=_SECONDS,
        answer_limit=_MOST_BYTES,
    )
    answer = await send(client, request)
    if answer.status >= 400:
        raise ToolFailed(masker.text(f"it answered {answer.status}{beginning_of(answer)}"))
    # In a thread: a megabyte of JSON takes long enough to hold others up.
    content = await in_daemon_thread(lambda: masker.value(content_of(answer), ()))
    return {"status": answer.status, "body": content}


def address(operation: Operation, arguments: Mapping[str, Any]) -> str:
    """With the arguments that are parts of it, encoded: none can change where it leads. Raises ToolFailed."""
    url = operation.url
    for placed, value in _given(operation, arguments, "path"):
        text = _plain(value)
        if text in ("", ".", ".."):
            raise ToolFailed(f"'{placed.name}' is a part of the address, and can't be '{text}'")
        url = url.replace(f"{{{placed.name}}}", quote(text, safe=""))
    query = [pair for placed, value in _given(operation, arguments, "query") for pair in _pairs(placed, value)]
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}" if query else url


def _pairs(placed: Placed, value: Any) -> Iterator[tuple[str, str]]:
    """As OpenAPI's styles write lists and objects into a query."""
    match value:
        case list() if placed.explode:
            yield from ((placed.name, _plain(each)) for each in value)
        case dict() if placed.style == "deepObject":
            yield from ((f"{placed.name}[{key}]", _plain(each)) for key, each in value.items())
        case dict() if placed.explode:
            yield from ((str(key), _plain(each)) for key, each in value.items())
        case _:
            separator = {"spaceDelimited": " ", "pipeDelimited": "|"}.get(placed.style, ",")
            yield placed.name, _plain(value, separator)


def _plain(value: Any, separator: str = ",") -> str:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list():
            return separator.join(_plain(each) for each in value)
        case dict():
            return separator.join(_plain(part) for pair in value.items() for part in pair)
        case _:
            return json.dumps(value)


def _body(operation: Operation, arguments: Mapping[str, Any]) -> bytes | None:
    if operation.media is None:
        return None
    whole = [value for _, value in _given(operation, arguments, "whole body")]
    parts = dict(_placed(operation, arguments, "body"))
    if not whole and not parts:
        return None
    content = whole[0] if whole else parts
    if operation.media == FORM:
        pairs = content.items() if isinstance(content, dict) else ()
        lists = ((name, each) for name, value in pairs for each in (value if isinstance(value, list) else [value]))
        return urlencode([(name, _plain(each)) for name, each in lists]).encode()
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


def _given(operation: Operation, arguments: Mapping[str, Any], where: str) -> Iterator[tuple[Placed, Any]]:
    for argument, value in arguments.items():
        placed = operation.placed[argument]
        if placed.where == where and (value is not None or _takes_null(operation.facts.arguments[argument])):
            yield placed, value


def _takes_null(schema: Any) -> bool:
    kinds = [schema, *(schema.get("anyOf") or ())]
    return any(kind.get("type") == "null" or "null" in (kind.get("type") or ()) for kind in kinds)


def _placed(operation: Operation, arguments: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    return ((placed.name, value) for placed, value in _given(operation, arguments, where))
