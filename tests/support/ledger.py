"""Lines of the ledger as a test wants them, written as an executor writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from flowyard.runs.claim import Claim
from flowyard.storage.commits import Committer
from support.rows import call_row
from support.stored import LONG_AGO, commit_of


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
        commit = commit_of(self.claim, "model.called", seq=self.seq)
        row = call_row(
            self.seq,
            node,
            provider=provider,
            model=model,
            at=at,
            duration_s=duration_s,
            first_token_s=first_token_s,
            **dict(zip(("tokens_in", "tokens_out", "tokens_cached"), tokens, strict=True)),
            cost_usd=None if cost is None else Decimal(cost),
            error=error,
        )
        commit.add_call(row)
        await self.committer.commit(commit)
