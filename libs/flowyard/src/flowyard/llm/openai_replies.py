"""Reads answers in OpenAI's chat-completions format, whole or streamed, from their bytes. Pure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from flowyard.llm import failures
from flowyard.llm.calls import ModelReply, OnToken, Usage, token_count
from flowyard.llm.event_stream import BrokenReply, EventStream
from flowyard.llm.streamed_text import StreamedText, whole_text

_PER_BYTE: Final = 16
"""Most bytes of a stream for each byte of the limit: a token of some bytes is an event of hundreds."""
_BLANK: Final = b" \t\r\n\xef\xbb\xbf"


def too_large(limit: int) -> BrokenReply:
    return BrokenReply(f"the reply is larger than {limit:,} bytes: FLOWYARD_REPLY_LIMIT is the limit")


def read_reply(body: bytes) -> ModelReply:
    """The reply in a whole answer. Raises ValueError, LookupError, TypeError, AttributeError or RecursionError."""
    answer = json.loads(body)
    _refuse_error(answer)
    text = answer["choices"][0]["message"].get("content") or ""
    if not isinstance(text, str):
        raise TypeError("the content is not a text")
    return ModelReply(whole_text(text), _usage_in(answer) or Usage(), None)


class StreamedReply:
    """Receives the chunks of a streamed answer. A whole answer is read, too: some servers send nothing else.

    `started`: the time of the request (`perf_counter`). `limit`: most bytes of the text, or of a whole answer.
    `is_complete`: the stream's last event was there.

    Its methods raise what `read_reply` raises; BrokenReply says what is wrong.
    """

    def __init__(self, on_token: OnToken, limit: int, *, started: float) -> None:
        self._limit = limit
        self._text = StreamedText(on_token, started=started)
        self._events = EventStream()
        self._whole: bytearray | None = None
        self._usage = Usage()
        self._received = self._size = 0
        self._has_begun = self._is_finished = self.is_complete = False

    def feed(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if not self._has_begun and (start := chunk.lstrip(_BLANK)):
            self._has_begun = True
            # No line of an event stream begins with a brace.
            if start.startswith(b"{"):
                self._whole, chunk = bytearray(), start
        if self._received > self._limit * (1 if self._whole is not None else _PER_BYTE):
            raise too_large(self._limit)
        if self._whole is not None:
            self._whole += chunk
            return
        for data in self._events.feed(chunk):
            self._read_event(data)

    def end(self) -> ModelReply:
        if self._whole is not None:
            reply = read_reply(bytes(self._whole))
            self._add(reply.text)
            return replace(reply, first_token_s=self._text.first_token_s)
        if not self._is_finished:
            self._read_last_event()
        return ModelReply(self._text.end(), self._usage, None, self._text.first_token_s)

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
            self._is_finished = self.is_complete = True
            return
        event = json.loads(data)
        _refuse_error(event)
        self._usage = _usage_in(event) or self._usage
        for choice in event.get("choices") or ():
            self._is_finished = self._is_finished or choice.get("finish_reason") is not None
            self._add((choice.get("delta") or {}).get("content"))

    def _add(self, text: str | None) -> None:
        if not text:
            return
        self._size += len(text.encode(errors="surrogatepass"))
        if self._size > self._limit:
            raise too_large(self._limit)
        self._text.add(text)


def _refuse_error(answer: Any) -> None:
    if answer.get("error"):
        raise BrokenReply(failures.error_text(json.dumps(answer)))


def _usage_in(answer: Any) -> Usage | None:
    """The usage, wherever a server puts it: most at the top, Moonshot in the choice, Groq in a field of its own.

    None: there is none. A malformed usage is unknown: don't lose a good reply for it.
    """
    places = (answer, *(answer.get("choices") or ()), answer.get("x_groq"))
    usages = (place.get("usage") for place in places if isinstance(place, dict))
    usage = next((usage for usage in usages if isinstance(usage, dict)), None)
    if usage is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(*(token_count(n) for n in (usage.get("prompt_tokens"), usage.get("completion_tokens"), cached)))
