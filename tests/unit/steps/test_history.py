"""Which messages of a conversation a prompt node shows its model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.errors.steps import EvaluationError
from flowyard.language.nodes import ChatHistory
from flowyard.language.values.templates import Placeholder, Template
from flowyard.llm.calls import ChatMessage
from flowyard.steps.history import read_history
from flowyard.steps.token_bounds import estimated_tokens

FIELD = Template("chat", (Placeholder("chat", (), -1),))


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str | None, *calls: str) -> dict[str, Any]:
    made = [{"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id_ in calls]
    return {"role": "assistant", "content": text, "tool_calls": made or None}


def result(id_: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": f"result of {id_}"}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def read(messages: Any, **limits: int) -> tuple[list[ChatMessage], list[ChatMessage]]:
    return read_history(ChatHistory(FIELD, **limits), {"chat": messages})


def texts(messages: list[ChatMessage]) -> list[Any]:
    return [message.content for message in messages]


CHAT = [system("s"), user("1"), assistant(None, "a"), result("a"), assistant("2"), user("3"), assistant("4"), user("5")]


def test_without_limits_all_is_kept_and_the_systems_messages_are_apart() -> None:
    of_system, kept = read([*CHAT, system("later")])
    assert texts(of_system) == ["s", "later"]
    assert texts(kept) == ["1", None, "result of a", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("turns", "kept"),
    [(1, ["5"]), (2, ["3", "4", "5"]), (3, ["1", None, "result of a", "2", "3", "4", "5"]), (9, ["1", None])],
)
def test_turns_are_left_out_from_the_oldest(turns: int, kept: list[str]) -> None:
    assert texts(read(CHAT, max_turns=turns)[1])[: len(kept)] == kept


def test_tokens_are_counted_from_the_end_and_turns_stay_whole() -> None:
    def cost(*messages: dict[str, Any]) -> int:
        return sum(map(estimated_tokens, read(messages)[1]))

    of_system, last, before = 5, cost(user("5")), cost(user("3"), assistant("4"))
    assert estimated_tokens(ChatMessage("system", "s")) == of_system
    assert texts(read(CHAT, max_tokens=of_system + last + before)[1]) == ["3", "4", "5"]
    assert texts(read(CHAT, max_tokens=of_system + last + before - 1)[1]) == ["5"]
    assert texts(read(CHAT, max_tokens=1000)[1])[0] == "1"


def test_the_last_turn_is_kept_however_large_it_is() -> None:
    assert texts(read([user("old"), user("new " * 1000)], max_tokens=1)[1]) == ["new " * 1000]
    assert texts(read([user("x"), assistant(None, "a"), result("a")], max_tokens=1, max_turns=1)[1])[0] == "x"


def test_both_limits_hold() -> None:
    assert texts(read(CHAT, max_tokens=1000, max_turns=1)[1]) == ["5"]
    assert texts(read(CHAT, max_tokens=12, max_turns=3)[1]) == ["5"]


def test_a_greeting_before_the_first_question_is_a_turn_of_its_own() -> None:
    assert texts(read([assistant("Welcome"), user("Hi")], max_turns=1)[1]) == ["Hi"]
    assert texts(read([assistant("Welcome"), user("Hi")])[1]) == ["Welcome", "Hi"]


def test_no_result_stays_without_its_call() -> None:
    late = [user("1"), assistant(None, "a"), user("2"), result("a"), assistant("b")]
    assert texts(read(late, max_turns=1)[1]) == ["2", "b"]
    assert "result of a" in texts(read(late)[1])
    # An id may come again: clients number the calls of each answer.
    again = [user("1"), assistant(None, "a"), result("a"), user("2"), assistant(None, "a"), result("a")]
    assert texts(read(again, max_turns=1)[1]) == ["2", None, "result of a"]


def test_nothing_yet_is_no_message() -> None:
    assert read(None) == read([]) == ([], [])
    assert read([], max_tokens=1, max_turns=1) == ([], [])


def test_a_field_of_any_type_is_checked_when_the_step_runs() -> None:
    with pytest.raises(EvaluationError, match=r"chat\[1\]\.content: missing"):
        read([user("1"), {"role": "user"}])
    assert texts(read([{"role": "developer", "content": "x"}])[0]) == ["x"]


TEXTS = st.text("a é你", max_size=40)
IDS = st.sampled_from("abc")
TURN = st.one_of(
    TEXTS.map(user),
    TEXTS.map(assistant),
    st.lists(IDS, min_size=1, max_size=2).map(lambda ids: assistant(None, *ids)),
    IDS.map(result),
    TEXTS.map(system),
)


@given(
    messages=st.lists(TURN, max_size=20), tokens=st.none() | st.integers(1, 200), turns=st.none() | st.integers(1, 6)
)
def test_what_is_kept_is_a_sound_end_of_the_conversation(
    messages: list[dict[str, Any]], tokens: int | None, turns: int | None
) -> None:
    # So that no two are equal.
    messages = [{**message, "content": f"{i} {message['content']}"} for i, message in enumerate(messages)]
    of_system, whole = read(messages)
    same, kept = read_history(ChatHistory(FIELD, tokens, turns), {"chat": messages})
    assert same == of_system
    users = [message for message in whole if message.role == "user"]
    # In order, and to the end.
    rest = iter(whole)
    assert all(any(each is message or each == message for each in rest) for message in kept)
    if users:
        assert users[-1] in kept
    if kept != whole and users:
        assert kept[0].role == "user"
    if turns is not None:
        assert sum(message.role == "user" for message in kept) <= turns
    if tokens is not None and sum(message.role == "user" for message in kept) > 1:
        assert sum(map(estimated_tokens, [*of_system, *kept])) <= tokens
    for place, message in enumerate(kept):
        if message.role == "tool":
            had_call = _called(whole[: whole.index(message)], message.tool_call_id)
            assert _called(kept[:place], message.tool_call_id) or not had_call


def _called(messages: list[ChatMessage], id_: str | None) -> bool:
    return any(call.id == id_ for message in messages for call in message.tool_calls)
