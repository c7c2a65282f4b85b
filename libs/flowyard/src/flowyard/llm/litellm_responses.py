"""HTTP responses as LiteLLM may see them: bounded, and streams in the simplest form that their format allows.

LiteLLM's readers keep whatever a server sends, however long it is, split text at line breaks that end no line of a
stream, and want each event's data in one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx

from flowyard.exact_json import json_fault
from flowyard.llm.error_bodies import refuse_error, refuse_event, refuse_page
from flowyard.llm.event_stream import ENCODINGS, BrokenReply, EventDecoder, LineDecoder, too_large
from flowyard.llm.litellm_counts import can_be_read, drop_counts, has_counts
from flowyard.llm.openai_replies import MAX_STREAM_RATIO
from flowyard.llm.providers import DIRECT
from flowyard.llm.whole_answers import event, events_of

ERROR_LIMIT: Final = 64_000
"""Bytes of an error's body that are read."""
_BLANK: Final = b" \t\r\n\xef\xbb\xbf"
_NOTHING: Final = re.compile(r""""error"\s*:\s*(?:null|false|""|0|\[\s*\]|\{\s*\})|"(?:parts|usage)"\s*:\s*null""")
_SECOND: Final = re.compile(r'"index"\s*:\s*[1-9]')
_EVENTS: Final = "text/event-stream"
_TEXTS: Final = frozenset({_EVENTS, "application/json", "application/octet-stream", "text/html", "text/plain"})
_DONE: Final = "[DONE]"
_LAST_EVENT: Final = "message_stop"
"""Of Anthropic's streams."""
_LINES_OF_JSON: Final = frozenset({"ollama", "ollama_chat"})
_EVENTS_OF_JSON: Final = frozenset({"anthropic", "azure", "azure_ai", "gemini", "vertex_ai", "vertex_ai_beta", *DIRECT})
"""Providers whose streams have nothing but JSON. Others may have plain text, too."""


@dataclass(slots=True)
class GuardedCall:
    """One call. `limit`: most bytes of its reply. `provider`: LiteLLM's name.

    `is_complete`: whether its stream came to its end, as far as LiteLLM doesn't know it; None: LiteLLM knows.
    `counts`: its token counts can be read, as far as this module looked.
    `is_answered`: there is an answer whose status is no error's, and whose errors this module finds by itself.
    """

    limit: int
    provider: str = ""
    is_complete: bool | None = None
    is_answered: bool = False
    counts: bool = True


def guard(response: httpx.Response, call: GuardedCall) -> httpx.Response:
    """The response itself, made a GuardedResponse."""
    response.__class__ = GuardedResponse
    response.extensions["call"] = call
    call.is_answered = response.is_success and call.provider in _EVENTS_OF_JSON | _LINES_OF_JSON
    return response


class GuardedResponse(httpx.Response):
    """Its methods raise BrokenReply, besides what those of httpx raise. Of an error's body, they give the beginning."""

    @property
    def _limit(self) -> int:
        limit: int = self.extensions["call"].limit
        return limit if self.is_success else min(limit, ERROR_LIMIT)

    def _get_content_decoder(self) -> Any:
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        # A single one, too.
        if encoding not in ("identity", *ENCODINGS.split(", ")):
            raise BrokenReply(f"the answer is compressed by {encoding}, which wasn't accepted")
        return super()._get_content_decoder()

    def read(self) -> bytes:
        if not hasattr(self, "_content"):
            body = bytearray()
            with self._errors_unpacked():
                for chunk in super().iter_bytes():
                    body += chunk
                    if len(body) > self._limit:
                        self.close()
                        break
            self._content = self._within_limit(body)
        return self._content

    async def aread(self) -> bytes:
        if not hasattr(self, "_content"):
            body = bytearray()
            with self._errors_unpacked():
                async for chunk in super().aiter_bytes():
                    body += chunk
                    if len(body) > self._limit:
                        await self.aclose()
                        break
            self._content = self._within_limit(body)
        return self._content

    def _errors_unpacked(self) -> AbstractContextManager[object]:
        """An error whose body can't be unpacked is one without a body."""
        return nullcontext() if self.is_success else suppress(httpx.DecodingError)

    def _within_limit(self, body: bytearray) -> bytes:
        if self.is_success and len(body) > self._limit:
            raise too_large(self._limit)
        text = bytes(body[: self._limit]).decode(errors="replace")
        if self.is_success:
            text = _with_readable_counts(_without_error(text), self.extensions["call"])
        # Also what isn't UTF-8, which is replaced.
        return text.encode()

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        if not self.is_success:
            self.read()
        stream = self._stream()
        for chunk in super().iter_bytes(chunk_size):
            yield stream.feed(chunk)
        yield stream.end()

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        if not self.is_success:
            await self.aread()
        stream = self._stream()
        async for chunk in super().aiter_bytes(chunk_size):
            yield stream.feed(chunk)
        yield stream.end()

    def iter_lines(self) -> Iterator[str]:
        lines = LineDecoder()
        for chunk in self.iter_bytes():
            yield from _texts(lines.feed(chunk))
        yield from _texts(lines.end())

    async def aiter_lines(self) -> AsyncIterator[str]:
        lines = LineDecoder()
        async for chunk in self.aiter_bytes():
            for text in _texts(lines.feed(chunk)):
                yield text
        for text in _texts(lines.end()):
            yield text

    def _stream(self) -> _Stream:
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return _Stream("" if hasattr(self, "_content") else kind, self._limit, self.extensions["call"])


class _Stream:
    """Receives a stream's chunks, and returns what LiteLLM gets: each event in one line, all else as it is.

    `kind`: the media type. A whole answer, which some servers send instead of a stream, becomes one event.
    """

    def __init__(self, kind: str, limit: int, call: GuardedCall) -> None:
        self._kind, self._limit, self._call = kind, limit, call
        self._received = 0
        self._has_begun = False
        self._whole: bytearray | None = None
        is_text = kind in _TEXTS and call.provider in _EVENTS_OF_JSON
        has_events = (kind == _EVENTS or is_text) and call.provider not in _LINES_OF_JSON
        self._events = EventDecoder() if has_events else None
        self._lines = LineDecoder() if call.provider in _LINES_OF_JSON else None
        self._parts: list[str] = []

    def feed(self, chunk: bytes) -> bytes:
        """Raises BrokenReply."""
        self._received += len(chunk)
        if not self._has_begun and (start := chunk.lstrip(_BLANK)):
            self._has_begun = True
            # No line of an event stream begins so.
            if self._kind in _TEXTS and start.startswith((b"{", b"[", b"<")) and self._lines is None:
                self._whole, chunk = bytearray(), start
        if self._received > self._limit * (1 if self._whole is not None else MAX_STREAM_RATIO):
            raise too_large(self._limit)
        if self._whole is not None:
            self._whole += chunk
            return b""
        if self._lines is not None:
            return self._checked(self._lines.feed(chunk))
        return chunk if self._events is None else self._lines_of(self._events.feed(chunk), self._events)

    def end(self) -> bytes:
        if self._whole is not None:
            body = _with_readable_counts(self._whole.decode(errors="replace"), self._call).encode()
            events = events_of(body)
            if events is not None:
                self._call.is_complete = True
            # What it is instead, LiteLLM may know.
            return body if events is None else events
        if self._lines is not None:
            return self._checked(self._lines.end(), is_end=True)
        return b"" if self._events is None else self._lines_of(self._events.end(), self._events)

    def _lines_of(self, ended: Iterator[str], events: EventDecoder) -> bytes:
        """`ended`: the data of events, as the decoder gives them."""
        return b"".join(self._line(data, events.kind) for data in ended)

    def _checked(self, lines: Iterator[bytes], *, is_end: bool = False) -> bytes:
        """Lines of JSON. LiteLLM would drop those that are none, and with them a part of the reply."""
        checked = bytearray()
        for line in lines:
            text = line.decode(errors="replace")
            # Only a whole answer that is printed over many lines has a line with nothing else.
            if self._parts or text.strip() == "{":
                self._parts.append(text)
            else:
                checked += self._ollama_line(text, is_end=is_end)
        if is_end and self._parts:
            checked += self._ollama_line(" ".join(self._parts), is_end=True)
        return bytes(checked)

    def _ollama_line(self, line: str, *, is_end: bool) -> bytes:
        data = line.removeprefix("data:").strip()
        # A proxy may send events, with their comments.
        if not data or data.startswith(":") or data == _DONE or self._call.is_complete:
            return b""
        refuse_page(data)
        try:
            chunk: Any = json.loads(data)
        except (ValueError, RecursionError) as error:
            if is_end:
                # The connection was lost in the middle of the line.
                return b""
            raise BrokenReply(f"a line of the stream is no JSON: {json_fault(error)}") from None
        refuse_error(chunk)
        if not isinstance(chunk, dict):
            raise BrokenReply("a line of the stream is no object")
        if chunk.get("done"):
            self._call.is_complete = True
        if not can_be_read(data):
            _drop_counts(chunk, self._call)
            data = json.dumps(chunk)
        if not isinstance(chunk.get("message"), dict):
            chunk["message"] = {"role": "assistant", "content": ""}
            data = json.dumps(chunk)
        return f"{data}\n".encode()

    def _line(self, data: str, kind: str) -> bytes:
        refuse_event(kind, data)
        if data != _DONE and (data.startswith("{") or self._call.provider in _EVENTS_OF_JSON):
            data = _simplified(data, _json_of(data), self._call)
        else:
            refuse_page(data)
        if data == _DONE or kind == _LAST_EVENT:
            self._call.is_complete = True
        elif '"candidates"' in data:
            # For Gemini, LiteLLM ends each reply with a reason of its own.
            self._call.is_complete = self._call.is_complete or '"finishReason"' in data
        return event(data, kind)


def _without_error(text: str) -> str:
    """The answer without an `error` that is none, such as `false`: LiteLLM takes it for one.

    Raises ErrorInReply. LiteLLM knows an error within an answer of some providers only, or loses its words.
    """
    refuse_page(text)
    # Within a string, the quotes would be escaped.
    if '"error"' not in text:
        return text
    answer: Any = None
    with suppress(ValueError, RecursionError):
        answer = json.loads(text)
    refuse_error(answer)
    if not isinstance(answer, dict) or "error" not in answer:
        return text
    del answer["error"]
    return json.dumps(answer)


def _json_of(data: str) -> Any:
    """Raises BrokenReply. LiteLLM takes such an event for the beginning of another, and swallows all that follows."""
    refuse_page(data)
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BrokenReply(f"an event of the stream is no JSON: {json_fault(error)}") from None
    refuse_error(value)
    return value


def _with_readable_counts(text: str, call: GuardedCall) -> str:
    """A whole answer, without token counts that LiteLLM can't read."""
    value: Any = None
    if not can_be_read(text, whole_of=call.provider):
        with suppress(ValueError, RecursionError):
            value = json.loads(text)
    if not isinstance(value, dict):
        return text
    _drop_counts(value, call)
    return json.dumps(value)


def _drop_counts(value: dict[str, Any], call: GuardedCall) -> None:
    call.counts = False
    drop_counts(value, call.provider)


def _simplified(data: str, value: Any, call: GuardedCall) -> str:
    """The data, without what LiteLLM takes for an error and is none, without token counts that it can't read, and
    without what belongs to a second reply.

    `value`: what it stands for.
    """
    is_sound = can_be_read(data)
    # The last ones count.
    call.counts = call.counts or (is_sound and has_counts(data))
    if (is_sound and not _NOTHING.search(data) and not _SECOND.search(data)) or not isinstance(value, dict):
        return data
    if not is_sound:
        _drop_counts(value, call)
    for name in ("choices", "candidates"):
        if isinstance(replies := value.get(name), list):
            value[name] = [each for each in replies if not (isinstance(each, dict) and each.get("index"))]
    message = value.get("message")
    contents = [each.get("content") for each in value.get("candidates") or () if isinstance(each, dict)]
    if not value.get("error"):
        value.pop("error", None)
    for where, name in ((message, "usage"), *((content, "parts") for content in contents)):
        if isinstance(where, dict) and where.get(name, ...) is None:
            del where[name]
    return json.dumps(value)


def _texts(lines: Iterator[bytes]) -> Iterator[str]:
    for line in lines:
        text = line.decode(errors="replace")
        if text.startswith("{"):
            _without_error(text)
        is_end = text.removeprefix("data:").strip() == _DONE
        # LiteLLM ends a stream at a line that has this anywhere. Here it is in a string of JSON, where escapes may be.
        yield text if is_end else text.replace(_DONE, rf"\u005b{_DONE[1:]}")
