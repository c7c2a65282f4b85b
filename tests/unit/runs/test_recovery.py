from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.runs.recovery import GRACE, Due, RunSnapshot, due_move
from flowyard.runs.run import MOVES, OPEN, STATES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HEALTHY = RunSnapshot("running", 1, 3, False, NOW + SECOND, None, None)  # noqa: FBT003  # no cancellation
LOST = replace(HEALTHY, lease_until=NOW - SECOND)
TIMES = st.none() | st.integers(-10, 10).map(lambda seconds: NOW + seconds * SECOND)


def move(run: RunSnapshot) -> tuple[str, str] | None:
    due = due_move(run, NOW)
    return (due.move, due.reason) if due else None


@pytest.mark.parametrize(
    "run",
    [
        HEALTHY,
        replace(HEALTHY, cancel_requested=True),
        replace(HEALTHY, deadline=NOW - GRACE),
        replace(HEALTHY, step_deadline=NOW - GRACE),
        replace(HEALTHY, attempt=9),
        replace(HEALTHY, status="queued", lease_until=None),
        replace(HEALTHY, status="waiting", lease_until=None),
    ],
)
def test_a_run_that_is_looked_after_is_left_alone(run: RunSnapshot) -> None:
    assert due_move(run, NOW) is None


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (LOST, ("hand_back", "executor_lost")),
        (replace(LOST, lease_until=None), ("hand_back", "executor_lost")),
        (replace(LOST, attempt=3), ("fail", "executor_lost")),
        (replace(LOST, attempt=3, cancel_requested=True), ("cancel", "cancelled")),
        (replace(LOST, deadline=NOW - SECOND), ("fail", "run_timeout")),
        (replace(LOST, deadline=NOW - SECOND, cancel_requested=True), ("cancel", "cancelled")),
        (replace(HEALTHY, deadline=NOW - GRACE - SECOND), ("fail", "run_timeout")),
        (replace(HEALTHY, status="queued", lease_until=None, cancel_requested=True), ("cancel", "cancelled")),
        (replace(HEALTHY, status="waiting", cancel_requested=True), ("cancel", "cancelled")),
    ],
)
def test_what_is_due_and_why(run: RunSnapshot, expected: tuple[str, str]) -> None:
    assert move(run) == expected


def test_the_error_says_what_was_allowed() -> None:
    lost = due_move(replace(LOST, attempt=1, max_attempts=1), NOW)
    late = due_move(replace(LOST, deadline=NOW - SECOND, timeout_s=2.5), NOW)
    assert lost is not None
    assert late is not None
    assert lost.error is not None
    assert late.error is not None
    assert lost.error.message == "its executor was lost, and it had 1 attempt"
    assert late.error.message == "the run took longer than its timeout of 2.5 s"


@given(
    run=st.builds(
        RunSnapshot,
        status=st.sampled_from(STATES),
        attempt=st.integers(0, 4),
        max_attempts=st.integers(1, 4),
        cancel_requested=st.booleans(),
        lease_until=TIMES,
        deadline=TIMES,
        timeout_s=st.none() | st.floats(0, 100),
    ).filter(lambda run: run.status in OPEN)
)
def test_what_is_due_is_always_a_legal_move(run: RunSnapshot) -> None:
    due: Due | None = due_move(run, NOW)
    if due is not None:
        assert run.status in MOVES[due.move]
        assert (due.error is not None) == (due.move == "fail")
