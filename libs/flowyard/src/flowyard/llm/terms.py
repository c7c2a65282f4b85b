"""On what terms a model answers: what its tokens cost, and how long a reply can be. Cheap to import."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from flowyard.llm.calls import ModelCall
from flowyard.runs.costs import UNPAID

# A tiny model may never end by itself: a reply is bounded even where the document doesn't say so.
LOCAL_TEXT_TOKENS: Final = 256
LOCAL_SCHEMA_TOKENS: Final = 512


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per token of a prompt and of a reply: at most that, whatever is cached or long."""

    usd_in: Decimal
    usd_out: Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """`price` is None where nobody knows it. `uses_tokens`: False for canned replies.

    `longest`: tokens that a reply can have where nobody says `max_tokens`; None: nobody knows.
    """

    price: Price | None
    longest: int | None = None
    uses_tokens: bool = True


FREE: Final = Price(Decimal(0), Decimal(0))
CANNED: Final = Terms(FREE, uses_tokens=False)


def terms_at_hand(call: ModelCall) -> Terms | None:
    """The terms of the providers that LiteLLM needn't be asked about; None: ask it."""
    provider = call.settings.provider
    if provider == "scripted":
        return CANNED
    if provider == "local":
        return Terms(FREE, LOCAL_TEXT_TOKENS if call.schema is None else LOCAL_SCHEMA_TOKENS)
    return Terms(FREE) if provider in UNPAID else None
