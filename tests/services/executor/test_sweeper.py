"""What a sweep says of the runs that it has moved."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flowyard.runs.run import Entry
from flowyard_executor.sweeper import lost_its_executor


@pytest.mark.parametrize(
    ("kind", "reason", "expected"),
    [
        ("run.queued", "executor_lost", True),
        ("run.queued", "released", True),
        ("run.failed", "executor_lost", True),
        ("run.queued", "woken", False),
        ("run.failed", "run_timeout", False),
        ("run.cancelled", "cancelled", False),
    ],
)
def test_executors_are_said_to_die_only_where_they_do(kind: str, reason: str, *, expected: bool) -> None:
    assert lost_its_executor(Entry(3, datetime(2026, 1, 1, tzinfo=UTC), kind, {"reason": reason})) is expected
