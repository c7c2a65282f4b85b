"""Lines of the ledger as a test wants them, written as an executor writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from flowyard.runs.claim import Claim
from flowyard.storage.commits import Committer
from support.stored import LONG_AGO, telling


@dataclass
class Book:
    """Writes calls under one claim, each with an event of its own."""

    committer: Committer
    claim: Claim
    seq: int = field(init=False)

    def __post_init__(self) -> None:
        self.seq = self.claim.last_seq

    async def call(
        self,
        *,
        node: str = "write",
        provider: str = "openai",
        model: str = "small",
        cost: str | None = "0.1",
        tokens: tuple[int | None, int | None, int | None] = (10, 5, 0),
        duration_s: float = 1.0,
        first_token_s: float | None = None,
        at: datetime = LONG_AGO,
        error: str | None = None,
    ) -> None:
        self.seq += 1
        part = telling(self.claim, "model.called", seq=self.seq)
        durations: tuple[Any, ...] = (at, duration_s, first_token_s)
        usd = None if cost is None else Decimal(cost)
        part.calls = [(self.seq, node, 1, -1, provider, model, *durations, *tokens, usd, error, 0)]
        await self.committer.commit(part)
