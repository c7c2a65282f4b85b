"""Which calls of a run are open, and how much its calls have cost, from its events."""

from __future__ import annotations

from decimal import Decimal

import pytest

from flowyard.runs.budget import Amount
from flowyard.runs.events import (
    Event,
    Failure,
    ModelCalled,
    ModelReserved,
    RetryScheduled,
    RunClaimed,
    RunFinished,
    RunQueued,
    RunWaiting,
    StepFailed,
    StepFinished,
    StepId,
    StepStarted,
)
from flowyard.runs.open_calls import OpenCalls

STEP = StepId("a", 1)
BROKEN = Failure("rate_limited", "slow down")
STARTED = StepStarted(STEP, provider="openai", model="m")
RESERVING = StepStarted(STEP, provider="openai", model="m", reserves=True)
CLAIMED = RunClaimed(2, "e")


def opened(*events: Event) -> OpenCalls:
    calls = OpenCalls()
    for event in events:
        calls.add(event)
    return calls


def lost(*events: Event) -> list[tuple[str, str, str, Decimal | None]]:
    calls = opened(*events).lost()
    assert all(call.error is not None and call.error.code == "executor_lost" for call in calls)
    return [(call.step.node, call.provider, call.model, call.cost_usd) for call in calls]


def reserved(tokens: int | None = 100, usd: str | None = "0.5", step: StepId = STEP) -> ModelReserved:
    return ModelReserved(step, "openai", "small", tokens, Decimal(usd) if usd else None)


def called(
    tokens: int | None = 10,
    usd: str | None = "0.1",
    step: StepId = STEP,
    *,
    model: str = "m",
    error: Failure | None = None,
) -> ModelCalled:
    cost = Decimal(usd) if usd else None
    return ModelCalled(step, "openai", model, 1.0, None, tokens, 0 if tokens else None, None, cost, error)


def test_a_call_is_open_across_the_loss_of_its_executor() -> None:
    assert lost(STARTED, RunQueued("executor_lost", 1), CLAIMED) == [("a", "openai", "m", None)]


def test_what_costs_nothing_costs_nothing_when_it_is_lost() -> None:
    started = StepStarted(STEP, provider="ollama", model="m")
    assert lost(started) == [("a", "ollama", "m", Decimal(0))]


def test_with_a_budget_only_what_was_reserved_is_open() -> None:
    assert lost(RESERVING, reserved(), reserved(), called()) == [("a", "openai", "small", None)]
    assert lost(RESERVING, reserved(), called()) == []
    assert lost(RESERVING) == []


@pytest.mark.parametrize(
    "event",
    [
        called(),
        StepFinished(STEP, 1.0, {}, 1, 1, 1, None),
        StepFailed(STEP, 1.0, BROKEN, "continue"),
        RunQueued("drained"),
        RunWaiting(60.0, node="a"),
        RunFinished("failed", 1.0, {}, BROKEN),
    ],
)
def test_what_has_ended_or_was_given_back_has_no_call_open(event: Event) -> None:
    assert lost(STARTED, event, CLAIMED) == []


def test_each_try_calls_the_first_model_again() -> None:
    failed = called(model="fallback", error=BROKEN)
    assert lost(STARTED, failed, RetryScheduled(STEP, 2, 1.0, BROKEN)) == [("a", "openai", "m", None)]


def test_a_fallback_that_is_being_called_counts_as_the_model_called_last() -> None:
    assert lost(STARTED, called(error=BROKEN), called(model="second", error=BROKEN)) == [
        ("a", "openai", "second", None)
    ]


def test_a_lost_call_is_lost_once() -> None:
    [call] = opened(STARTED).lost()
    assert lost(STARTED, RunQueued("executor_lost", 1), CLAIMED, call) == []


def test_a_step_that_calls_no_model_or_does_not_name_it_has_no_call_open() -> None:
    assert lost(StepStarted(STEP), RetryScheduled(STEP, 2, 1.0, BROKEN)) == []


def test_calls_cost_what_they_came_to_or_what_was_reserved() -> None:
    other = StepId("write", 1, 3)
    calls = opened(reserved(), reserved(step=other), called(), called(None, None, other), reserved(), called(20, "0.2"))
    assert calls.lost() == []
    assert calls.spent() == Amount(Decimal("0.8"), 130, 3)


def test_an_open_call_costs_what_was_reserved() -> None:
    calls = opened(reserved(), called(), reserved(70, "0.7"))
    assert len(calls.lost()) == 1
    assert calls.spent() == Amount(Decimal("0.8"), 80, 2)


def test_a_lost_call_costs_what_was_reserved() -> None:
    [call] = opened(reserved()).lost()
    calls = opened(reserved(), call, reserved(), called())
    assert calls.lost() == []
    assert calls.spent() == Amount(Decimal("0.6"), 110, 2)


def test_without_a_reservation_a_call_costs_what_is_known() -> None:
    calls = opened(reserved(None, None), called(40, "0.4"), called(5, None))
    assert calls.spent() == Amount(Decimal("0.4"), 45, 2)
