"""What a loopback server does with one request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True)
class Text:
    """A reply. Streamed, it comes word by word. Unless `counted`, OpenAI's dialect says no usage, like some servers.

    `ending`: in the provider's own form; each provider has some of them. `calls`: of tools, names and arguments.
    """

    text: str
    tokens_in: int = 20
    tokens_out: int = 5
    cached: int = 0
    counted: bool = True
    ending: Literal["stop", "length", "refused", "filtered"] = "stop"
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()


@dataclass(frozen=True)
class Pieces:
    """A streamed reply in these pieces."""

    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Json:
    """A structured reply, in the form that the request names."""

    value: Any
    tokens_in: int = 20
    tokens_out: int = 5
    cached: int = 0
    counted: bool = True
    ending: Literal["stop"] = "stop"
    calls: tuple[()] = ()

    @property
    def text(self) -> str:
        return json.dumps(self.value)


@dataclass(frozen=True)
class Status:
    """An HTTP error in the provider's own form. `message` may hold `{key}`: the key that the client sent."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "no luck"


@dataclass(frozen=True)
class Malformed:
    """200, and a body that is no JSON."""


@dataclass(frozen=True)
class Odd:
    """200, and JSON that the provider's documentation knows nothing of. Streamed, it is the only event."""

    value: Any


@dataclass(frozen=True)
class Raw:
    """A body of these bytes, streamed or not. `encoding`: how they claim to be packed, such as `gzip`."""

    body: bytes
    status: int = 200
    kind: str = "text/event-stream"
    encoding: str = ""


@dataclass(frozen=True)
class Late:
    """A reply that takes its time."""

    reply: Text | Json
    seconds: float


@dataclass(frozen=True)
class Held:
    """A reply that comes when the test says so. `after`: the words that a stream sends before."""

    reply: Text | Json
    until: asyncio.Event
    after: int = 0


@dataclass(frozen=True)
class CutStream:
    """The connection dies in the middle: after some words of a stream, or after half of a whole body.

    `politely`: a stream ends as HTTP wants it, as behind a proxy, and only the provider's own last words are missing.
    """

    after: int = 2
    politely: bool = False


@dataclass(frozen=True)
class HangUp:
    """The connection is reset before the first byte of an answer."""


@dataclass(frozen=True)
class Hang:
    """No further byte until the client gives up. `after`: the words that a stream sends before."""

    after: int = 0


Behaviour: TypeAlias = Text | Json | Pieces | Status | Malformed | Odd | Raw | Late | Held | CutStream | HangUp | Hang
Reply: TypeAlias = Text | Json
