"""The calls of tools in a reply, from its pieces, in OpenAI's format. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flowyard.language.values.json_schema import property_names
from flowyard.llm.calls import ModelCall, ToolCall
from flowyard.llm.event_stream import BrokenReply, too_large
from flowyard.llm.streamed_text import whole_text
from flowyard.secrets.masking import Masker

MOST_CALLS: Final = 256
"""In one reply."""


@dataclass(slots=True)
class _OpenCall:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class ToolCalls:
    """Receives the calls of one reply. `limit`: most bytes of them all.

    Pieces belong together by their `index`. Not all servers send it, and some send the same for several calls: then the
    `id` decides.
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_limit", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._calls: list[_OpenCall] = []
        self._by_id: dict[str, _OpenCall] = {}
        self._by_index: dict[Any, _OpenCall] = {}

    def add(self, pieces: Any) -> None:
        """`pieces`: `tool_calls` of a message, or of a delta; anything that is no list is left out.

        Raises BrokenReply, or AttributeError for a piece that is no object.
        """
        for piece in pieces if isinstance(pieces, list | tuple) else ():
            self._add(piece)

    def end(self) -> tuple[ToolCall, ...]:
        """All calls, whole. Raises BrokenReply."""
        calls = []
        for number, call in enumerate(self._calls, start=1):
            if not call.name:
                raise BrokenReply("the model calls a tool without a name")
            # Some servers write nothing for a tool without parameters, and send no ids.
            arguments = whole_text("".join(call.arguments)).strip() or "{}"
            calls.append(ToolCall(call.id or f"call_{number}", whole_text(call.name), arguments))
        return tuple(calls)

    def _add(self, piece: Mapping[str, Any]) -> None:
        function = piece.get("function") or {}
        id_, name, arguments = piece.get("id"), function.get("name"), function.get("arguments")
        call = self._call_of(piece.get("index"), id_ if isinstance(id_, str) else "", is_named=bool(name))
        if isinstance(name, str) and not call.name:
            call.name = name
        text = json.dumps(arguments) if isinstance(arguments, Mapping) else arguments
        if isinstance(text, str) and text:
            self._size += len(text.encode(errors="surrogatepass"))
            call.arguments.append(text)
        if self._size > self._limit:
            raise too_large(self._limit)

    def _call_of(self, index: Any, id_: str, *, is_named: bool) -> _OpenCall:
        if id_ in self._by_id:
            return self._by_id[id_]
        known = self._by_index.get(index) if index is not None else (self._calls[-1] if self._calls else None)
        begins = known is None or (is_named and bool(id_ or (index is None and known.name)))
        if known is not None and not begins:
            call = known
        else:
            call = self._new_call()
            self._by_index[index] = call
        if id_:
            call.id = call.id or id_
            self._by_id[id_] = call
        return call

    def _new_call(self) -> _OpenCall:
        if len(self._calls) >= MOST_CALLS:
            raise BrokenReply(f"the model calls more than {MOST_CALLS} tools")
        self._calls.append(call := _OpenCall())
        self._size += 1
        return call


def names_in(call: ModelCall) -> frozenset[str]:
    """The names of parameters in the tools that a call offers: they are no secrets, whatever a secret is."""
    return frozenset(property_names([*call.offer.tools])) if call.offer is not None else frozenset()


def masked_call(call: ToolCall, masker: Masker, known: Collection[str]) -> ToolCall:
    """`known`: see `names_in`."""
    return ToolCall(masker.text(call.id), masker.text(call.name), masker.json(call.arguments, known))
