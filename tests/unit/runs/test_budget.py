"""What is reserved and settled never exceeds a limit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.language.workflow import Budget
from flowyard.runs.budget import Amount, BudgetAccount, Excess, Quote, actual, excess

USD = st.decimals(0, 10, places=6)
COUNTS = st.integers(0, 1000)
LIMITS = st.builds(
    Budget, st.none() | st.decimals("0.000001", 30, places=6), st.none() | st.integers(1, 3000), st.none() | COUNTS
)
CALLS = st.builds(Amount, USD, COUNTS, st.just(1))
REPORTED = st.tuples(st.none() | COUNTS, st.none() | COUNTS, st.none() | USD)


def keeps(budget: Budget, spent: Amount) -> bool:
    return excess(budget, spent, Amount()) is None


def never_more(reserved: Amount, reported: Any) -> Amount:
    """What a call came to that kept to what was reserved for it."""
    tokens_in, tokens_out, usd = reported
    came_to = actual(reserved, tokens_in=tokens_in, tokens_out=tokens_out, usd=usd)
    return Amount(min(came_to.usd, reserved.usd), min(came_to.tokens, reserved.tokens), 1)


@given(budget=LIMITS, calls=st.lists(st.tuples(CALLS, REPORTED, st.booleans()), max_size=30))
def test_no_order_of_calls_passes_a_limit(budget: Budget, calls: list[tuple[Amount, Any, bool]]) -> None:
    account, flying = BudgetAccount(budget), list[tuple[Amount, Any]]()
    for amount, reported, lands_first in calls:
        if lands_first and flying:
            reserved, earlier = flying.pop(0)
            account.settle(reserved, never_more(reserved, earlier))
        if account.excess(amount) is None:
            account.reserve(amount)
            flying.append((amount, reported))
        assert keeps(budget, account.spent)
        assert account.in_flight == len(flying)
    for reserved, reported in flying:
        account.settle(reserved, never_more(reserved, reported))
        assert keeps(budget, account.spent)
    assert (account.reserved, account.in_flight) == (Amount(), 0)


@given(
    prompt=COUNTS,
    prices=st.tuples(st.decimals(0, "0.001", places=9), st.decimals(0, "0.001", places=9)),
    replies=st.integers(1, 3),
    budget=LIMITS,
    spent=st.builds(Amount, USD, COUNTS, COUNTS),
)
def test_the_longest_reply_that_fits_does_and_a_longer_one_does_not(
    prompt: int, prices: tuple[Decimal, Decimal], replies: int, budget: Budget, spent: Amount
) -> None:
    quote, limits = Quote(prompt, *prices, replies), Budget(budget.usd, budget.tokens)
    longest = quote.longest(limits, spent)
    if longest is None:
        assert limits.tokens is None
        assert limits.usd is None or not prices[1]
        return
    assert excess(limits, spent, quote.amount(longest + 1)) is not None
    if longest >= 0 and prices[1]:
        assert excess(limits, spent, quote.amount(longest)) is None


@pytest.mark.parametrize(
    ("reported", "came_to"),
    [
        ((20, 5, Decimal("0.1")), Amount(Decimal("0.1"), 25, 1)),
        ((0, 0, Decimal(0)), Amount(Decimal(0), 0, 1)),
        ((20, None, Decimal("0.1")), Amount(Decimal("0.1"), 100, 1)),
        ((None, None, None), Amount(Decimal(3), 100, 1)),
        ((80, 40, Decimal(4)), Amount(Decimal(4), 120, 1)),
    ],
)
def test_an_unknown_amount_counts_as_it_was_reserved(reported: tuple[Any, Any, Any], came_to: Amount) -> None:
    reserved = Amount(Decimal(3), 100, 1)
    assert actual(reserved, tokens_in=reported[0], tokens_out=reported[1], usd=reported[2]) == came_to


def test_the_limit_that_would_be_passed_is_named_with_its_figures() -> None:
    spent, coming = Amount(Decimal("0.9"), 10, 3), Amount(Decimal("0.2"), 10, 1)
    assert excess(Budget(usd=Decimal(1), tokens=20, model_calls=4), spent, coming) == Excess(
        "usd", Decimal(1), Decimal("0.9"), Decimal("0.2")
    )
    assert excess(Budget(tokens=19), spent, coming) == Excess("tokens", 19, 10, 10)
    assert excess(Budget(model_calls=3), spent, coming) == Excess("model_calls", 3, 3, 1)
