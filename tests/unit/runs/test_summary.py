"""A run's events added up."""

from __future__ import annotations

from decimal import Decimal

import pytest

from flowyard.runs.events import (
    Event,
    Failure,
    LoopTurned,
    ModelCalled,
    RetryScheduled,
    RouteTaken,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepId,
    StepStarted,
    Token,
)
from flowyard.runs.summary import RunSummary, add_known

_FAILURE = Failure("rate_limited", "slow down")


def _started(node: str, visit: int = 1, item: int | None = None) -> StepStarted:
    return StepStarted(StepId(node, visit, item))


def _finished(node: str, visit: int = 1, item: int | None = None) -> StepFinished:
    return StepFinished(StepId(node, visit, item), 0.0, {}, 1, None, None, None)


def _called(
    node: str, tokens: int | None = 10, cost: Decimal | None = Decimal("0.5"), error: Failure | None = None
) -> ModelCalled:
    return ModelCalled(StepId(node, 1), "p", "m", 1.0, None, tokens, tokens, None, cost, error)


def _summary(*timed: tuple[float, Event]) -> RunSummary:
    summary = RunSummary()
    for at, event in timed:
        summary.add(event, at)
    return summary


def test_a_summary_begins_and_ends_with_the_run() -> None:
    summary = _summary(
        (0, RunStarted("r1", "triage", "d")),
        (1, RouteTaken("a", "b", None)),
        (2, LoopTurned("a", 1, 3, "a", "again")),
        (3, Token(StepId("a", 1), "x")),
        (9, RunFinished("failed", 9.0, {"a": 1}, _FAILURE)),
    )
    assert (summary.run_id, summary.workflow, summary.status, summary.error) == ("r1", "triage", "failed", _FAILURE)
    assert (summary.duration_s, summary.outputs) == (9.0, {"a": 1})
    assert summary.nodes == {}


def test_the_path_names_every_step_in_order() -> None:
    summary = _summary((0, _started("a")), (1, _finished("a")), (1, _started("b")), (2, _started("a", 2)))
    assert summary.path == ["a", "b", "a"]
    assert summary.nodes["a"].steps == 2


def test_steps_that_overlap_are_not_counted_twice() -> None:
    """Items from 0 to 4, from 1 to 3 and from 2 to 6, then a pause, then from 8 to 9."""
    summary = _summary(
        (0, _started("a", 1, 0)),
        (1, _started("a", 1, 1)),
        (2, _started("a", 1, 2)),
        (3, _finished("a", 1, 1)),
        (4, _finished("a", 1, 0)),
        (6, _finished("a", 1, 2)),
        (8, _started("a", 2, 0)),
        (9, _finished("a", 2, 0)),
    )
    assert summary.nodes["a"].duration_s == 7.0


def test_a_failed_step_ends_too() -> None:
    summary = _summary((0, _started("a")), (2, StepFailed(StepId("a", 1), 2.0, _FAILURE, "continue")))
    assert (summary.nodes["a"].failed, summary.nodes["a"].duration_s) == (1, 2.0)


def test_steps_that_were_cut_off_end_with_the_run() -> None:
    summary = _summary((0, _started("a")), (1, _started("b")), (5, RunFinished("cancelled", 5.0, {})))
    assert (summary.nodes["a"].duration_s, summary.nodes["b"].duration_s) == (5.0, 4.0)


def test_a_node_is_the_bottleneck_above_half_of_the_run() -> None:
    events: list[tuple[float, Event]] = [
        (0.0, _started("a")),
        (5.0, _finished("a")),
        (5.0, _started("b")),
        (6.0, _finished("b")),
    ]
    assert _summary(*events, (9.0, RunFinished("succeeded", 9.0, {}))).bottleneck == "a"
    assert _summary(*events, (10.0, RunFinished("succeeded", 10.0, {}))).bottleneck is None


def test_a_run_without_steps_has_no_bottleneck() -> None:
    summary = _summary((0, _started("a")), (5, _finished("a")), (5, RunFinished("succeeded", 5.0, {})))
    assert summary.bottleneck == "a"
    assert summary.nodes["a"].share(5.0) == 1.0
    assert RunSummary().bottleneck is None


def test_a_run_that_took_no_time_has_no_shares() -> None:
    summary = _summary((0, _started("a")), (0, _started("b")), (0, RunFinished("succeeded", 0.0, {})))
    assert summary.nodes["a"].share(summary.duration_s) == 0.0
    assert summary.bottleneck is None


def test_calls_tokens_and_cost_are_added_up_per_node_and_in_total() -> None:
    summary = _summary((0, _called("a")), (1, _called("a")), (2, _called("b", 5, Decimal("0.1"))))
    assert (summary.nodes["a"].calls, summary.nodes["a"].tokens_in) == (2, 20)
    total = summary.totals
    assert (total.calls, total.tokens_in, total.tokens_out, total.cost_usd) == (3, 25, 25, Decimal("1.1"))


def test_unknown_stays_unknown_whatever_is_added_to_it() -> None:
    summary = _summary((0, _called("a", None, None)), (1, _called("a")), (2, _called("b")))
    assert (summary.nodes["a"].tokens_in, summary.nodes["a"].cost_usd) == (None, None)
    assert summary.nodes["b"].cost_usd == Decimal("0.5")
    assert summary.totals.cost_usd is None
    assert summary.totals.tokens_out is None


def test_a_known_cost_is_kept_where_only_tokens_are_unknown() -> None:
    summary = _summary((0, _called("a", None, Decimal(0))))
    assert (summary.totals.tokens_in, summary.totals.cost_usd) == (None, Decimal(0))


def test_what_a_cut_call_has_used_is_unknown() -> None:
    summary = _summary((0, _called("a", None, None, _FAILURE)), (1, _called("a")))
    assert (summary.nodes["a"].calls, summary.nodes["a"].tokens_in) == (2, None)
    assert summary.nodes["a"].cost_usd is None


def test_a_failed_call_that_was_counted_by_its_provider_counts() -> None:
    summary = _summary((0, _called("a", 7, Decimal("0.1"), _FAILURE)))
    assert (summary.nodes["a"].tokens_in, summary.nodes["a"].cost_usd) == (7, Decimal("0.1"))


def test_retries_are_counted() -> None:
    summary = _summary((0, RetryScheduled(StepId("a", 1), 2, 1.0, _FAILURE)))
    assert summary.totals.retries == 1


@pytest.mark.parametrize(("a", "b", "total"), [(1, 2, 3), (None, 2, None), (1, None, None), (None, None, None)])
def test_a_sum_with_an_unknown_part_is_unknown(a: int | None, b: int | None, total: int | None) -> None:
    assert add_known(a, b) == total
