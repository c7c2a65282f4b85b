"""What a provider's error says, read from its body: in the forms of OpenAI, Anthropic, Google and Ollama. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowyard.llm.event_stream import BrokenReply

_STATUS_OF: Final[Mapping[str, int]] = {
    "authentication_error": 401, "invalid_api_key": 401, "invalid_argument": 400, "invalid_request_error": 400,
    "model_not_found": 404, "not_found": 404, "not_found_error": 404, "permission_denied": 403, "permission_error": 403,
    "rate_limit_error": 429, "rate_limit_exceeded": 429, "resource_exhausted": 429, "unauthenticated": 401,
}  # fmt: skip
"""Of the codes whose meaning matters: an error with another code is the provider's."""
_HTML: Final = re.compile(r"\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_TITLE: Final = re.compile(r"<(title|h1)[^>]*>([^<]{1,200})<", re.IGNORECASE)
_NO_MODEL: Final = re.compile(r"\bmodel\b.{0,200}\bnot found\b", re.IGNORECASE)
_SECONDS: Final = re.compile(r"(\d+(?:\.\d+)?)s")


class ErrorInReply(BrokenReply):
    """An answer, or an event of a stream, is an error, although its status is 200. `body`: its JSON, or a page."""

    def __init__(self, body: str) -> None:
        self.body = body
        super().__init__(read_error(body).text)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """`codes`: in lower case, from wherever the provider writes them. `status`: the HTTP status that they mean.

    `wait`: seconds, of Google's RetryInfo. `filters`: the names of those that matched. `is_page`: it is HTML.
    """

    text: str
    codes: frozenset[str] = frozenset()
    status: int | None = None
    wait: float | None = None
    filters: str = ""
    is_page: bool = False


def read_error(body: str) -> ErrorBody:
    """The text is `error.message`, `error` or `message`, else the whole body; of an HTML page, its title."""
    if _HTML.match(body):
        title = _TITLE.search(body)
        return ErrorBody(f"an HTML page{f': {title[2]}' if title else ''}", is_page=True)
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ErrorBody(body)
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    error = parsed.get("error") or parsed if isinstance(parsed, dict) else parsed
    if not isinstance(error, dict):
        return ErrorBody(_shown(error), status=_status_in(_shown(error)))
    message = error.get("message") or error
    given = [error.get(name) for name in ("code", "type", "status")]
    codes = frozenset(code.lower() for code in given if isinstance(code, str))
    return ErrorBody(
        _shown(message),
        codes,
        _status(given, codes) or _status_in(_shown(message)),
        _wait(error.get("details")),
        _filters(error),
    )


def _shown(message: Any) -> str:
    """`true` and `null` say nothing."""
    return message if isinstance(message, str) else "" if message in (True, False, None) else json.dumps(message)


def _status_in(message: str) -> int | None:
    """Ollama's errors have no code."""
    return 404 if _NO_MODEL.search(message) else None


def refuse_error(answer: Any) -> None:
    """Raises ErrorInReply if the JSON of an answer or an event is an error, or its reply has one in its place."""
    first = answer[0] if isinstance(answer, list) and answer else answer
    if not isinstance(first, dict):
        return
    if first.get("error") or first.get("object") == "error":
        raise ErrorInReply(json.dumps(first))
    choices = first.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("error"):
            raise ErrorInReply(json.dumps({"error": choice["error"]}))


def refuse_event(kind: str, data: str) -> None:
    """Raises ErrorInReply for an event that is called an error, whatever its data are."""
    if kind == "error":
        raise ErrorInReply(data)


def refuse_page(start: str) -> None:
    """Raises ErrorInReply if this is the beginning of an HTML page."""
    if _HTML.match(start):
        raise ErrorInReply(start)


def filter_names(choice: Mapping[str, Any]) -> str:
    """The filters that matched, of Azure's `content_filter_results`, such as `violence, hate`."""
    return _matched(choice.get("content_filter_results"))


def _matched(results: Any) -> str:
    if not results or not isinstance(results, Mapping):
        return ""
    return ", ".join(name for name, each in results.items() if isinstance(each, Mapping) and each.get("filtered"))


def _filters(error: Mapping[str, Any]) -> str:
    inner = error.get("innererror")
    return _matched(inner.get("content_filter_result")) if isinstance(inner, Mapping) else ""


def _status(given: list[Any], codes: frozenset[str]) -> int | None:
    numbers = (code for code in given if isinstance(code, int) and 400 <= code < 600)
    named = (_STATUS_OF[code] for code in sorted(codes) if code in _STATUS_OF)
    return next(numbers, None) or next(named, None)


def _wait(details: Any) -> float | None:
    delays = (each.get("retryDelay") for each in _mappings(details))
    matches = (_SECONDS.fullmatch(delay) for delay in delays if isinstance(delay, str))
    return next((float(match[1]) for match in matches if match), None)


def _mappings(details: Any) -> Iterator[Mapping[str, Any]]:
    return (each for each in details if isinstance(each, Mapping)) if isinstance(details, list) else iter(())
