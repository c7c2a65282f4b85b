"""The data types of requests to models and their replies, the same for every provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, TypeAlias

from flowyard.language.nodes import JsonForm, ModelSettings

JsonSchema: TypeAlias = Mapping[str, Any]
OnToken: TypeAlias = Callable[[str], None]
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
REPLY_LIMIT: Final = 4_000_000
"""Most bytes of a reply, unless a setting says otherwise."""
MAX_TOKENS: Final = 2**31 - 1
"""No call has more tokens than this, and the database's integer columns hold no larger number."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments`: the text that the model wrote, which should be a JSON object."""

    id: str
    name: str
    arguments: str

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ToolCall:
        """The reverse of `data`."""
        return cls(data["id"], data["function"]["name"], data["function"]["arguments"])

    @property
    def data(self) -> dict[str, Any]:
        """In OpenAI's format."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """`content`: a text, or parts in OpenAI's format; None only beside `tool_calls`.

    `tool_calls`: of an assistant; `tool_call_id`: which of them a tool answers.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str | tuple[Mapping[str, Any], ...] | None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """Without parts that aren't texts."""
        if not isinstance(self.content, tuple):
            return self.content or ""
        return "\n".join(part["text"] for part in self.content if part["type"] == "text")


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """What a model may call, in OpenAI's format. `choice`: which tools it may or must call; None: as it likes.

    `parallel`: whether it may call several at once; None: as the provider likes.
    """

    tools: tuple[Mapping[str, Any], ...]
    choice: str | Mapping[str, Any] | None = None
    parallel: bool | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of a request."""
        optional = {"tool_choice": self.choice, "parallel_tool_calls": self.parallel}
        return {"tools": [*self.tools], **{name: value for name, value in optional.items() if value is not None}}


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One request to one model. `schema`: the JSON Schema that the reply must fit, or None for plain text.
    `json_form`: how the model is asked for it; None: in the best form that schema and provider allow.

    `key`: the same for every repetition of the same request, also after a crash. It is sent as `Idempotency-Key`, so
    that the provider can process the request once. `secrets`: texts that the messages contain, and that are masked in
    the reply, its tokens and errors.
    """

    node: str
    settings: ModelSettings
    messages: tuple[ChatMessage, ...]
    schema: JsonSchema | None = None
    key: str | None = None
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    json_form: JsonForm | None = None
    offer: ToolOffer | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. None: the provider didn't report a count, which is not zero."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None


def token_count(value: object) -> int | None:
    """The count that a provider reported, or None if it isn't a whole number from 0 to MAX_TOKENS."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        return None
    return int(value) if 0 <= value <= MAX_TOKENS else None


@dataclass(frozen=True, slots=True)
class ReplyEnding:
    """How a reply ended. `length`: it was cut off. `refused`: by the model. `filtered`: by the provider.

    `why`: the model's words, or the filter's reason. `only_reasoned`: the model wrote reasoning and no text.
    `was_prompt`: the prompt was filtered, so that there is no reply.
    """

    how: Literal["stop", "length", "refused", "filtered"] = "stop"
    why: str = ""
    only_reasoned: bool = False
    was_prompt: bool = False


COMPLETE: Final = ReplyEnding()


@dataclass(frozen=True, slots=True)
class Origin:
    """What an answer says of itself. `model`: which one wrote it, perhaps a dated version of the one that was asked.

    `id`: of the answer, for the provider's support. `finish_reason`: in the provider's words. None: it doesn't say.
    """

    model: str | None = None
    id: str | None = None
    finish_reason: str | None = None


NOWHERE: Final = Origin()


@dataclass(frozen=True, slots=True)
class ModelReply:
    """`cost_usd`: None if no price is known. `first_token_s`: seconds to the first token; None without streaming.

    `reasoning`: what the model wrote of it, in its text or apart from it; at most REASONING_LIMIT characters.
    `tool_calls`: of the tools that it was offered, in the document's `extra`, too.
    """

    text: str
    usage: Usage
    cost_usd: Decimal | None
    first_token_s: float | None = None
    ending: ReplyEnding = COMPLETE
    reasoning: str = ""
    origin: Origin = NOWHERE
    tool_calls: tuple[ToolCall, ...] = ()


class Model(Protocol):
    """Anything that answers a call."""

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        """Calls `on_token` with each piece of a streamed reply. May be cancelled at any await.

        Raises ModelError. After a ProviderError other than ModelNeverRan, a model may have run, at an unknown cost.
        """
