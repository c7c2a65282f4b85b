from __future__ import annotations

from typing import Any

import pytest

from flowyard.openai_api.history import answer_message, bounded
from flowyard.openai_api.requests import count_new, has_history, is_background, joined, opening_of, session_name

SYSTEM = {"role": "system", "content": "be short"}
TITLE = "### Task:\nGenerate a concise, 3-5 word title for the chat."


def said(role: str, content: Any = "x") -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("headers", "metadata", "user", "name"),
    [
        ({"x-flowyard-session-id": "a", "x-openwebui-chat-id": "d"}, {"thread_id": "b"}, "c", "a"),
        ({"x-openwebui-chat-id": "d"}, {"thread_id": "b", "session_id": "s"}, "c", "b"),
        ({"x-openwebui-chat-id": "d"}, {"session_id": "s"}, "c", "s"),
        ({"x-openwebui-chat-id": "d"}, {"other": "s"}, "c", "c"),
        ({"x-openwebui-chat-id": "d"}, None, None, "d"),
        ({"x-openwebui-chat-id": ""}, {"thread_id": 7}, "", None),
        ({}, "text", None, None),
    ],
)
def test_the_session_is_taken_from_the_first_place_that_names_one(
    headers: dict[str, str], metadata: Any, user: Any, name: str | None
) -> None:
    assert session_name(headers, metadata, user) == name


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([said("user", TITLE)], True),
        ([SYSTEM, said("user", [{"type": "text", "text": TITLE}])], True),
        ([said("user", "  #### task:\nSuggest 3-5 follow-up questions")], True),
        ([said("user", "My ### Task: is hard")], False),
        ([said("user"), said("assistant"), said("user", TITLE)], False),
        ([said("user", None)], False),
    ],
)
def test_what_a_front_end_wants_for_itself_is_known_by_its_heading(messages: list[Any], *, expected: bool) -> None:
    assert is_background(messages) is expected


def test_an_answer_among_the_messages_is_a_history_and_what_follows_it_is_new() -> None:
    whole = [SYSTEM, said("user"), said("assistant"), said("user"), said("tool")]
    assert (has_history(whole), count_new(whole)) == (True, 2)
    assert (has_history(whole[:2]), count_new(whole[:2])) == (False, 1)


def test_new_messages_come_after_the_earlier_ones_and_new_instructions_replace_old_ones() -> None:
    earlier = [SYSTEM, said("user", 1), said("assistant", 2)]
    assert joined(earlier, [said("user", 3)]) == [*earlier, said("user", 3)]
    developer = said("developer", "be long")
    assert joined(earlier, [developer, said("user", 3)]) == [developer, *earlier[1:], said("user", 3)]


def test_the_oldest_turns_of_a_long_history_are_dropped_as_a_whole_and_never_the_instructions() -> None:
    turns = [[said("user", f"q{i}"), said("assistant", "a"), said("tool", "t")] for i in range(5)]
    history = [SYSTEM, *(message for turn in turns for message in turn)]
    assert bounded(history, most_bytes=10_000) == history
    assert bounded(history, most_bytes=10_000, most_turns=2) == [SYSTEM, *turns[3], *turns[4]]
    one_turn = bounded(history, most_bytes=200)
    assert one_turn == [SYSTEM, *turns[4]]
    assert bounded([SYSTEM], most_bytes=0) == [SYSTEM]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("hello", {"role": "assistant", "content": "hello"}),
        ({**said("assistant", None), "tool_calls": [1]}, {**said("assistant", None), "tool_calls": [1]}),
        ([said("user"), said("assistant", "last")], said("assistant", "last")),
        ([said("user")], None),
        (None, None),
        (7, None),
    ],
)  # fmt: skip
def test_an_answer_of_any_form_becomes_a_message(answer: Any, expected: Any) -> None:
    assert answer_message(answer) == expected


@pytest.mark.parametrize("message", [{}, {"role": []}, {"role": {}, "content": 7}, {"role": None, "content": [7, {}]}])
def test_messages_of_any_form_are_looked_at_before_they_are_checked(message: dict[str, Any]) -> None:
    messages = [message, said("user", 1)]
    assert not is_background(messages)
    assert (has_history(messages), count_new(messages)) == (False, 2)
    assert joined([], messages) == messages
    assert bounded(messages, most_bytes=10_000) == messages


@pytest.mark.parametrize(
    ("messages", "opening"),
    [
        ([{"role": "user", "content": "Where is\n  my order?"}], "Where is my order?"),
        ([{"role": "system", "content": "Be short"}, {"role": "user", "content": "Hi"}], "Hi"),
        ([{"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url"}]}], "Look"),
        ([{"role": "user", "content": " "}, {"role": "user", "content": "then"}], "then"),
        ([{"role": "user", "content": "x" * 1_000}], "x" * 200),
        ([{"role": "user", "content": "a\0b\ud800c"}], "a b c"),
        ([{"role": "tool", "content": "4"}], None),
        ([], None),
    ],
)
def test_a_conversation_is_recognised_by_the_beginning_of_what_its_user_says(
    messages: list[Any], opening: str | None
) -> None:
    assert opening_of(messages) == opening
