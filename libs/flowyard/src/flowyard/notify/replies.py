"""Sends the reply of a run to its chat, message by message. What the chat has taken isn't sent again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from flowyard.chats.messages import ChatRequest, ReplyMessage
from flowyard.chats.platforms import PLATFORMS, Chat, Platform
from flowyard.errors.outbound import OutboundError
from flowyard.errors.steps import EvaluationError
from flowyard.errors.webhooks import MissingWebhookSecret
from flowyard.language.replies import ChatReply
from flowyard.language.values.templates import parse_template
from flowyard.llm.pauses import retry_after
from flowyard.notify.outcome import SendOutcome, unanswered
from flowyard.notify.secrets import SigningSecrets
from flowyard.outbound.client import OutboundClient
from flowyard.outbound.requests import OutboundAnswer, OutboundRequest
from flowyard.runs.notifications import Taken
from flowyard.storage.notifications import Notifications
from flowyard.storage.runs import Runs

_READ: Final = 64 * 1024
"""Bytes of an answer that are read: it repeats the message."""
_TOO_LATE: Final = "it can't be answered directly any more, and for a message to the chat it needs a token"


@dataclass(frozen=True, slots=True)
class ReplyParts:
    """`bases`: addresses of platforms that are not as usual. `try_s`: for one message; `lease_s`: of the notification,
    from each message on.
    """

    notifications: Notifications
    runs: Runs
    client: OutboundClient
    secrets: SigningSecrets
    bases: Mapping[Chat, str]
    now: Callable[[], datetime]
    try_s: float
    lease_s: float


async def send_reply(parts: ReplyParts, taken: Taken, given: ChatReply) -> SendOutcome:
    """Raises UnknownRun, Unavailable."""
    platform = PLATFORMS[given.reply.chat]
    try:
        token = parts.secrets.resolved(given.reply.token) if given.reply.token is not None else ""
        text = await _text(parts, taken, given)
    except MissingWebhookSecret as error:
        return SendOutcome(failure=error.message, reason="unsigned")
    except EvaluationError as error:
        return SendOutcome(failure=f"the reply can't be made: {error.message}", reason="broken", is_final=True)
    messages = await asyncio.to_thread(platform.split, text)
    outcome = SendOutcome(200)
    for number in range(taken.messages, len(messages)):
        message = ReplyMessage(given.target, messages[number], number, _is_late(platform, given, parts.now()), token)
        outcome = await _send(parts, platform, given.reply.chat, message)
        if outcome.failure is not None:
            return outcome
        if not await parts.notifications.message_sent(taken, number + 1, lease_s=parts.lease_s):
            return SendOutcome(failure="another process sends it, too", reason="broken")
    return outcome


async def _text(parts: ReplyParts, taken: Taken, given: ChatReply) -> str:
    """Raises EvaluationError, UnknownRun, Unavailable."""
    if taken.run_status != "succeeded":
        return given.reply.failed
    template = parse_template(given.reply.text)
    run = await parts.runs.get(taken.id.run_id)
    values: dict[str, Any] = dict(run.outputs or {})
    for name in template.names & run.large_outputs.keys():
        values[name] = json.loads(await parts.runs.large_outputs.value(run.id, name, None))
    return template.render(values.get)


def _is_late(platform: Platform, given: ChatReply, now: datetime) -> bool:
    return platform.window_s is not None and (now - given.at).total_seconds() > platform.window_s


async def _send(parts: ReplyParts, platform: Platform, chat: Chat, message: ReplyMessage) -> SendOutcome:
    request = platform.request(message, parts.bases.get(chat, platform.base))
    if request is None:
        return SendOutcome(failure=_TOO_LATE, reason="unsigned", is_final=True)
    try:
        answer = await parts.client.send(_outbound(request, parts.try_s))
    except OutboundError as error:
        return unanswered(error)
    return _outcome(platform, answer, parts.now())


def _outbound(request: ChatRequest, try_s: float) -> OutboundRequest:
    return OutboundRequest(
        method=request.method,
        url=request.url,
        headers=request.headers,
        body=request.body,
        total_s=try_s,
        answer_limit=_READ,
        cut=True,
    )


def _outcome(platform: Platform, answer: OutboundAnswer, now: datetime) -> SendOutcome:
    refused = platform.refusal(answer.status, answer.body)
    if refused is None:
        return SendOutcome(answer.status)
    waits = (refused.retry_after_s, retry_after(answer.headers, now))
    after = max((each for each in waits if each is not None), default=None)
    return SendOutcome(answer.status, refused.reason, "answered", after, refused.is_final)
