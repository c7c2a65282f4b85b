"""`slack.post`: posts a message to a channel of Slack, by the token of an app, or by a webhook, which has one channel.
https://docs.slack.dev/reference/methods/chat.postMessage
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from flowyard.chats import slack
from flowyard.chats.messages import ChatRequest, ReplyMessage, json_request, part
from flowyard.chats.platforms import PLATFORMS
from flowyard.language.tools import ToolFacts
from flowyard.tools.sending import send, without
from flowyard.tools.services import SlackService, ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

_SECONDS: Final = 20.0
_MOST_BYTES: Final = 100_000

FACTS: Final = ToolFacts(
    name="slack.post",
    description="Posts a text to a channel of Slack.",
    parameters={
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": slack.LIMIT},
            "channel": {
                "type": "string",
                "minLength": 1,
                "maxLength": 100,
                "description": "Its id, or #name. Not needed if the installation has a webhook, which has one channel.",
            },
            "thread": {"type": "string", "maxLength": 40, "description": "The ts of the message that is answered."},
        },
        "required": ["text"],
        "additionalProperties": False,
    },
    effects=frozenset({"network"}),
    guarded="channel",
    once=True,
)


def tool(services: ToolServices) -> Tool:
    return Tool(FACTS, partial(_run, services))


async def _run(services: ToolServices, arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
    # Inline: who only checks documents needs no client.
    from flowyard.outbound.requests import OutboundRequest  # noqa: PLC0415

    del context
    if services.slack is None or services.trusted_http is None:
        raise ToolFailed("Slack isn't set up: set FLOWYARD_SLACK_TOKEN or FLOWYARD_SLACK_WEBHOOK")
    posted = _request(services.slack, arguments)
    request = OutboundRequest(
        method=posted.method,
        url=posted.url,
        headers=posted.headers,
        body=posted.body,
        total_s=_SECONDS,
        answer_limit=_MOST_BYTES,
        cut=True,
    )
    answer = await send(services.trusted_http, request)
    if (refusal := PLATFORMS["slack"].refusal(answer.status, answer.body)) is not None:
        reason = without(refusal.reason, services.slack.token, services.slack.webhook)
        raise ToolFailed(f"Slack didn't take the message: {reason}")
    return {"sent": True, **_place(answer.body)}


def _request(service: SlackService, arguments: Mapping[str, Any]) -> ChatRequest:
    text, channel, thread = slack.escape(arguments["text"]), arguments.get("channel"), arguments.get("thread")
    if channel is None and service.webhook:
        if thread is not None:
            raise ToolFailed("with a webhook, there is no 'thread'")
        return json_request("POST", service.webhook, {"text": text, "mrkdwn": False})
    if not service.token:
        raise ToolFailed("FLOWYARD_SLACK_WEBHOOK has its own channel: leave out 'channel', or set FLOWYARD_SLACK_TOKEN")
    if channel is None:
        raise ToolFailed("'channel' is needed")
    target = {"channel": channel} | ({"thread": thread} if thread is not None else {})
    request = slack.request(ReplyMessage(target, text, 0, True, service.token), service.base)  # noqa: FBT003
    assert request is not None  # noqa: S101  # there is a channel and a token
    return request


def _place(body: bytes) -> dict[str, str]:
    """Where the message is, if Slack says so: a webhook's answer is only `ok`."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return {name: value for name in ("channel", "ts") if isinstance(value := part(answer, name), str)}
