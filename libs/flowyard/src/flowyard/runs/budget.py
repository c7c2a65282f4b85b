"""What may be spent, and what has been: an amount is reserved before each call of a model, and settled after it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from flowyard.language.workflow import Budget
from flowyard.runs.events import Event, ModelCalled, ModelReserved, StepId

Limit: TypeAlias = Literal["usd", "tokens", "model_calls"]


@dataclass(frozen=True, slots=True)
class Amount:
    """What is spent, or what may be at most."""

    usd: Decimal = Decimal(0)
    tokens: int = 0
    model_calls: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.usd + other.usd, self.tokens + other.tokens, self.model_calls + other.model_calls)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.usd - other.usd, self.tokens - other.tokens, self.model_calls - other.model_calls)


@dataclass(frozen=True, slots=True)
class Excess:
    """The limit that the next call might pass: how much is allowed, spent already, and how much it could take."""

    limit: Limit
    allowed: Decimal | int
    spent: Decimal | int
    coming: Decimal | int


def excess(budget: Budget, spent: Amount, coming: Amount) -> Excess | None:
    """The first limit that would be passed; None: all of them are kept."""
    kinds: tuple[Limit, ...] = ("model_calls", "tokens", "usd")
    for kind in kinds:
        allowed, before, more = getattr(budget, kind), getattr(spent, kind), getattr(coming, kind)
        if allowed is not None and before + more > allowed:
            return Excess(kind, allowed, before, more)
    return None


def actual(reserved: Amount, *, tokens_in: int | None, tokens_out: int | None, usd: Decimal | None) -> Amount:
    """What a call came to. What nobody can say counts as it was reserved: by not knowing, no limit is passed."""
    tokens = reserved.tokens if tokens_in is None or tokens_out is None else tokens_in + tokens_out
    return Amount(reserved.usd if usd is None else usd, tokens, reserved.model_calls)


@dataclass(frozen=True, slots=True)
class Quote:
    """What one call may come to, by the tokens of its reply. `prompt`: its tokens; prices are US dollars per token."""

    prompt: int
    usd_in: Decimal
    usd_out: Decimal
    replies: int = 1

    def amount(self, out: int) -> Amount:
        usd = self.prompt * self.usd_in + out * self.replies * self.usd_out
        return Amount(usd, self.prompt + out * self.replies, 1)

    def longest(self, budget: Budget, spent: Amount) -> int | None:
        """The most tokens of a reply that are allowed now; None: any number. Less than 0: not even the prompt is."""
        found: list[int] = []
        if budget.tokens is not None:
            found.append((budget.tokens - spent.tokens - self.prompt) // self.replies)
        if budget.usd is not None and self.usd_out:
            left = budget.usd - spent.usd - self.prompt * self.usd_in
            found.append(int(left // (self.usd_out * self.replies)) if left >= 0 else -1)
        return min(found, default=None)


class Account:
    """What one run has spent of its budget: what is settled, and what is reserved for the calls in flight."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.settled = Amount()
        self.reserved = Amount()
        self.in_flight = 0

    @property
    def spent(self) -> Amount:
        """At most: calls in flight may still turn out to be cheaper."""
        return self.settled + self.reserved

    def excess(self, coming: Amount) -> Excess | None:
        return excess(self.budget, self.spent, coming)

    def reserve(self, amount: Amount) -> None:
        """Whether it fits is the caller's to ask before."""
        self.reserved += amount
        self.in_flight += 1

    def settle(self, reserved: Amount, came_to: Amount) -> None:
        """The end of a call for which so much was reserved."""
        self.reserved -= reserved
        self.settled += came_to
        self.in_flight -= 1


class Retold:
    """A run's account, from what the run has told so far: for whoever takes it up again."""

    def __init__(self, budget: Budget) -> None:
        self.account = Account(budget)
        self._open: dict[StepId, list[ModelReserved]] = {}

    def hear(self, event: Event | None) -> None:
        """One event after the other, all that there are."""
        if isinstance(event, ModelReserved):
            self.account.reserve(_reserved(event))
            self._open.setdefault(event.step, []).append(event)
        elif isinstance(event, ModelCalled):
            self._settle(event)

    def lost(self) -> list[ModelReserved]:
        """The calls of which nobody heard again: they count as they were reserved. To be asked once, at the end."""
        lost = [event for events in self._open.values() for event in events]
        for event in lost:
            self.account.settle(_reserved(event), _reserved(event))
        self._open.clear()
        return lost

    def _settle(self, event: ModelCalled) -> None:
        opened = self._open.get(event.step)
        if opened:
            reserved = _reserved(opened.pop(0))
        else:
            reserved = Amount(model_calls=1)
            self.account.reserve(reserved)
        usage = {"tokens_in": event.tokens_in, "tokens_out": event.tokens_out}
        self.account.settle(reserved, actual(reserved, **usage, usd=event.cost_usd))


def _reserved(event: ModelReserved) -> Amount:
    return Amount(event.usd or Decimal(0), event.tokens or 0, 1)
