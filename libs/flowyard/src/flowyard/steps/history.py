"""The conversation that a prompt node takes: its messages in the order in which models want them, the oldest left out.

Pure. A turn begins with a message of the user, and lasts until the next one: the assistant's answers, its calls of
tools, and their results. Turns are left out as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from flowyard.errors.steps import EvaluationError
from flowyard.language.nodes import ChatHistory
from flowyard.language.values.conform import conform
from flowyard.language.values.types import MESSAGE, ListOf, nullable
from flowyard.llm.calls import ChatMessage
from flowyard.llm.messages import chat_message
from flowyard.steps.token_bounds import estimated_tokens

_KIND: Final = nullable(ListOf(MESSAGE))


def read_history(history: ChatHistory, values: Mapping[str, Any]) -> tuple[list[ChatMessage], list[ChatMessage]]:
    """The messages of the system, wherever they stand, and those of the turns that are kept.

    Raises EvaluationError if the field has something else.
    """
    problems: list[str] = []
    given = history.messages.value(values.get)
    messages = conform(_KIND, given, history.messages.text, problems)
    if problems:
        raise EvaluationError("; ".join(problems))
    chat = [chat_message(message) for message in messages or ()]
    system = [message for message in chat if message.role == "system"]
    turns = list(_turns(message for message in chat if message.role != "system"))
    first = _first_kept(turns, system, history)
    return system, [*_whole(turns, first)]


def _turns(messages: Iterator[ChatMessage]) -> Iterator[list[ChatMessage]]:
    turn: list[ChatMessage] = []
    for message in messages:
        if message.role == "user" and turn:
            yield turn
            turn = []
        turn.append(message)
    if turn:
        yield turn


def _first_kept(turns: Sequence[list[ChatMessage]], system: Sequence[ChatMessage], history: ChatHistory) -> int:
    """The index of the first turn that is kept. The last turn always is, however large it is."""
    last = len(turns) - 1
    first = max(0, len(turns) - history.max_turns) if history.max_turns is not None else 0
    if history.max_tokens is None:
        return first
    left = history.max_tokens - sum(map(estimated_tokens, system))
    for index in range(last, first - 1, -1):
        left -= sum(map(estimated_tokens, turns[index]))
        if left < 0:
            return min(index + 1, last)
    return first


def _whole(turns: Sequence[list[ChatMessage]], first: int) -> Iterator[ChatMessage]:
    """The messages from turn `first` on, without results of calls that were left out: providers refuse these."""
    left_out = {call.id for turn in turns[:first] for message in turn for call in message.tool_calls}
    for message in chain.from_iterable(turns[first:]):
        # Ids may come again: some servers number the calls of each answer.
        left_out.difference_update(call.id for call in message.tool_calls)
        if message.tool_call_id not in left_out:
            yield message
