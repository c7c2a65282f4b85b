"""Which chat an event came from, and which addresses the chats have."""

from __future__ import annotations

from typing import Any

import pytest

from flowyard.chats.messages import ReplyMessage
from flowyard.chats.platforms import CHATS, PLATFORMS, Chat, read_bases
from flowyard.chats.slack import is_of_a_bot

PRIVATE = {"id": 42, "type": "private"}


@pytest.mark.parametrize(
    ("chat", "payload", "target"),
    [
        ("telegram", {"message": {"chat": PRIVATE, "message_id": 3}}, {"chat": "42"}),
        (
            "telegram",
            {"message": {"chat": {"id": -1, "type": "supergroup"}, "message_id": 3, "message_thread_id": 7}},
            {"chat": "-1", "message": 3},
        ),
        (
            "telegram",
            {"channel_post": {"chat": {"id": -1, "type": "forum"}, "message_thread_id": 7, "is_topic_message": True}},
            {"chat": "-1", "topic": 7},
        ),
        ("telegram", {"callback_query": {"id": "1", "message": {"chat": PRIVATE}}}, {"chat": "42"}),
        ("telegram", {"inline_query": {"id": "1"}}, None),
        ("whatsapp", {"message": {"from": "49"}, "metadata": {"phone_number_id": "9"}}, {"chat": "49", "number": "9"}),
        ("whatsapp", {"message": {"from": "49"}, "metadata": None}, None),
        ("slack", {"event": {"channel": "D1", "channel_type": "im", "ts": "1.2"}}, {"chat": "D1", "channel": "D1"}),
        (
            "slack",
            {"event": {"channel": "D1", "channel_type": "im", "ts": "1.2", "thread_ts": "1.1"}},
            {"chat": "D1", "channel": "D1", "thread": "1.1"},
        ),
        (
            "slack",
            {"type": "block_actions", "channel": {"id": "C1"}, "response_url": "https://a.example"},
            {"chat": "C1", "channel": "C1", "url": "https://a.example"},
        ),
        ("slack", {"event": {"type": "team_join", "user": {"id": "U1"}}}, None),
        ("discord", {"application_id": "8", "token": "t"}, {"chat": "-", "application": "8", "interaction": "t"}),
        ("discord", {"application_id": "8", "type": 1, "event": {"type": "APPLICATION_AUTHORIZED"}}, None),
    ],
)
def test_an_event_is_answered_where_it_came_from(chat: Chat, payload: Any, target: object) -> None:
    assert PLATFORMS[chat].target(payload) == target


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize(
    "payload", [None, [], "text", 1, {"message": 1, "event": [], "token": {}}, {"message": {"chat": {"id": True}}}]
)
def test_what_is_no_message_has_no_target(chat: Chat, payload: Any) -> None:
    assert PLATFORMS[chat].target(payload) is None


def test_messages_of_bots_are_known() -> None:
    assert is_of_a_bot({"event": {"bot_id": "B1"}})
    assert is_of_a_bot({"event": {"subtype": "bot_message"}})
    assert not is_of_a_bot({"event": {"user": "U1"}})


def test_ids_of_senders_can_not_lead_to_another_address() -> None:
    target = {"chat": "-", "application": "8/../..", "interaction": "a?b#c", "channel": "1/2"}
    for is_late in (False, True):
        request = PLATFORMS["discord"].request(ReplyMessage(target, "a", 0, is_late, "t"), "https://d.example/api")
        assert request is not None
        assert request.url in (
            "https://d.example/api/webhooks/8%2F..%2F../a%3Fb%23c/messages/@original",
            "https://d.example/api/channels/1%2F2/messages",
        )


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"1", b'{"ok": "yes"}', b"[" * 100_000])
@pytest.mark.parametrize("chat", CHATS)
def test_any_answer_of_a_broken_server_is_tried_again(chat: Chat, body: bytes) -> None:
    refusal = PLATFORMS[chat].refusal(502, body)
    assert refusal is not None
    assert not refusal.is_final
    assert "502" in refusal.reason


def test_addresses_of_chats_can_be_replaced() -> None:
    bases = read_bases("telegram=http://127.0.0.1:8081/, slack=https://slack.example/api")
    assert bases == {"telegram": "http://127.0.0.1:8081", "slack": "https://slack.example/api"}
    for wrong in ("telegram", "irc=https://a.example", "slack=ftp://a.example"):
        with pytest.raises(ValueError, match="should"):
            read_bases(wrong)
