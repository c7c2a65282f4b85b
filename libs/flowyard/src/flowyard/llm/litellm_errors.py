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
from flowyard.outbound.lost_answers import UNPACKED, why_lost

Timeouts = (httpx.TimeoutException, openai.APITimeoutError, TimeoutError)
Malformed = (LookupError, TypeError, AttributeError)
Lost = (httpx.TransportError, aiohttp.ClientError, ConnectionError)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_ADVICE: Final = re.compile(r"litellm|^To drop |^Original exception|^Traceback |reverse proxy", re.IGNORECASE)
"""LiteLLM's words about itself, after what the provider said."""
# Not httpx.ConnectError: LiteLLM raises it also for a connection that was lost after the request was sent.
NeverSent = (aiohttp.ClientConnectorError, httpx.UnsupportedProtocol)


def translate(
    error: BaseException,
    settings: ModelSettings,
    *,
    secrets: Secrets,
    now: datetime,
    proxy: str | None = None,
    is_answered: bool = False,
) -> ModelError:
    """The ModelError for any exception of a LiteLLM call. `now`: for a Retry-After that is a date.

    `proxy`: the host of the proxy that the call went through. `is_answered`: see GuardedCall; so if no error was found
    in the answer, LiteLLM can't read it, whatever status it makes up.
    """
    chain = list(failures.chain(error))
    broken = next((each for each in chain if isinstance(each, BrokenReply)), None)
    if broken is not None:
        return failures.from_broken_reply(settings, broken, secrets)
    response = next((each.response for each in chain if isinstance(each, httpx.HTTPStatusError)), None)
    if response is not None and response.status_code == 407:
        return failures.proxy_refused(settings, proxy, secrets)
    if response is not None:
        return failures.from_response(
            settings, response.status_code, _body(response), headers=response.headers, secrets=secrets, now=now
        )
    if any(isinstance(each, Timeouts) for each in chain):
        return failures.timed_out(settings)
    if any(isinstance(each, httpx.DecodingError) for each in chain):
        return failures.broken(settings, UNPACKED)
    if any(isinstance(each, Lost) for each in chain):
        return _lost(chain, settings, secrets, proxy)
    if any(type(each).__module__ == "botocore.eventstream" for each in chain):
        return failures.broken(settings, "the stream is malformed")
    if any(_is_cut_off(each) for each in chain):
        return failures.broken(settings, "the stream ended in the middle of the reply")
    if any(type(each).__module__ == "google.auth.exceptions" for each in chain):
        detail = "no access to Google Cloud: are the credentials in GOOGLE_APPLICATION_CREDENTIALS right?"
        return failures.refused(settings, detail)
    if any(isinstance(each, json.JSONDecodeError) or "int_max_str_digits" in str(each) for each in chain):
        return failures.broken(settings, "the answer is not valid JSON")
    if _is_malformed(error, chain):
        return failures.broken(settings, "the answer is JSON, but not in this provider's format")
    if is_answered:
        return failures.broken(settings, "the answer is not in this provider's format")
    return _from_litellm(error, settings, secrets=secrets, now=now)


def _lost(chain: list[BaseException], settings: ModelSettings, secrets: Secrets, proxy: str | None) -> ModelError:
    where = settings.api_base or "the provider"
    detail = f"{where}{f' through the proxy {proxy}' if proxy else ''} ({why_lost(_first_lost(chain))})"
    by_proxy = next((each for each in chain if isinstance(each, aiohttp.ClientHttpProxyError)), None)
    if by_proxy is not None and by_proxy.status == 407:
        return failures.proxy_refused(settings, proxy, secrets)
    unreachable = next((each for each in chain if isinstance(each, aiohttp.ClientConnectorError)), None)
    if unreachable is not None and not proxy:
        at = settings.api_base or f"{unreachable.host}:{unreachable.port}"
        return failures.unreachable(settings, f"can't connect to {at} ({why_lost([unreachable])})", secrets)
    if by_proxy is not None or any(isinstance(each, NeverSent) for each in chain):
        return failures.never_sent(settings, f"can't connect to {detail}", secrets)
    return failures.broken(settings, f"lost the connection to {detail}", secrets)


def _is_cut_off(error: BaseException) -> bool:
    """Whether a stream of Bedrock's ended too early. The status is LiteLLM's: of a real one there is a response."""
    return type(error).__name__ == "BedrockError" and getattr(error, "status_code", None) == 502


def _first_lost(chain: list[BaseException]) -> list[BaseException]:
    """The error of a connection, and what caused it: LiteLLM's words around it are left out."""
    first = next(index for index, each in enumerate(chain) if isinstance(each, Lost))
    return chain[first:]


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
