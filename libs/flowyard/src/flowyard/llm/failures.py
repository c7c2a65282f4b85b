"""Turns a provider's failure (status, headers, text) into one short error without secrets. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from flowyard.errors.steps import (
    ModelError,
    ModelNeverRan,
    ModelRefused,
    ModelTimeout,
    NoJson,
    ProviderError,
    RateLimited,
    ReplyFiltered,
)
from flowyard.language.nodes import ModelSettings
from flowyard.llm.error_bodies import ErrorBody, ErrorInReply, read_error
from flowyard.llm.event_stream import BrokenReply
from flowyard.llm.keys import is_loopback, key_header, key_variable
from flowyard.llm.pauses import retry_after
from flowyard.llm.streamed_text import whole_text
from flowyard.runs.retry import LONGEST_WAIT
from flowyard.secrets.masking import Masker

Secrets: TypeAlias = frozenset[str]
NO_SECRETS: Final[Secrets] = frozenset()

_MAX_LENGTH: Final = 300
_SSL_CONTEXT: Final = re.compile(r" ssl:(default|<[^>]*>)")
"""What aiohttp writes after the host of an address that it can't connect to."""
_RETRYABLE: Final = frozenset({408, 409, 424, 425})
"""Request timeout, conflict, Bedrock's "the model failed", too early: the 4xx statuses that are temporary."""
_FILTERED: Final = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})
"""Codes of Azure and OpenAI for what their filter blocked."""
_NO_JSON: Final = frozenset({"json_validate_failed"})
"""Groq's code for a reply that it has checked itself."""
_NO_CREDIT: Final = frozenset({"billing_hard_limit_reached", "billing_not_active", "insufficient_quota"})
"""OpenAI's codes for an account that has to be paid first: waiting doesn't help."""
_MAY_HAVE_RUN: Final = frozenset({408, 424, 502, 504, 520, 524})
"""Statuses for a model that received the request but didn't answer in time, or not completely."""


def timed_out(settings: ModelSettings) -> ModelTimeout:
    return ModelTimeout(f"no answer within {settings.timeout:g} s", provider=settings.provider, model=settings.model)


def broken(settings: ModelSettings, detail: str, secrets: Secrets = NO_SECRETS) -> ProviderError:
    """The response was cut off or is malformed, or the connection was lost before it: a model may have run."""
    return ProviderError(brief(detail, secrets), provider=settings.provider, model=settings.model)


def never_sent(settings: ModelSettings, detail: str, secrets: Secrets = NO_SECRETS) -> ModelNeverRan:
    """The request was never sent, so no model ran."""
    return ModelNeverRan(brief(detail, secrets), provider=settings.provider, model=settings.model)


def refused(settings: ModelSettings, detail: str, secrets: Secrets = NO_SECRETS) -> ModelRefused:
    """The request can't be sent, and another try wouldn't help."""
    return ModelRefused(brief(detail, secrets), provider=settings.provider, model=settings.model)


def proxy_refused(settings: ModelSettings, proxy: str | None, secrets: Secrets = NO_SECRETS) -> ModelRefused:
    """A proxy answered 407 in place of the provider. `proxy`: its host; None: unknown."""
    which = f"the proxy {proxy}" if proxy else "the proxy"
    detail = f"{which} wants other credentials (407): they are in the variable that names it"
    return refused(settings, detail, secrets)


def unreachable(settings: ModelSettings, detail: str, secrets: Secrets = NO_SECRETS) -> ModelError:
    """Nobody listens at the address. An Ollama on this machine has to be started: another try wouldn't help."""
    if settings.provider == "ollama" and (settings.api_base is None or is_loopback(settings.api_base)):
        text = brief(f"is Ollama running? Start it with `ollama serve`: {detail}", secrets)
        return ModelRefused(text, provider=settings.provider, model=settings.model)
    return never_sent(settings, detail, secrets)


def from_status(
    settings: ModelSettings,
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str],
    secrets: Secrets,
    now: datetime,
    pause: float | None = None,
    inside_reply: bool = False,
) -> ModelError:
    """The error for an HTTP error status. `detail`: the provider's error text; `headers`: those of the response.

    `pause`: seconds that the error's body demands before the next call.
    `inside_reply`: the status wasn't that of the response, but was read in its body or derived from it, so a model may
    have run.
    """
    wait = retry_after(headers, now)
    wait = pause if wait is None else wait
    text = f"{brief(f'{_advice(settings, status, detail)}{_after_colon(detail)}', secrets)}{_too_long(wait)}"
    if status == 429:
        return RateLimited(text, provider=settings.provider, model=settings.model, retry_after=wait)
    if status >= 500 or status in _RETRYABLE:
        kind = ProviderError if inside_reply or status in _MAY_HAVE_RUN else ModelNeverRan
        return kind(text, provider=settings.provider, model=settings.model, retry_after=wait, answered=status)
    return ModelRefused(text, provider=settings.provider, model=settings.model, answered=status)


def from_response(
    settings: ModelSettings, status: int, body: str, *, headers: Mapping[str, str], secrets: Secrets, now: datetime
) -> ModelError:
    """The error for a response with an HTTP error status."""
    error = read_error(body)
    if status == 407:
        return proxy_refused(settings, None, secrets)
    if 300 <= status < 400:
        location = next((value for name, value in headers.items() if name.lower() == "location"), "")
        detail = f"{_redirect(settings, location)} ({status}), which isn't followed: name the address itself"
        return refused(settings, detail, secrets)
    return _of_code(settings, error, status, secrets=secrets, is_reply=False) or from_status(
        settings, status, error.text, headers=headers, secrets=secrets, now=now, pause=error.wait
    )


def from_broken_reply(settings: ModelSettings, broken_reply: BrokenReply, secrets: Secrets) -> ModelError:
    """The error for an answer with status 200 that can't be read, or is an error itself."""
    if not isinstance(broken_reply, ErrorInReply):
        return broken(settings, str(broken_reply), secrets)
    error = read_error(broken_reply.body)
    if error.is_page:
        detail = f"{settings.api_base or 'the provider'} answered with {error.text}. Is it the address of the API?"
        return ModelRefused(brief(detail, secrets), provider=settings.provider, model=settings.model)
    of_code = _of_code(settings, error, error.status, secrets=secrets, is_reply=True)
    if of_code is not None or error.status is None:
        return of_code or broken(settings, error.text, secrets)
    return from_status(
        settings,
        error.status,
        error.text,
        headers={},
        secrets=secrets,
        now=datetime.now(UTC),
        pause=error.wait,
        inside_reply=True,
    )


def _of_code(
    settings: ModelSettings, error: ErrorBody, status: int | None, *, secrets: Secrets, is_reply: bool
) -> ModelError | None:
    """The error for a code that says more than the status, else None."""
    if error.codes & _FILTERED:
        what = f"a content filter blocked the {'reply' if is_reply else 'prompt'}"
        detail = f"{what}{_after_colon(error.filters)}{_after_colon(error.text)}"
        return ReplyFiltered(brief(detail, secrets), provider=settings.provider, model=settings.model)
    if error.codes & _NO_JSON:
        detail = brief(f"the model didn't write the JSON that was asked for{_after_colon(error.text)}", secrets)
        return NoJson(detail, provider=settings.provider, model=settings.model)
    if error.codes & _NO_CREDIT:
        detail = f"the account has no credit left{f' ({status})' if status else ''}{_after_colon(error.text)}"
        return ModelRefused(brief(detail, secrets), provider=settings.provider, model=settings.model, answered=status)
    return None


def _redirect(settings: ModelSettings, location: str) -> str:
    """Names the host only: the rest of a location may contain secrets, and so may its user."""
    if not location.strip():
        return f"{settings.api_base or 'the provider'} redirects without saying where"
    try:
        target = urlsplit(location)
        host = target.netloc.rpartition("@")[2] or target.path
    except ValueError:
        host = "an address that is none"
    return f"{settings.api_base or 'the provider'} redirects to {host}"


def brief(text: str, secrets: Secrets = NO_SECRETS) -> str:
    """The text as one line of at most 300 characters, with the secrets masked."""
    line = " ".join(_SSL_CONTEXT.sub("", redact(whole_text(text), secrets)).split())
    return line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 1]}…"


def redact(text: str, secrets: Secrets) -> str:
    return Masker(secrets).text(text) if secrets else text


def cause_of(error: BaseException, secrets: Secrets) -> BaseException | None:
    """The error itself, or None if it, or one of its causes, contains a secret: a traceback would show it."""
    text = "".join(f"{each} {each!r}" for each in chain(error))
    return error if redact(text, secrets) == text else None


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes and contexts, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]


def _advice(settings: ModelSettings, status: int, detail: str) -> str:
    key = _key_of(settings)
    match status:
        case 401:
            return f"{key} was not accepted (401)"
        case 403:
            return f"{key} may not do this (403)"
        case 404:
            return f"{_not_found(settings, detail.lower())} (404)"
        case 429:
            return "too many requests (429)"
        case _ if status >= 500:
            return f"the provider failed ({status})"
        case _:
            return f"the request was not accepted ({status})"


def _key_of(settings: ModelSettings) -> str:
    """What the provider takes for the key. A header of the document replaces ours."""
    header = key_header(settings)
    if header is not None:
        return f"the document's header {header}"
    variable = key_variable(settings)
    return f"the key in {variable}" if variable else "the key"


def _not_found(settings: ModelSettings, detail: str) -> str:
    """Whether the model or the address is wrong. `detail`: in lower case."""
    where = f" at {settings.api_base}" if settings.api_base else ""
    if "model" in detail:
        return f"no model '{settings.model}'{where}: check its name"
    if "not found" in detail or "html page" in detail:
        return f"no API of this kind{where}: check the address"
    return f"no model '{settings.model}'{where}, or the address is wrong: check both"


def _after_colon(text: str) -> str:
    return f": {text}" if text.strip() else ""


def _too_long(wait: float | None) -> str:
    if wait is None or wait <= LONGEST_WAIT:
        return ""
    return f"; it demands a pause of {wait:,.0f} s, and a step waits for {LONGEST_WAIT:,.0f} s at most"
