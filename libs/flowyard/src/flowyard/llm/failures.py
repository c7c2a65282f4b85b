"""What a provider's failure becomes: facts of the wire in, one short error without secrets out. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeAlias

from flowyard.language.nodes import ModelSettings
from flowyard.llm.keys import key_variable
from flowyard.masking import Masker
from flowyard.step_errors import ModelError, ModelRefused, ModelTimeout, NotAtWork, ProviderError, RateLimited

Secrets: TypeAlias = frozenset[str]
NO_SECRETS: Final[Secrets] = frozenset()

_LONGEST: Final = 300
_WORTH_ANOTHER_TRY: Final = frozenset({408, 409, 425})
"""Request timeout, conflict, too early: temporary although the number begins with 4."""
_MAYBE_AT_WORK: Final = frozenset({408, 502, 504, 520, 524})
"""Told by what stands before a model, of one that was asked and didn't answer in time, or not to the end."""


def timed_out(settings: ModelSettings) -> ModelTimeout:
    return ModelTimeout(f"no answer within {settings.timeout:g} s", provider=settings.provider, model=settings.model)


def broken(settings: ModelSettings, detail: str, secrets: Secrets = NO_SECRETS) -> ProviderError:
    """The answer broke off or is nonsense, or the connection was lost before it: a model may have worked."""
    return ProviderError(brief(detail, secrets), provider=settings.provider, model=settings.model)


def unreached(settings: ModelSettings, detail: str, secrets: Secrets = NO_SECRETS) -> NotAtWork:
    """The call was never sent."""
    return NotAtWork(brief(detail, secrets), provider=settings.provider, model=settings.model)


def from_status(
    settings: ModelSettings,
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str],
    secrets: Secrets,
    now: datetime,
    in_answer: bool = False,
) -> ModelError:
    """The error of an HTTP answer. `detail` is what the provider wrote, `headers` are the answer's.

    `in_answer`: the status isn't the answer's own, but was found inside of it or made up from it.
    """
    said = brief(f"{_advice(settings, status)}{_said(detail)}", secrets)
    wait = retry_after(headers, now)
    if status == 429:
        return RateLimited(said, provider=settings.provider, model=settings.model, retry_after=wait)
    if status >= 500 or status in _WORTH_ANOTHER_TRY:
        kind = ProviderError if in_answer or status in _MAYBE_AT_WORK else NotAtWork
        return kind(said, provider=settings.provider, model=settings.model, retry_after=wait)
    return ModelRefused(said, provider=settings.provider, model=settings.model)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The wait in seconds that an answer asks for: `retry-after-ms`, or Retry-After (RFC 9110: seconds or a date)."""
    lower = {name.lower(): value for name, value in headers.items()}
    milliseconds = _number(lower.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = lower.get("retry-after")
    seconds = _number(value)
    return seconds if seconds is not None or value is None else _seconds_until(value, now)


def error_text(body: str) -> str:
    """The sentence in a provider's error body: `error.message`, `error` or `message`, else the body as it is."""
    try:
        parsed: Any = json.loads(body)
    except ValueError:
        return body
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    message = error.get("message", error) if isinstance(error, dict) else error
    return message if isinstance(message, str) else json.dumps(message)


def brief(text: str, secrets: Secrets = NO_SECRETS) -> str:
    """One line of bounded length, without the secrets."""
    line = " ".join(redact(text, secrets).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def redact(text: str, secrets: Secrets) -> str:
    return Masker(secrets).text(text) if secrets else text


def cause_of(error: BaseException, secrets: Secrets) -> BaseException | None:
    """The error as a cause to keep, or None if it or what lies behind it spells a secret."""
    told = "".join(f"{each} {each!r}" for each in chain(error))
    return error if redact(told, secrets) == told else None


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that led to it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]


def _advice(settings: ModelSettings, status: int) -> str:
    variable = key_variable(settings)
    holder = f"the key in {variable}" if variable else "the key"
    match status:
        case 401:
            return f"{holder} was not accepted (401)"
        case 403:
            return f"{holder} may not do this (403)"
        case 404:
            where = f" at {settings.api_base}" if settings.api_base else ""
            return f"no model '{settings.model}'{where}: check its name (404)"
        case 429:
            return "too many requests (429)"
        case _ if status >= 500:
            return f"the provider failed ({status})"
        case _:
            return f"the request was not accepted ({status})"


def _said(detail: str) -> str:
    return f": {detail}" if detail.strip() else ""


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


def _seconds_until(value: str, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds())
