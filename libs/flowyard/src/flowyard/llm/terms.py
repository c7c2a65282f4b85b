"""The terms of a model: the price of its tokens, and the longest reply. Cheap to import."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from flowyard.language.providers import UNPAID
from flowyard.llm.calls import ModelCall

LITELLM_NAMES: Final = {"google": "gemini", "ollama": "ollama_chat"}
"""LiteLLM's names of the providers that documents call differently. All other names are the same."""
FREE_PROVIDERS: Final = UNPAID | {"ollama_chat"}

# A tiny model may never stop by itself, so its reply is bounded even without `max_tokens`.
LOCAL_TEXT_TOKENS: Final = 256
LOCAL_SCHEMA_TOKENS: Final = 512


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per token of a prompt and of a reply: the highest price that may apply."""

    usd_in: Decimal
    usd_out: Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """`price`: None if unknown. `uses_tokens`: False for canned replies.

    `longest`: most tokens of a reply without `max_tokens`; None if unknown.
    """

    price: Price | None
    longest: int | None = None
    uses_tokens: bool = True


FREE: Final = Price(Decimal(0), Decimal(0))
CANNED: Final = Terms(FREE, uses_tokens=False)


def known_terms(call: ModelCall) -> Terms | None:
    """The terms if they are known without LiteLLM, else None."""
    provider = call.settings.provider
    if provider == "scripted":
        return CANNED
    if provider == "local":
        return Terms(FREE, LOCAL_TEXT_TOKENS if call.schema is None else LOCAL_SCHEMA_TOKENS)
    return Terms(FREE) if provider in UNPAID else None
