"""LiteLLM's exceptions as ours.

LiteLLM renames what happened (a 500 may come as BadRequestError, nonsense in a 200 as status 422), but every exception
keeps what it was made of behind it. So the wire's own exceptions are looked for first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

import aiohttp
import httpx
import openai

from flowyard.language.nodes import ModelSettings
from flowyard.llm import failures
from flowyard.llm.failures import Secrets
from flowyard.llm.litellm_setup import litellm
from flowyard.step_errors import ModelError

Timeouts = (httpx.TimeoutException, openai.APITimeoutError, TimeoutError)
Odd = (LookupError, TypeError, AttributeError)
Lost = (httpx.TransportError, aiohttp.ClientError, ConnectionError)
# Not httpx.ConnectError: LiteLLM turns a connection that is lost after the request into one, too.
NeverSent = (aiohttp.ClientConnectorError, httpx.UnsupportedProtocol)


def translate(error: BaseException, settings: ModelSettings, *, secrets: Secrets, now: datetime) -> ModelError:
    chain = list(failures.chain(error))
    answer = next((each.response for each in chain if isinstance(each, httpx.HTTPStatusError)), None)
    if answer is not None:
        said = failures.error_text(_body(answer))
        return failures.from_status(
            settings, answer.status_code, said, headers=answer.headers, secrets=secrets, now=now
        )
    if any(isinstance(each, Timeouts) for each in chain):
        return failures.timed_out(settings)
    lost = next((each for each in chain if isinstance(each, Lost)), None)
    if lost is not None:
        kind = failures.unreached if any(isinstance(each, NeverSent) for each in chain) else failures.broken
        return kind(settings, f"lost the connection or got none: {str(lost) or type(lost).__name__}", secrets)
    if any(isinstance(each, json.JSONDecodeError) for each in chain):
        return failures.broken(settings, "the answer is no valid JSON")
    if _is_odd(error, chain):
        return failures.broken(settings, "the answer is JSON, but not what this provider's answers look like")
    return _of_litellm(error, settings, secrets=secrets, now=now)


def _is_odd(error: BaseException, chain: list[BaseException]) -> bool:
    """Whether LiteLLM stumbled over an answer's form. The status is of its making: there was no error answer."""
    if isinstance(error, litellm.UnsupportedParamsError):
        return False
    status = getattr(error, "status_code", 500)
    return status == 422 or (status in (400, 500) and any(isinstance(each, Odd) for each in chain))


def _of_litellm(error: BaseException, settings: ModelSettings, *, secrets: Secrets, now: datetime) -> ModelError:
    """Nothing of the wire: an error inside a stream, or a call that LiteLLM itself won't make."""
    said = _without_names(str(getattr(error, "message", None) or error))
    status = getattr(error, "status_code", 500)
    # A parameter that the provider doesn't know has never reached it.
    if isinstance(error, litellm.UnsupportedParamsError):
        said = said.partition("To drop these")[0]
    headers: Mapping[str, str] = getattr(error, "litellm_response_headers", None) or {}
    return failures.from_status(settings, int(status), said, headers=headers, secrets=secrets, now=now, in_answer=True)


def _without_names(message: str) -> str:
    """`litellm.BadRequestError: OpenAIException - no luck` → `no luck`."""
    head, dash, rest = message.partition(" - ")
    said = rest if dash and "Exception" in head else message
    while said.lower().startswith(("litellm.", "litellm: ")) and ": " in said:
        said = said.partition(": ")[2]
    return said.partition("Traceback (most recent call last)")[0]


def _body(answer: httpx.Response) -> str:
    try:
        return answer.text
    except httpx.StreamError:
        return ""
