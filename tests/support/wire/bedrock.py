"""Bedrock's Converse API. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html

Streams have frames of AWS's own: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import json
import struct
from binascii import crc32
from collections.abc import Mapping, Sequence
from typing import Any, Final

from support.wire.behaviour import Raw

_KIND: Final = "application/vnd.amazon.eventstream"
_USAGE: Final = {"inputTokens": 20, "outputTokens": 5, "totalTokens": 25}
_STRING: Final = b"\x07"
"""The type of a header's value."""


def whole(text: str, reason: str = "end_turn") -> Raw:
    message = {"role": "assistant", "content": [{"text": text}]}
    answer = {"output": {"message": message}, "stopReason": reason, "usage": _USAGE, "metrics": {"latencyMs": 5}}
    return Raw(json.dumps(answer).encode(), kind="application/json")


def streamed(words: Sequence[str], reason: str = "end_turn") -> Raw:
    return frames(
        event("messageStart", {"role": "assistant"}),
        *(event("contentBlockDelta", {"delta": {"text": word}, "contentBlockIndex": 0}) for word in words),
        event("contentBlockStop", {"contentBlockIndex": 0}),
        event("messageStop", {"stopReason": reason}),
        event("metadata", {"usage": _USAGE, "metrics": {"latencyMs": 5}}),
    )


def frames(*parts: bytes) -> Raw:
    return Raw(b"".join(parts), kind=_KIND)


def event(kind: str, value: Any) -> bytes:
    return _frame({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, value)


def exception(kind: str, value: Any) -> bytes:
    return _frame({":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}, value)


def _frame(headers: Mapping[str, str], value: Any) -> bytes:
    head = b"".join(
        _short(name) + _STRING + struct.pack(">H", len(text)) + text.encode() for name, text in headers.items()
    )
    payload = json.dumps(value).encode()
    lengths = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    checked = lengths + struct.pack(">I", crc32(lengths)) + head + payload
    return checked + struct.pack(">I", crc32(checked))


def _short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()
