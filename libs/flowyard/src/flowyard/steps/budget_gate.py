"""The gate before each model call: what the call may cost at most is reserved, or the call isn't made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from flowyard.errors.steps import BudgetExceeded, LimitReached, UnpricedModel
from flowyard.language.workflow import Budget
from flowyard.llm.calls import ModelCall, ModelReply
from flowyard.llm.terms import CANNED, FREE, Terms
from flowyard.runs.budget import Amount, BudgetAccount, Excess, Quote, actual
from flowyard.runs.events import ModelReserved, StepId
from flowyard.steps.token_bounds import SHORTEST_REPLY, prompt_bound, replies_per_call, reply_limit

LONGEST_REPLY: Final = 4096
"""Tokens that a reply may have under a limit on tokens or money, if the document sets no limit of its own."""

Settle: TypeAlias = Callable[[Amount], None]
IsDraining: TypeAlias = Callable[[], bool]
"""Whether the executor drains, so that a call that still waits must not be made any more."""
TermsOf: TypeAlias = Callable[[ModelCall, int], Awaitable[Terms]]
"""The price and limits of a call's model, before the call; the number: tokens of its prompt at most."""


class Draining(Exception):
    """The executor drains while the call still waits: the call isn't made, and nothing is reserved for it."""


@dataclass(frozen=True, slots=True)
class DailyLimit:
    """What all runs of a workflow may spend on one day.

    `reserve` returns the function that settles the reservation. Raises BudgetExceeded, Draining.
    """

    limits: Budget
    reserve: Callable[[Amount, IsDraining], Awaitable[Settle]]


@dataclass(frozen=True, slots=True)
class Reservation:
    """`call` may be made, and costs at most `amount`. `settle_day` settles the workflow's daily budget."""

    call: ModelCall
    amount: Amount
    settle_day: Settle | None


@dataclass(frozen=True, slots=True)
class _QuotedCall:
    """A call and what it may cost. `quote` is None if nothing that is limited grows with the reply.

    `longest`: tokens of the reply, if the document sets no limit.
    """

    call: ModelCall
    quote: Quote | None
    longest: int = 0


class BudgetGate:
    """The gate of one run. `budget`: None if only its workflow's `day` is limited.

    `is_draining`: whether the executor drains, so that no step makes its first call any more.
    """

    def __init__(
        self,
        budget: Budget | None,
        terms: TermsOf,
        *,
        account: BudgetAccount | None = None,
        day: DailyLimit | None = None,
        is_draining: IsDraining = lambda: False,
        on_refusal: Callable[[BudgetExceeded], None] = lambda _: None,
    ) -> None:
        self.budget = budget
        self.account = account or BudgetAccount(budget or Budget())
        self._terms = terms
        self._day = day
        self._is_draining = is_draining
        self._on_refusal = on_refusal
        self._turn = asyncio.Lock()
        self._settled = asyncio.Event()
        self._refused: BudgetExceeded | None = None

    async def admit(self, call: ModelCall, *, begun: bool = False) -> Reservation:
        """Reserves what the call may cost. Waits while calls in flight may still leave more than they reserved.

        `begun`: the call's step has made a call before, and is finished here even if the executor drains.
        Raises BudgetExceeded: now, and for every later call. Raises Draining.
        """

        def is_draining() -> bool:
            return not begun and self._is_draining()

        try:
            quoted = await self._quoted(call)
            # In the order of arrival: small calls can't overtake a large call for ever.
            async with self._turn:
                if self._refused is not None:
                    raise self._refused
                if is_draining():
                    raise Draining
                return await self._reserve(quoted, is_draining)
        except BudgetExceeded as error:
            if self._refused is None:
                self._refused = error
                self._on_refusal(error)
            raise

    def event(self, reservation: Reservation, step: StepId) -> ModelReserved | None:
        """The event that must be durable before the call is made; None if only the day is limited."""
        if self.budget is None:
            return None
        settings, amount = reservation.call.settings, reservation.amount
        return ModelReserved(
            step=step,
            provider=settings.provider,
            model=settings.model,
            tokens=amount.tokens if self.budget.tokens is not None else None,
            usd=amount.usd if self.budget.usd is not None else None,
        )

    def settle(self, reservation: Reservation, reply: ModelReply) -> None:
        """The end of a call, also of one that failed."""
        usage = reply.usage
        amount = actual(reservation.amount, tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, usd=reply.cost_usd)
        self._close(reservation.amount, amount)
        if reservation.settle_day is not None:
            reservation.settle_day(amount)

    async def _quoted(self, call: ModelCall) -> _QuotedCall:
        prompt = prompt_bound(call)
        terms = await self._terms(call, prompt)
        usd = self._limited_by("usd") if terms.uses_tokens else None
        if usd is not None and terms.price is None:
            raise UnpricedModel(provider=call.settings.provider, model=call.settings.model, per=usd)
        price = terms.price or FREE
        if not terms.uses_tokens or (self._limited_by("tokens") is None and (usd is None or price == FREE)):
            return _QuotedCall(call, None)
        longest = min(LONGEST_REPLY, terms.longest or LONGEST_REPLY)
        return _QuotedCall(call, Quote(prompt, price.usd_in, price.usd_out, replies_per_call(call)), longest)

    def _limited_by(self, kind: Literal["usd", "tokens"]) -> Literal["run", "day"] | None:
        """Whose budget limits it."""
        if getattr(self.account.budget, kind) is not None:
            return "run"
        return "day" if self._day is not None and getattr(self._day.limits, kind) is not None else None

    async def _reserve(self, quoted: _QuotedCall, is_draining: IsDraining) -> Reservation:
        call, amount = await self._fitted(quoted, is_draining)
        self.account.reserve(amount)
        try:
            settle_day = await self._day.reserve(amount, is_draining) if self._day is not None else None
        except BaseException:
            self._close(amount, Amount())
            raise
        return Reservation(call, amount, settle_day)

    async def _fitted(self, quoted: _QuotedCall, is_draining: IsDraining) -> tuple[ModelCall, Amount]:
        """The call, with a limit for its reply if it has none, and what it may cost at most."""
        call, quote = quoted.call, quoted.quote
        own_limit = reply_limit(call)
        longest = own_limit or quoted.longest
        amount = quote.amount(longest) if quote is not None else Amount(model_calls=1)
        excess = await self._lasting_excess(amount, is_draining)
        if excess is not None and quote is not None and own_limit is None:
            # What it needs at least: any shorter reply isn't worth a call.
            longest = max(quote.longest(self.account.budget, self.account.spent) or 0, SHORTEST_REPLY)
            amount = quote.amount(longest)
            excess = self.account.excess(amount)
        if excess is not None:
            raise refusal(excess, per="run")
        if quote is not None and own_limit is None:
            call = replace(call, settings=replace(call.settings, max_tokens=longest))
        return call, amount

    async def _lasting_excess(self, amount: Amount, is_draining: IsDraining) -> Excess | None:
        """The limit that the amount exceeds, once no call in flight can change that; None: it fits."""
        while (excess := self.account.excess(amount)) is not None and self.account.in_flight:
            await self._settled.wait()
            # Checking only here is enough: a run with calls in flight can't be handed back anyway.
            if is_draining():
                raise Draining
        return excess

    def _close(self, reserved: Amount, spent: Amount) -> None:
        self.account.settle(reserved, spent)
        self._settled.set()
        self._settled = asyncio.Event()


def refusal(excess: Excess, *, per: Literal["run", "day"]) -> LimitReached:
    return LimitReached(excess.limit, per=per, allowed=excess.allowed, spent=excess.spent, coming=excess.coming)


async def canned_terms(call: ModelCall, prompt: int) -> Terms:
    """The terms of canned replies: free."""
    del call, prompt
    return CANNED
