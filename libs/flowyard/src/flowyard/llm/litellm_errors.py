"""Translates LiteLLM's exceptions into ours.

LiteLLM changes what happened (a 500 may come as BadRequestError, malformed JSON in a 200 as status 422), but every
exception keeps the original one as its cause. So the exceptions of the HTTP client are looked for first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from itertools import takewhile
from typing import Final

import aiohttp
import httpx
import openai

from flowyard.errors.steps import ModelError
from flowyard.language.nodes import ModelSettings
from flowyard.llm import failures
from flowyard.llm.event_stream import BrokenReply
from flowyard.llm.failures import Secrets
from flowyard.llm.litellm_setup import litellm

Timeouts = (httpx.TimeoutException, openai.APITimeoutError, TimeoutError)
Malformed = (LookupError, TypeError, AttributeError)
Lost = (httpx.TransportError, aiohttp.ClientError, ConnectionError)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_ADVICE: Final = re.compile(r"litellm|^To drop |^Original exception|^Traceback |reverse proxy", re.IGNORECASE)
"""LiteLLM's words about itself, after what the provider said."""
# Not httpx.ConnectError: LiteLLM raises it also for a connection that was lost after the request was sent.
NeverSent = (aiohttp.ClientConnectorError, httpx.UnsupportedProtocol)


def translate(error: BaseException, settings: ModelSettings, *, secrets: Secrets, now: datetime) -> ModelError:
    """The ModelError for any exception of a LiteLLM call. `now`: for a Retry-After that is a date."""
    chain = list(failures.chain(error))
    broken = next((each for each in chain if isinstance(each, BrokenReply)), None)
    if broken is not None:
        return failures.from_broken_reply(settings, broken, secrets)
    response = next((each.response for each in chain if isinstance(each, httpx.HTTPStatusError)), None)
    if response is not None:
        return failures.from_response(
            settings, response.status_code, _body(response), headers=response.headers, secrets=secrets, now=now
        )
    if any(isinstance(each, Timeouts) for each in chain):
        return failures.timed_out(settings)
    if any(isinstance(each, Lost) for each in chain):
        return _lost(chain, settings, secrets)
    if any(isinstance(each, json.JSONDecodeError) for each in chain):
        return failures.broken(settings, "the answer is not valid JSON")
    if _is_malformed(error, chain):
        return failures.broken(settings, "the answer is JSON, but not in this provider's format")
    return _from_litellm(error, settings, secrets=secrets, now=now)


def _lost(chain: list[BaseException], settings: ModelSettings, secrets: Secrets) -> ModelError:
    unreachable = next((each for each in chain if isinstance(each, aiohttp.ClientConnectorError)), None)
    if unreachable is not None:
        # Its own text has the repr of an SSLContext.
        where, why = f"{unreachable.host}:{unreachable.port}", unreachable.os_error
        return failures.unreachable(settings, f"can't connect to {where} ({why.strerror or why})", secrets)
    kind = failures.never_sent if any(isinstance(each, NeverSent) for each in chain) else failures.broken
    lost = next(each for each in chain if isinstance(each, Lost))
    return kind(settings, f"can't connect, or lost the connection: {str(lost) or type(lost).__name__}", secrets)


def _is_malformed(error: BaseException, chain: list[BaseException]) -> bool:
    """Whether LiteLLM failed to parse a response. It makes up the status: the provider sent no error."""
    if isinstance(error, litellm.UnsupportedParamsError):
        return False
    status = getattr(error, "status_code", 500)
    return status == 422 or (status in (400, 500) and any(isinstance(each, Malformed) for each in chain))


def _from_litellm(error: BaseException, settings: ModelSettings, *, secrets: Secrets, now: datetime) -> ModelError:
    """Our error for one inside a stream, or a request that LiteLLM refuses to send: there is no HTTP response."""
    detail = _own_words(str(getattr(error, "message", None) or error))
    status = getattr(error, "status_code", 500)
    headers: Mapping[str, str] = getattr(error, "litellm_response_headers", None) or {}
    return failures.from_status(
        settings, int(status), detail, headers=headers, secrets=secrets, now=now, inside_reply=True
    )


def _own_words(message: str) -> str:
    """`litellm.BadRequestError: OpenAIException - no luck. Set litellm.x = True` → `no luck.`"""
    head, dash, rest = message.partition(" - ")
    text = rest if dash and "Exception" in head else message
    while text.lower().startswith(("litellm.", "litellm: ")) and ": " in text:
        text = text.partition(": ")[2]
    sentences = _SENTENCE_END.split(text)
    return " ".join(takewhile(lambda sentence: not _ADVICE.search(sentence), sentences))


def _body(response: httpx.Response) -> str:
    try:
        return response.text
    except httpx.StreamError:
        return ""
