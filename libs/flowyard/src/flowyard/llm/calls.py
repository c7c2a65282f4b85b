"""What goes to a model and what comes back, the same for every provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, TypeAlias

from flowyard.language.nodes import ModelSettings

JsonSchema: TypeAlias = Mapping[str, Any]
OnToken: TypeAlias = Callable[[str], None]
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
MOST_TOKENS: Final = 2**31 - 1
"""More than this is no number of tokens of one call, and no column holds it."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One question to one model. `schema`: the JSON Schema the reply must fit, or None for plain text.

    `key`: the same whenever the same question is asked again, after a crash too; sent as `Idempotency-Key`, so that the
    other side can answer it once. `secrets`: what is in the messages and in no reply, token or error.
    """

    node: str
    settings: ModelSettings
    messages: tuple[Message, ...]
    schema: JsonSchema | None = None
    key: str | None = None
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. None: the provider didn't say, which is not zero."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None


def told_tokens(value: object) -> int | None:
    """A number of tokens as a provider told it. None for what is no whole number from 0 to MOST_TOKENS."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value) if 0 <= value <= MOST_TOKENS else None


@dataclass(frozen=True, slots=True)
class ModelReply:
    """`cost_usd` is None where no price is known; `first_token_s` is None where nothing was streamed."""

    text: str
    usage: Usage
    cost_usd: Decimal | None
    first_token_s: float | None = None


class Model(Protocol):
    """Anything that answers a call. Raises ModelError; may be cancelled at any await.

    A ProviderError that isn't NotAtWork leaves open whether a model has worked, and what that costs.
    """

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply: ...
