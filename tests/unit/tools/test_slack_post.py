"""`slack.post`, by a token and by a webhook, against a server that answers as Slack does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowyard.tools.services import SlackService, ToolServices
from flowyard.tools.tool import ToolResult
from support.outside import Outside, outside
from support.reaching import answering, called

TOKEN = "xoxb-that-nobody-may-see"
SECRET = "T0/B0/that-nobody-may-see"


async def posted(server: Outside, *, by: str, allow: tuple[str, ...] = (), **given: Any) -> ToolResult:
    base = f"http://127.0.0.1:{server.port}"
    service = (
        SlackService(token=TOKEN, base=base) if by == "token" else SlackService(webhook=f"{base}/services/{SECRET}")
    )
    arguments = {"text": "Rain <!channel> & wind", **given}
    return await called("slack.post", arguments, allow=allow, services=ToolServices(slack=service))


async def test_a_token_posts_to_a_channel_and_nobody_is_mentioned() -> None:
    async with outside(answering('{"ok": true, "channel": "C1", "ts": "1.2", "message": {}}')) as server:
        result = await posted(server, by="token", channel="C1", thread="1.1")
    head, _, body = server.heads[0].partition("\r\n\r\n")
    assert head.startswith("POST /chat.postMessage HTTP/1.1\r\n")
    assert f"Authorization: Bearer {TOKEN}" in head
    assert json.loads(body) == {
        "text": "Rain &lt;!channel&gt; &amp; wind",
        "mrkdwn": False,
        "channel": "C1",
        "link_names": False,
        "thread_ts": "1.1",
    }
    assert result.value == {"sent": True, "channel": "C1", "ts": "1.2"}


async def test_a_webhook_posts_to_its_own_channel() -> None:
    async with outside(answering("ok", "text/plain")) as server:
        result = await posted(server, by="webhook")
        channel = await posted(server, by="webhook", channel="C2")
    head, _, body = server.heads[0].partition("\r\n\r\n")
    assert head.startswith(f"POST /services/{SECRET} HTTP/1.1\r\n")
    assert json.loads(body) == {"text": "Rain &lt;!channel&gt; &amp; wind", "mrkdwn": False}
    assert (result.value, channel.outcome, len(server.heads)) == ({"sent": True}, "failed", 1)


@pytest.mark.parametrize(
    ("by", "answer"),
    [
        ("token", answering(json.dumps({"ok": False, "error": f"invalid_auth {TOKEN}"}))),
        ("webhook", answering(f"no_service for http://127.0.0.1:PORT/services/{SECRET}", "text/plain", 404)),
        ("token", answering(TOKEN, "text/plain", 500)),
        ("token", b"no HTTP " + TOKEN.encode()),
    ],
)
async def test_a_failure_names_no_secret_although_slack_repeats_it(by: str, answer: bytes) -> None:
    async with outside(answer) as server:
        given: dict[str, Any] = {"channel": "C1"} if by == "token" else {}
        result = await posted(server, by=by, **given)
    assert result.outcome == "failed"
    assert TOKEN not in str(result)
    assert SECRET not in str(result)


async def test_only_allowed_channels_are_posted_to() -> None:
    async with outside(answering('{"ok": true}')) as server:
        results = [await posted(server, by="token", allow=("C1",), channel=channel) for channel in ("C1", "C2")]
    assert [result.outcome for result in results] == ["ok", "denied"]
    assert len(server.heads) == 1


async def test_what_is_not_set_up_is_named() -> None:
    result = await called("slack.post", {"text": "rain"})
    assert result.error is not None
    assert "FLOWYARD_SLACK_TOKEN" in result.error
    assert TOKEN not in repr(SlackService(token=TOKEN, webhook=TOKEN))
