from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flowyard.runs.events import StepId
from flowyard.runs.run import Entry
from flowyard_executor.execute import last_told

STEP = {"node": "a", "visit": 1}


def told(*events: tuple[str, dict[str, Any]]) -> dict[StepId, str]:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return last_told(Entry(seq, at, kind, data) for seq, (kind, data) in enumerate(events, 1))


def test_a_step_is_open_across_the_loss_of_its_executor() -> None:
    lost = ("run.queued", {"reason": "executor_lost"})
    assert told(("step.started", STEP), lost, ("run.started", {})) == {StepId("a", 1): "step.started"}


def test_a_step_is_open_where_others_have_ended_its_run_that_is_now_retried() -> None:
    ended = ("run.failed", {"reason": "executor_lost"})
    retried = ("run.queued", {"reason": "retried"})
    assert told(("step.started", STEP), ended, retried, ("run.started", {})) == {StepId("a", 1): "step.started"}


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("run.queued", {"reason": "drained"}),
        ("run.waiting", {"reason": "retry", "node": "a"}),
        ("run.failed", {"duration_s": 1.0}),
    ],
)
def test_what_was_given_back_between_two_steps_has_no_call_open(kind: str, why: dict[str, Any]) -> None:
    assert told(("step.started", STEP), (kind, why), ("run.started", {})) == {}
