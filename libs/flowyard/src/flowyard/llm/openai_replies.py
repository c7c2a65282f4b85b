"""Reads answers in OpenAI's chat-completions format, whole or streamed, from their bytes. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from flowyard.llm.calls import ModelReply, OnToken, Usage, token_count
from flowyard.llm.direct_prices import Billing
from flowyard.llm.endings import BROKEN, Outcome, stopped_in_the_middle
from flowyard.llm.error_bodies import filter_names, refuse_error, refuse_event, refuse_page
from flowyard.llm.event_stream import BrokenReply, EventDecoder, too_large
from flowyard.llm.streamed_text import StreamedText, whole_text
from flowyard.llm.tool_calls import ToolCalls

MAX_STREAM_RATIO: Final = 16
"""Most bytes of a stream for each byte of the limit: a token of some bytes is an event of hundreds."""
_BLANK: Final = b" \t\r\n\xef\xbb\xbf"


def read_reply(body: bytes) -> tuple[ModelReply, Billing]:
    """The reply in a whole answer, without its cost.

    Raises ValueError, LookupError, TypeError, AttributeError or RecursionError.
    """
    if body.lstrip(_BLANK).startswith(b"<"):
        refuse_page(body.decode(errors="replace"))
    answer = _parsed(body)
    refuse_error(answer)
    choice = answer["choices"][0]
    text = _text_in(choice["message"].get("content"))
    outcome = Outcome()
    outcome.reasoning.add(_reasoning_tokens(answer.get("usage")))
    outcome.identify(answer.get("model"), answer.get("id"))
    _add_choice(outcome, choice, choice["message"])
    calls = ToolCalls(len(body))
    calls.add(choice["message"].get("tool_calls"))
    usage, billing = _usage_in(answer) or (Usage(), Billing(tier=answer.get("service_tier")))
    ending, reasoning = outcome.ending(text), outcome.reasoning.text()
    origin = outcome.origin()
    return ModelReply(whole_text(text), usage, None, None, ending, reasoning, origin, calls.end()), billing


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except UnicodeDecodeError:
        # As in a stream, what isn't UTF-8 is replaced: some servers cut a character at the end of a reply.
        return json.loads(body.decode(errors="replace"))


def _add_choice(outcome: Outcome, choice: Mapping[str, Any], message: Mapping[str, Any]) -> None:
    """`message`: the choice's message, or a piece of it."""
    outcome.reason = choice.get("finish_reason") or outcome.reason
    if outcome.reason in BROKEN:
        raise BrokenReply(stopped_in_the_middle(outcome.reason))
    refusal = message.get("refusal")
    outcome.refusal += refusal if isinstance(refusal, str) else ""
    outcome.filters = filter_names(choice) or outcome.filters
    thoughts = message.get("reasoning_content") or message.get("reasoning") or _thoughts_in(message.get("content"))
    if thoughts:
        outcome.reasoning.add(thoughts)


def _text_in(content: Any) -> str:
    """The text of a message. Mistral's reasoning models send a list of parts; others, such as thoughts, are no text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text_in(part.get("text")) for part in content if part.get("type") == "text")
    if content is not None:
        raise TypeError("the content is not a text")
    return ""


def _thoughts_in(content: Any) -> str:
    if not isinstance(content, list):
        return ""
    return "".join(_text_in(part.get("thinking")) for part in content if part.get("type") == "thinking")


def _reasoning_tokens(usage: Any) -> Any:
    return _in_details(usage, "completion_tokens_details", "reasoning_tokens") if isinstance(usage, dict) else None


class StreamedReply:
    """Receives the chunks of a streamed answer. A whole answer is read, too: some servers send nothing else.

    `started`: the time of the request (`perf_counter`). `limit`: most bytes of the text, or of a whole answer.
    `is_complete`: the stream's last event was there.

    Its methods raise what `read_reply` raises; BrokenReply says what is wrong.
    """

    def __init__(self, on_token: OnToken, limit: int, *, started: float) -> None:
        self._limit = limit
        self._text = StreamedText(on_token, limit, started=started)
        self._events = EventDecoder()
        self._whole: bytearray | None = None
        self._usage, self._billing = Usage(), Billing()
        self._tier: Any = None
        self._outcome = Outcome()
        self._calls = ToolCalls(limit)
        self._received = 0
        self._has_begun = self.is_complete = False

    def feed(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if not self._has_begun and (start := chunk.lstrip(_BLANK)):
            self._has_begun = True
            # No line of an event stream begins with a brace, or with the bracket of HTML.
            if start.startswith((b"{", b"<")):
                self._whole, chunk = bytearray(), start
        if self._received > self._limit * (1 if self._whole is not None else MAX_STREAM_RATIO):
            raise too_large(self._limit)
        if self._whole is not None:
            self._whole += chunk
            return
        for data in self._events.feed(chunk):
            refuse_event(self._events.kind, data)
            self._read_event(data)

    def end(self) -> tuple[ModelReply, Billing]:
        if self._whole is not None:
            reply, billing = read_reply(bytes(self._whole))
            self._add(reply.text)
            return replace(reply, first_token_s=self._text.first_token_s), billing
        if not self._is_finished:
            self._read_last_event()
        text = self._text.end()
        ending, reasoning = self._outcome.ending(text), self._outcome.reasoning.text()
        first_token_s, origin = self._text.first_token_s, self._outcome.origin()
        reply = ModelReply(text, self._usage, None, first_token_s, ending, reasoning, origin, self._calls.end())
        return reply, replace(self._billing, tier=self._tier)

    @property
    def _is_finished(self) -> bool:
        return self.is_complete or self._outcome.reason is not None

    def _read_last_event(self) -> None:
        for data in self._events.end():
            try:
                self._read_event(data)
            except json.JSONDecodeError:
                # The connection was lost in the middle of the event.
                break
        if not self._is_finished:
            raise BrokenReply("the stream ended in the middle of the reply")

    def _read_event(self, data: str) -> None:
        if self.is_complete:
            return
        if data == "[DONE]":
            self.is_complete = True
            return
        event = json.loads(data)
        refuse_error(event)
        if (usage := _usage_in(event)) is not None:
            self._usage, self._billing = usage
        self._outcome.identify(event.get("model"), event.get("id"))
        self._tier = event.get("service_tier", self._tier)
        self._outcome.reasoning.add(_reasoning_tokens(event.get("usage")))
        for choice in event.get("choices") or ():
            if choice.get("index"):
                # Of another reply: `n` asks for several.
                continue
            delta = choice.get("delta") or {}
            _add_choice(self._outcome, choice, delta)
            self._calls.add(delta.get("tool_calls"))
            self._add(_text_in(delta.get("content")))

    def _add(self, text: str) -> None:
        if text:
            self._text.add(text)


def _usage_in(answer: Any) -> tuple[Usage, Billing] | None:
    """The usage, wherever a server puts it: most at the top, Moonshot in the choice, Groq in a field of its own.

    None: there is none. A malformed usage is unknown: don't lose a good reply for it.
    """
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        # A loop: each chunk of a stream comes here, and most have none.
        for place in (*(answer.get("choices") or ()), answer.get("x_groq")):
            if isinstance(place, dict) and isinstance(usage := place.get("usage"), dict):
                break
        else:
            return None
    cached = _in_details(usage, "prompt_tokens_details", "cached_tokens")
    reported = [usage.get("prompt_tokens"), usage.get("completion_tokens"), cached]
    reasoning = token_count(_in_details(usage, "completion_tokens_details", "reasoning_tokens")) or 0
    counts = [token_count(number) for number in reported]
    is_sound = counts.count(None) == reported.count(None)
    if reasoning and usage.get("total_tokens") == sum(count or 0 for count in counts[:2]) + reasoning:
        # So xAI: elsewhere, they are among the tokens of the reply.
        counts[1] = (counts[1] or 0) + reasoning
    return Usage(*counts), Billing(
        tier=answer.get("service_tier"), usd=usage.get("cost"), reasoning_tokens=reasoning, is_sound=is_sound
    )


def _in_details(usage: Mapping[str, Any], details: str, name: str) -> Any:
    inner = usage.get(details)
    return inner.get(name) if isinstance(inner, dict) else None
