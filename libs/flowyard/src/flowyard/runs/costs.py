"""What model calls came to, summed up. Unknown stays unknown, and what is known is told beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, TypeAlias

UNPAID: Final = frozenset({"local", "scripted", "ollama"})
"""Providers that cost nothing, whatever happens to a call."""

Grouping: TypeAlias = Literal["provider", "model", "workflow", "node", "day", "run"]


@dataclass(frozen=True, slots=True)
class Sums:
    """Of some calls. What begins with `known_` adds up what is known; `unknown_…`: how many calls didn't tell.

    Durations are seconds and of the calls that were answered; None: no call has told one.
    """

    calls: int
    errors: int
    known_tokens_in: int
    known_tokens_out: int
    known_tokens_cached: int
    known_cost_usd: Decimal
    unknown_tokens_in: int
    unknown_tokens_out: int
    unknown_tokens_cached: int
    unknown_tokens: int
    unknown_cost: int
    duration_mean_s: float | None
    duration_p95_s: float | None
    first_token_p50_s: float | None

    @property
    def tokens_in(self) -> int | None:
        """None, here and below: at least one part is unknown, which is not zero."""
        return None if self.unknown_tokens_in else self.known_tokens_in

    @property
    def tokens_out(self) -> int | None:
        return None if self.unknown_tokens_out else self.known_tokens_out

    @property
    def tokens_cached(self) -> int | None:
        return None if self.unknown_tokens_cached else self.known_tokens_cached

    @property
    def cost_usd(self) -> Decimal | None:
        return None if self.unknown_cost else self.known_cost_usd


@dataclass(frozen=True, slots=True)
class Costs:
    """`groups`: of those that there are, the most expensive ones (the newest days), by their names.

    `total` is over all that there are.
    """

    groups: Sequence[tuple[str, Sums]]
    group_count: int
    total: Sums
