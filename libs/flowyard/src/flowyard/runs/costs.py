"""Sums over model calls: a sum with an unknown part is unknown, and the sum of the known parts is given with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

Grouping: TypeAlias = Literal["provider", "model", "workflow", "node", "day", "run"]


@dataclass(frozen=True, slots=True)
class Sums:
    """Over some calls. `known_…`: the sum over the calls for which it is known; `unknown_…`: how many others there are.

    Durations are seconds, of the calls that had a reply; None: unknown for all calls.
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
    """`groups`: each with its name; the most expensive ones only, or the newest days. `group_count`: of all groups.

    `total`: over all groups.
    """

    groups: Sequence[tuple[str, Sums]]
    group_count: int
    total: Sums
