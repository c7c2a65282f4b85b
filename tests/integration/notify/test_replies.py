"""What chats get when a run has ended, over real HTTP, and what becomes of what they don't take."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from flowyard.chats.platforms import CHATS, PLATFORMS, Chat
from flowyard.language.on_finish import Receiver
from flowyard.language.replies import FAILED, ChatReply, Reply
from flowyard.notify.schedule import REPLY_PAUSES_S
from flowyard.runs.notifications import MAX_FAILURES, Notification
from flowyard.storage.notifications import NotificationFilter, Notifications
from support.chat_servers import TOKEN, ChatServer, chat_server
from support.receiving import Sending, sending
from support.stored import Stored, ending
from support.waiting import eventually

ENVIRON = {"A_BOT_TOKEN": TOKEN}
PAYLOADS: dict[Chat, Any] = {
    "telegram": {"message": {"message_id": 5, "chat": {"id": 42, "type": "group"}}},
    "whatsapp": {"metadata": {"phone_number_id": "9"}, "message": {"id": "wamid.A", "from": "49170"}},
    "slack": {"type": "event_callback", "event": {"channel": "C1", "ts": "17.1", "channel_type": "channel"}},
    "discord": {"application_id": "8", "token": "interaction-token", "channel_id": "42"},
}


def receiver(
    chat: Chat,
    text: str = "{answer}",
    *,
    payload: Any = None,
    failed: str = FAILED,
    token: bool = True,
    age_s: float = 0,
) -> Receiver:
    target = PLATFORMS[chat].target(payload or PAYLOADS[chat])
    assert target is not None
    reply = Reply(chat, text, failed, "${env:A_BOT_TOKEN}" if token else None)
    return Receiver.chat(ChatReply(reply, target, datetime.now(UTC) - timedelta(seconds=age_s)))


async def ended(stored: Stored, given: Receiver, answer: object = "hello", status: str = "succeeded") -> UUID:
    claim = await stored.claimed(on_finish=(given,))
    if status != "succeeded":
        await stored.finish(claim, status)
        return claim.run_id
    commit = ending(claim)
    commit.outputs = json.dumps({"answer": answer})
    await stored.committer.commit(commit)
    return claim.run_id


@asynccontextmanager
async def replying(stored: Stored, chat: Chat) -> AsyncIterator[tuple[ChatServer, Sending]]:
    async with chat_server(chat) as server, sending(stored, environ=ENVIRON, chat_urls={chat: server.url}) as sender:
        yield server, sender


async def in_state(stored: Stored, state: str, tries: int | None = None) -> Notification:
    async def reached() -> bool:
        [found] = await Notifications(stored.database).page(NotificationFilter(), 10)
        return found.state == state and (tries is None or len(found.answers) == tries)

    await eventually(reached)
    [notification] = await Notifications(stored.database).page(NotificationFilter(), 10)
    return notification


@pytest.mark.parametrize("chat", CHATS)
async def test_the_chat_gets_the_result_in_messages_that_it_takes(stored: Stored, chat: Chat) -> None:
    answer = " ".join(f"word{i}" for i in range(1000))
    async with replying(stored, chat) as (server, _):
        await ended(stored, receiver(chat), answer)
        notification = await in_state(stored, "sent")
    assert len(server.taken) > 1
    assert " ".join(server.texts).split() == answer.split()
    assert notification.url == f"{chat}:{PLATFORMS[chat].target(PAYLOADS[chat])['chat']}"  # type: ignore[index]
    assert [tried.status for tried in notification.answers] == [200]


async def test_a_group_of_telegram_sees_which_message_is_answered(stored: Stored) -> None:
    async with replying(stored, "telegram") as (server, _):
        await ended(stored, receiver("telegram"), "a_b <c>")
        await in_state(stored, "sent")
    assert server.taken[0].body == {
        "chat_id": "42",
        "text": "a_b <c>",
        "reply_parameters": {"message_id": 5, "allow_sending_without_reply": True},
    }


async def test_a_mention_in_slack_is_answered_in_its_thread_and_mentions_nobody(stored: Stored) -> None:
    async with replying(stored, "slack") as (server, _):
        await ended(stored, receiver("slack"), "<!channel> *a*")
        await in_state(stored, "sent")
    body = server.taken[0].body
    assert (body["thread_ts"], body["text"], body["mrkdwn"]) == ("17.1", "&lt;!channel&gt; *a*", False)


async def test_a_command_of_slack_is_answered_at_its_response_url_without_a_token(stored: Stored) -> None:
    async with replying(stored, "slack") as (server, _):
        payload = {"response_url": f"{server.url}/commands/T1/1/x", "channel_id": "C1"}
        await ended(stored, receiver("slack", payload=payload, token=False), "x" * 30_000)
        await in_state(stored, "sent")
    assert {each.place for each in server.taken} == {"/commands/T1/1/x"}
    assert len(server.taken) == 5


async def test_discord_edits_its_deferred_response_and_adds_the_rest(stored: Stored) -> None:
    async with replying(stored, "discord") as (server, sender):
        # The response that is edited may come later than the edit.
        server.refuse.append((404, {"message": "Unknown Webhook", "code": 10_015}, {}))
        await ended(stored, receiver("discord", token=False), "word " * 500)
        await in_state(stored, "waiting", tries=1)
        sender.later(seconds=2)
        await in_state(stored, "sent")
    webhook = "/webhooks/8/interaction-token"
    assert [each.place for each in server.taken] == [f"PATCH {webhook}/messages/@original", f"POST {webhook}"]
    assert all(each.body["allowed_mentions"] == {"parse": []} for each in server.taken)


@pytest.mark.parametrize("chat", ["slack", "discord"])
async def test_after_its_time_the_answer_goes_to_the_channel_if_there_is_a_token(stored: Stored, chat: Chat) -> None:
    payload = {"response_url": "http://127.0.0.1:1/", "channel_id": "C1"} if chat == "slack" else None
    async with replying(stored, chat) as (server, _):
        await ended(stored, receiver(chat, payload=payload, age_s=3600))
        await in_state(stored, "sent")
    assert server.taken[0].place in ("C1", "POST /channels/42/messages")


async def test_after_its_time_without_a_token_it_fails_at_once_and_says_why(stored: Stored) -> None:
    async with replying(stored, "discord") as (server, _):
        await ended(stored, receiver("discord", token=False, age_s=3600))
        notification = await in_state(stored, "failed")
    assert server.tries == 0
    assert "it needs a token" in str(notification.answers[0].failure)


async def test_a_busy_chat_is_left_alone_for_as_long_as_it_says(stored: Stored) -> None:
    answer = " ".join(f"word{i}" for i in range(1500))
    async with replying(stored, "telegram") as (server, sender):
        busy = {"ok": False, "description": "Too Many Requests", "parameters": {"retry_after": 9}}
        server.refuse.append((429, busy, {}))
        await ended(stored, receiver("telegram"), answer)
        waiting = await in_state(stored, "waiting", tries=1)
        assert waiting.next_at is not None
        assert waiting.next_at - waiting.answers[0].at >= timedelta(seconds=9)
        sender.later(seconds=10)
        await in_state(stored, "sent")
    assert " ".join(server.texts).split() == answer.split()
    assert server.tries == len(server.taken) + 1


async def test_a_reply_goes_on_after_the_message_that_failed(stored: Stored) -> None:
    answer = " ".join(f"word{i}" for i in range(1500))
    async with chat_server("telegram") as server:
        taking = server.take

        def second_fails(place: str, text: object, body: Any) -> str | None:
            return "long" if len(server.taken) == 1 else taking(place, text, body)

        server.take = second_fails  # type: ignore[method-assign]
        async with sending(stored, environ=ENVIRON, chat_urls={"telegram": server.url}) as sender:
            await ended(stored, receiver("telegram"), answer)
            failed = await in_state(stored, "failed")
            assert failed.answers[-1].failure == "it answered 400: Bad Request: message is too long"
            assert len(server.taken) == 1
            server.take = taking  # type: ignore[method-assign]
            await sender.notifications.replay(failed.id)
            await in_state(stored, "sent")
            assert " ".join(server.texts).split() == answer.split()
            # Once it was sent to its end, a replay sends it as a whole.
            await sender.notifications.replay(failed.id)
            await eventually(lambda: len(server.taken) == 4)


async def test_who_goes_on_after_a_sender_that_was_stopped_sends_only_the_rest(stored: Stored) -> None:
    answer = " ".join(f"word{i}" for i in range(1500))
    async with chat_server("telegram") as server:
        urls: dict[Chat, str] = {"telegram": server.url}
        async with sending(stored, environ=ENVIRON, chat_urls=urls):
            server.hold_after = 1
            await ended(stored, receiver("telegram"), answer)
            await eventually(lambda: server.tries == 2)
        server.released.set()
        async with sending(stored, environ=ENVIRON, chat_urls=urls):
            await in_state(stored, "sent")
    assert " ".join(server.texts).split() == answer.split()


async def test_who_has_lost_the_notification_sends_no_further_message(stored: Stored) -> None:
    async with replying(stored, "telegram") as (server, _):
        server.hold_after = 0
        await ended(stored, receiver("telegram"), "word " * 1500)
        await eventually(lambda: server.tries == 1)
        # As if its lease were over, and another process had taken it and sent it.
        await stored.database.execute("UPDATE notifications SET takes = takes + 1, state = 'sent', taken_until = NULL")
        server.released.set()
        await eventually(lambda: server.taken)
        await in_state(stored, "sent")
    assert len(server.taken) == 1


async def test_a_run_that_fails_is_answered_too_unless_the_document_wants_silence(stored: Stored) -> None:
    async with replying(stored, "telegram") as (server, _):
        await ended(stored, receiver("telegram"), status="failed")
        await in_state(stored, "sent")
        await ended(stored, receiver("telegram", failed=""), status="failed")
        assert (await stored.counts())["notifications"] == 1
    assert server.texts == [FAILED]


async def test_chats_are_tried_for_a_quarter_of_an_hour_and_are_never_disabled(stored: Stored) -> None:
    async with replying(stored, "telegram") as (server, sender):
        for number in range(MAX_FAILURES + 1):
            server.refuse = [(502, {}, {})] * (len(REPLY_PAUSES_S) + 1)
            run_id = await ended(stored, receiver("telegram"), f"{number}")
            for tries in range(1, len(REPLY_PAUSES_S) + 2):
                await tried(sender, run_id, tries)
                sender.later(minutes=10)
            [failed] = await sender.notifications.page(NotificationFilter(run_id=run_id), 10)
            assert (failed.state, server.refuse) == ("failed", [])
        [health] = await sender.notifications.receivers(after=None, limit=10)
        assert (health.failures, health.disabled_at) == (MAX_FAILURES + 1, None)
    assert sum(REPLY_PAUSES_S) * 1.1 < 15 * 60


async def tried(sender: Sending, run_id: UUID, times: int) -> None:
    """Returns when the answers to so many tries are recorded."""

    async def is_recorded() -> bool:
        [notification] = await sender.notifications.page(NotificationFilter(run_id=run_id), 10)
        return len(notification.answers) == times

    await eventually(is_recorded)


@pytest.mark.parametrize("chat", CHATS)
async def test_a_wrong_token_fails_at_once_and_is_never_shown(
    stored: Stored, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    age_s = 3600 if chat == "discord" else 0
    async with chat_server(chat) as server:
        environ = {"A_BOT_TOKEN": "4711:wr0ng"}
        async with sending(stored, environ=environ, chat_urls={chat: server.url}):
            await ended(stored, receiver(chat, age_s=age_s))
            failed = await in_state(stored, "failed")
    assert (server.taken, server.tries) == ([], 1)
    assert "4711:wr0ng" not in f"{failed.answers} {caplog.text}"


async def test_a_missing_token_is_reported_and_tried_again(stored: Stored) -> None:
    async with chat_server("telegram") as server, sending(stored, environ={}, chat_urls={"telegram": server.url}):
        await ended(stored, receiver("telegram"))
        waiting = await in_state(stored, "waiting", tries=1)
    assert "it needs the environment variable A_BOT_TOKEN" in str(waiting.answers[0].failure)


async def test_busy_services_of_meta_are_tried_again_although_they_answer_400(stored: Stored) -> None:
    async with replying(stored, "whatsapp") as (server, sender):
        error = {"message": "(#131056) Pair rate limit hit", "code": 131_056}
        server.refuse.append((400, {"error": error}, {}))
        await ended(stored, receiver("whatsapp"))
        await in_state(stored, "waiting", tries=1)
        sender.later(seconds=2)
        await in_state(stored, "sent")
    assert server.texts == ["hello"]


async def test_a_large_output_is_read_and_cut(stored: Stored) -> None:
    async with replying(stored, "telegram") as (server, _):
        await ended(stored, receiver("telegram", "Result: {answer}"), "word " * 80_000)
        await in_state(stored, "sent")
    assert len(server.taken) == 10
    assert server.texts[0].startswith("Result: word")
    assert server.texts[-1].endswith("[…]")
