"""The gate before each call of a model: what the call may come to is reserved, or the call isn't made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, TypeGuard

from flowyard.llm.calls import ModelCall, ModelReply
from flowyard.llm.terms import CANNED, FREE, Terms
from flowyard.runs.budget import Account, Amount, Budget, Excess, Quote, actual
from flowyard.runs.events import ModelReserved, StepId
from flowyard.step_errors import BudgetExceeded, LimitReached, UnpricedModel

LONGEST_REPLY: Final = 4096
"""Tokens that a reply may have under a limit on tokens or money, where nobody said `max_tokens`."""
SHORTEST_REPLY: Final = 16
"""A reply isn't made shorter than that to fit what is left."""
_PER_MESSAGE: Final = 8
_PER_CALL: Final = 64
"""What the template of a chat puts around the messages: some bring a system message of their own."""
_PER_SCHEMA: Final = 600
"""Tokens that providers add to a prompt to ask for JSON; Anthropic's up to 530."""
_LENGTHS: Final = frozenset(
    {"max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "num_predict"}
)
_NUMBERS: Final = frozenset({"n", "best_of", "candidate_count", "candidateCount"})

Settle: TypeAlias = Callable[[Amount], None]
Leaves: TypeAlias = Callable[[], bool]
"""Whether a call that still waits isn't to be made here any more."""
TermsOf: TypeAlias = Callable[[ModelCall, int], Awaitable[Terms]]
"""What is known of a call's model before the call; the number: tokens of its prompt, at most."""


class GoingAway(Exception):
    """The executor drains, and the call still waited: it isn't made, and nothing is reserved for it."""


@dataclass(frozen=True, slots=True)
class Day:
    """What all runs of a workflow may spend on one day.

    `reserve` returns what settles it. Raises BudgetExceeded, GoingAway.
    """

    limits: Budget
    reserve: Callable[[Amount, Leaves], Awaitable[Settle]]


@dataclass(frozen=True, slots=True)
class Held:
    """A call that may be made, as `call` has it."""

    call: ModelCall
    amount: Amount
    settle_day: Settle | None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call, and what it may cost. `quote` is None where nothing that is limited grows with its reply.

    `most`: tokens of the reply, if the document doesn't say.
    """

    call: ModelCall
    quote: Quote | None
    most: int = 0


class Spending:
    """What one run spends. `budget`: None if only its workflow's `day` is limited.

    `drains`: whether the executor does, so that no step makes its first call any more.
    """

    def __init__(
        self,
        budget: Budget | None,
        terms: TermsOf,
        *,
        account: Account | None = None,
        day: Day | None = None,
        drains: Leaves = lambda: False,
        on_refusal: Callable[[BudgetExceeded], None] = lambda _: None,
    ) -> None:
        self.budget = budget
        self.account = account or Account(budget or Budget())
        self._terms = terms
        self._day = day
        self._drains = drains
        self._on_refusal = on_refusal
        self._turn = asyncio.Lock()
        self._settled = asyncio.Event()
        self._refused: BudgetExceeded | None = None

    async def admit(self, call: ModelCall, *, begun: bool = False) -> Held:
        """Reserves what the call may come to. Waits as long as calls in flight may leave more than they reserved.

        `begun`: the call's step has made one before, and is finished here even if the executor drains.
        Raises BudgetExceeded: now, and for every call after that. Raises GoingAway.
        """

        def leaves() -> bool:
            return not begun and self._drains()

        try:
            asked = await self._asked(call)
            # One at a time, in the order in which they came: small calls can't overtake a large one for ever.
            async with self._turn:
                if self._refused is not None:
                    raise self._refused
                if leaves():
                    raise GoingAway
                return await self._reserve(asked, leaves)
        except BudgetExceeded as error:
            if self._refused is None:
                self._refused = error
                self._on_refusal(error)
            raise

    def told(self, held: Held, step: StepId) -> ModelReserved | None:
        """What has to be on disk before the call is made, so that a crash can't make it free."""
        if self.budget is None:
            return None
        tokens = held.amount.tokens if self.budget.tokens is not None else None
        usd = held.amount.usd if self.budget.usd is not None else None
        return ModelReserved(step, held.call.settings.provider, held.call.settings.model, tokens, usd)

    def settle(self, held: Held, reply: ModelReply) -> None:
        """The end of a call, also of one that failed."""
        usage = reply.usage
        amount = actual(held.amount, tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, usd=reply.cost_usd)
        self._close(held.amount, amount)
        if held.settle_day is not None:
            held.settle_day(amount)

    async def _asked(self, call: ModelCall) -> _Asked:
        prompt = prompt_bound(call)
        terms = await self._terms(call, prompt)
        usd = self._limits("usd") if terms.uses_tokens else None
        if usd is not None and terms.price is None:
            raise UnpricedModel(provider=call.settings.provider, model=call.settings.model, per=usd)
        price = terms.price or FREE
        if not terms.uses_tokens or (self._limits("tokens") is None and (usd is None or price == FREE)):
            return _Asked(call, None)
        most = min(LONGEST_REPLY, terms.longest or LONGEST_REPLY)
        return _Asked(call, Quote(prompt, price.usd_in, price.usd_out, _replies(call.settings.extra)), most)

    def _limits(self, kind: Literal["usd", "tokens"]) -> Literal["run", "day"] | None:
        """Whose budget limits it."""
        if getattr(self.account.budget, kind) is not None:
            return "run"
        return "day" if self._day is not None and getattr(self._day.limits, kind) is not None else None

    async def _reserve(self, asked: _Asked, leaves: Leaves) -> Held:
        call, amount = await self._fitted(asked, leaves)
        self.account.reserve(amount)
        try:
            return Held(call, amount, await self._day.reserve(amount, leaves) if self._day is not None else None)
        except BaseException:
            self._close(amount, Amount())
            raise

    async def _fitted(self, asked: _Asked, leaves: Leaves) -> tuple[ModelCall, Amount]:
        """The call, with a bound for its reply if that has none, and what it may come to."""
        call, quote = asked.call, asked.quote
        said = _said(call)
        longest = said or asked.most
        amount = quote.amount(longest) if quote is not None else Amount(model_calls=1)
        lacking = await self._lacking(amount, leaves)
        if lacking is not None and quote is not None and said is None:
            longest = quote.longest(self.account.budget, self.account.spent) or 0
            amount = quote.amount(longest)
            lacking = self.account.excess(amount) if longest >= SHORTEST_REPLY else lacking
        if lacking is not None:
            raise refusal(lacking, per="run")
        if quote is not None and said is None:
            call = replace(call, settings=replace(call.settings, max_tokens=longest))
        return call, amount

    async def _lacking(self, amount: Amount, leaves: Leaves) -> Excess | None:
        """What keeps it from fitting, once no call in flight can change that."""
        while (found := self.account.excess(amount)) is not None and self.account.in_flight:
            await self._settled.wait()
            # Soon enough: until calls in flight have ended, their run can't be given back.
            if leaves():
                raise GoingAway
        return found

    def _close(self, reserved: Amount, came_to: Amount) -> None:
        self.account.settle(reserved, came_to)
        self._settled.set()
        self._settled = asyncio.Event()


def _replies(extra: Mapping[str, Any]) -> int:
    """How many replies are asked for at once: OpenAI's `n`, and what others call it."""
    return max([1, *_counts(extra, _NUMBERS)])


def _said(call: ModelCall) -> int | None:
    """Tokens that a document allows a reply: `max_tokens`, or what `extra` says in words of the provider."""
    said = call.settings.max_tokens
    return max([*_counts(call.settings.extra, _LENGTHS), *([said] if said is not None else [])], default=None)


def _counts(value: Any, names: frozenset[str]) -> Iterator[int]:
    """What stands under these names, however deep: `extra_body` and the like are a part of the request, too."""
    if isinstance(value, Mapping):
        yield from (count for name, count in value.items() if name in names and _is_count(count))
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for each in inner:
        yield from _counts(each, names)


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def refusal(found: Excess, *, per: Literal["run", "day"]) -> LimitReached:
    return LimitReached(found.limit, per=per, allowed=found.allowed, spent=found.spent, coming=found.coming)


def prompt_bound(call: ModelCall) -> int:
    """No tokenizer makes more tokens of a prompt: none makes more than one of a byte."""
    told = sum(_bytes(message.content) + _PER_MESSAGE for message in call.messages) + _PER_CALL
    asked = _bytes(_json(call.schema)) + _PER_SCHEMA if call.schema is not None else 0
    # Tools and the like go to the provider as they are, and are counted by it as a part of the prompt.
    extra = _bytes(_json(call.settings.extra)) if call.settings.extra else 0
    return told + asked + extra


async def nothing_spent(call: ModelCall, prompt: int) -> Terms:
    """The terms of canned replies."""
    del call, prompt
    return CANNED
