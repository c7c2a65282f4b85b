"""What a sweep says of the runs that it has moved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flowyard.runs.run import Entry
from flowyard_executor.sweeping import is_of_the_dead


@pytest.mark.parametrize(
    ("status", "kind", "reason", "expected"),
    [
        ("queued", "run.queued", "executor_lost", True),
        ("queued", "run.queued", "released", True),
        ("queued", "run.queued", "woken", False),
        ("failed", "run.failed", "run_timeout", False),
        ("cancelled", "run.cancelled", "cancelled", False),
    ],
)
def test_executors_are_said_to_die_only_where_they_do(status: Any, kind: str, reason: str, *, expected: bool) -> None:
    entry = Entry(3, datetime(2026, 1, 1, tzinfo=UTC), kind, {"reason": reason})
    assert is_of_the_dead(status, entry) is expected
