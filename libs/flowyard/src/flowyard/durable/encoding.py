"""Values of LangGraph's channels as JSON, and back. Nothing but JSON: reading a checkpoint can't run code.

A value is JSON already, but for what LangGraph itself puts into its channels. What it is then stands beside the value
and not in it: so no value of a user can be taken for something else.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from langgraph.types import Overwrite, Send

from flowyard.storage.database import dumps

Kind: TypeAlias = Literal["send", "sends", "overwrite"]
LARGE: Final = 64_000
"""Bytes: a longer value is stored once, and referred to."""


def plain(value: Any) -> tuple[Any, Kind | None]:
    """A value that JSON can hold, and what it was; None: just that value."""
    match value:
        case Send():
            return [value.node, value.arg], "send"
        case Overwrite():
            return value.value, "overwrite"
        case [Send(), *_]:
            return [[send.node, send.arg] for send in value], "sends"
        case _:
            return value, None


def restored(value: Any, kind: Kind | None) -> Any:
    match kind:
        case "send":
            return Send(*value)
        case "sends":
            return [Send(*each) for each in value]
        case "overwrite":
            return Overwrite(value)
        case _:
            return value


def encode(value: Any) -> str:
    """One value that stands alone: `[value, kind]`. Raises CommitRefused for what is no JSON."""
    return dumps(plain(value))


def decode(data: Any) -> Any:
    value, kind = data
    return restored(value, kind)
