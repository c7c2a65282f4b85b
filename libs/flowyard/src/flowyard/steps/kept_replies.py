"""Replies of models that may call tools, as they are kept with a run, so that its step can go on from them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from flowyard.llm.calls import ModelReply, ToolCall
from flowyard.llm.tool_calls import masked_call
from flowyard.secrets.masking import Masker


@dataclass(frozen=True, slots=True)
class KeptReply:
    """What the conversation goes on with. Secrets are masked: a model can't hand them to a tool."""

    text: str
    calls: tuple[ToolCall, ...]

    @classmethod
    def of(cls, reply: ModelReply, masker: Masker, known: Collection[str]) -> KeptReply:
        """`known`: names of parameters, which are no secrets."""
        calls = tuple(masked_call(call, masker, known) for call in reply.tool_calls) if masker else reply.tool_calls
        return cls(masker.text(reply.text), calls)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> KeptReply:
        """The reverse of `json`, decoded."""
        return cls(data["text"], tuple(map(ToolCall.of, data.get("tool_calls", ()))))

    @property
    def json(self) -> str:
        """In ASCII, so that even half a surrogate pair is preserved."""
        calls = {"tool_calls": [call.data for call in self.calls]} if self.calls else {}
        return json.dumps({"text": self.text, **calls})
