"""`provider: scripted`: canned replies per node, for tests, demos and benchmarks. No model, no network, no delay."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Final, NoReturn, TypeAlias, assert_never

from flowyard.errors.requests import InvalidInputs
from flowyard.errors.steps import (
    ContentRefused,
    ModelError,
    ModelRefused,
    ModelTimeout,
    ProviderError,
    RateLimited,
    ReplyCutOff,
    ReplyFiltered,
    ReplyRefused,
)
from flowyard.language.canned import read_reply
from flowyard.language.problems import Problem, did_you_mean
from flowyard.language.reading.source import MAX_BYTES, MappingEntry, SourceError, decode, read_tree
from flowyard.language.reading.source_document import MAX_PROBLEMS, to_data
from flowyard.language.workflow import ErrorReply, Reply, ToolReply
from flowyard.llm import failures
from flowyard.llm.calls import NOWHERE, REPLY_LIMIT, ModelCall, ModelReply, OnToken, Origin, ToolCall, Usage
from flowyard.llm.event_stream import too_large

Replies: TypeAlias = Mapping[str, Reply | tuple[Reply, ...]]

INVALID_OUTPUT: Final = "invalid_output"
ERRORS: Final[Mapping[str, type[ModelError]]] = {
    error.code: error
    for error in (
        RateLimited,
        ModelTimeout,
        ProviderError,
        ModelRefused,
        ContentRefused,
        ReplyCutOff,
        ReplyRefused,
        ReplyFiltered,
    )
}
_WORDS: Final = re.compile(r"\s*\S+\s*|\s+")
_NO_USAGE: Final = Usage()
_FREE: Final = Decimal(0)


class ScriptedModel:
    """Answers with the canned reply of `call.node`. A tuple has one reply per call, in order.

    `reply_limit`: most bytes of a reply, as of any model's.
    """

    def __init__(self, replies: Replies, reply_limit: int = REPLY_LIMIT) -> None:
        self._replies, self._reply_limit = replies, reply_limit
        self._calls: Counter[str] = Counter()

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        reply = self._next_reply(call)
        calls: tuple[ToolCall, ...] = ()
        match reply:
            case str(text):
                pass
            case ToolReply(text, made):
                calls = tuple(map(ToolCall.of, made))
            case ErrorReply(code):
                text = _fail(code, call)
            case _:
                assert_never(reply)
        if len(text.encode(errors="surrogatepass")) > self._reply_limit:
            raise failures.broken(call.settings, str(too_large(self._reply_limit)))
        first_token_s = _send_words(text, on_token) if on_token and text else None
        origin = Origin(finish_reason="tool_calls") if calls else NOWHERE
        return ModelReply(text, _NO_USAGE, _FREE, first_token_s, origin=origin, tool_calls=calls)

    def _next_reply(self, call: ModelCall) -> Reply:
        self._calls[call.node] += 1
        replies = self._replies.get(call.node)
        if replies is None:
            _refuse(call, f"no canned reply for node '{call.node}'{self._hint(call.node)}")
        if not isinstance(replies, tuple):
            return replies
        number = self._calls[call.node]
        if number > len(replies):
            _refuse(call, f"no canned reply left for node '{call.node}' (call {number})")
        return replies[number - 1]

    def _hint(self, node: str) -> str:
        near = did_you_mean(node, self._replies)
        return f"{f' ({near})' if near else ''}: add '{node}: <reply>' to the replies"


def load_replies(path: Path) -> Replies:
    """Reads a YAML or JSON file `{node: reply | [reply, …]}`. Raises InvalidInputs with all problems of the file."""
    try:
        with path.open("rb") as file:
            tree = read_tree(decode(file.read(MAX_BYTES + 1)))
    except OSError as error:
        raise InvalidInputs([f"{path}: can't be read: {error.strerror or error}"]) from error
    except SourceError as error:
        raise InvalidInputs([_about_replies(error.problem).render(str(path))]) from error
    problems = list(tree.problems)
    replies = {name: _read_entry(name, entry, problems) for name, entry in tree.root.entries.items()}
    if problems:
        problems.sort(key=lambda problem: problem.position)
        raise InvalidInputs([problem.render(str(path)) for problem in problems[:MAX_PROBLEMS]])
    return replies


def _about_replies(problem: Problem) -> Problem:
    """The problem without the word "document": the reader expects one at the top level."""
    if problem.code not in ("empty-document", "wrong-type"):
        return problem
    message = "expected a mapping of node to reply"
    return Problem("wrong-type", message, problem.position, "write such as 'write: Hello'")


def _read_entry(name: str, entry: MappingEntry, problems: list[Problem]) -> Reply | tuple[Reply, ...]:
    try:
        return read_reply(to_data(entry.value))
    except ValueError as error:
        problems.append(Problem("invalid-reply", f"{name}: {error}", entry.value.position))
        return ""


def _fail(code: str, call: ModelCall) -> str:
    """Raises the error with this code; for `invalid_output` it returns "", a reply that fits no output."""
    if code == INVALID_OUTPUT:
        return ""
    settings = call.settings
    if code not in ERRORS:
        _refuse(call, f"no error code '{code}' for a canned reply")
    raise ERRORS[code](f"canned error {code}", provider=settings.provider, model=settings.model)


def _refuse(call: ModelCall, detail: str) -> NoReturn:
    raise ModelRefused(detail, provider=call.settings.provider, model=call.settings.model)


def _send_words(text: str, on_token: OnToken) -> float:
    """Passes the text to `on_token` word by word. Returns the seconds until the first word."""
    started = perf_counter()
    words = _WORDS.findall(text)
    on_token(words[0])
    first = perf_counter() - started
    for word in words[1:]:
        on_token(word)
    return first
