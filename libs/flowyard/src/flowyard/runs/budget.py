"""The account of a run with a budget: an amount is reserved before each call of a model, and settled after it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from flowyard.language.workflow import Budget

Limit: TypeAlias = Literal["usd", "tokens", "model_calls"]


@dataclass(frozen=True, slots=True)
class Amount:
    """What calls cost, or may cost at most."""

    usd: Decimal = Decimal(0)
    tokens: int = 0
    model_calls: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.usd + other.usd, self.tokens + other.tokens, self.model_calls + other.model_calls)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.usd - other.usd, self.tokens - other.tokens, self.model_calls - other.model_calls)


@dataclass(frozen=True, slots=True)
class Excess:
    """The limit that the next call may exceed. `spent`: before the call; `coming`: what the call may cost at most."""

    limit: Limit
    allowed: Decimal | int
    spent: Decimal | int
    coming: Decimal | int


def excess(budget: Budget, spent: Amount, coming: Amount) -> Excess | None:
    """The first limit that `spent` and `coming` together exceed; None: no limit."""
    kinds: tuple[Limit, ...] = ("model_calls", "tokens", "usd")
    for kind in kinds:
        allowed, before, more = getattr(budget, kind), getattr(spent, kind), getattr(coming, kind)
        if allowed is not None and before + more > allowed:
            return Excess(kind, allowed, before, more)
    return None


def actual(reserved: Amount, *, tokens_in: int | None, tokens_out: int | None, usd: Decimal | None) -> Amount:
    """What a call has cost. Unknown usage counts as it was reserved, so that it can't exceed a limit."""
    tokens = reserved.tokens if tokens_in is None or tokens_out is None else tokens_in + tokens_out
    return Amount(reserved.usd if usd is None else usd, tokens, reserved.model_calls)


@dataclass(frozen=True, slots=True)
class Quote:
    """What one call may cost, by the tokens of its reply.

    `prompt`: tokens of the prompt; `replies`: how many the model is to write. Prices are US dollars per token.
    """

    prompt: int
    usd_in: Decimal
    usd_out: Decimal
    replies: int = 1

    def amount(self, out: int) -> Amount:
        """The cost with `out` tokens in each reply."""
        usd = self.prompt * self.usd_in + out * self.replies * self.usd_out
        return Amount(usd, self.prompt + out * self.replies, 1)

    def longest(self, budget: Budget, spent: Amount) -> int | None:
        """The most tokens that a reply may have; None: no limit. Less than 0: the prompt alone exceeds the budget."""
        limits: list[int] = []
        if budget.tokens is not None:
            limits.append((budget.tokens - spent.tokens - self.prompt) // self.replies)
        if budget.usd is not None and self.usd_out:
            left = budget.usd - spent.usd - self.prompt * self.usd_in
            limits.append(int(left // (self.usd_out * self.replies)) if left >= 0 else -1)
        return min(limits, default=None)


class BudgetAccount:
    """What one run has spent of its budget: what is settled, and what is reserved for the calls in flight.

    `spent`: under the claims before.
    """

    def __init__(self, budget: Budget, spent: Amount = Amount()) -> None:
        self.budget = budget
        self.settled = spent
        self.reserved = Amount()
        self.in_flight = 0

    @property
    def spent(self) -> Amount:
        """At most: calls in flight may cost less than was reserved for them."""
        return self.settled + self.reserved

    def excess(self, coming: Amount) -> Excess | None:
        """The first limit that a call may exceed which costs at most `coming`; None: no limit."""
        return excess(self.budget, self.spent, coming)

    def reserve(self, amount: Amount) -> None:
        """Before a call. Doesn't check the budget: the caller does, with `excess`."""
        self.reserved += amount
        self.in_flight += 1

    def settle(self, reserved: Amount, cost: Amount) -> None:
        """After a call. `reserved`: what was reserved for it."""
        self.reserved -= reserved
        self.settled += cost
        self.in_flight -= 1
