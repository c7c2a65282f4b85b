"""What a process takes for the database's time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowyard.durable.clock import DatabaseClock

AT = datetime(2001, 1, 1, tzinfo=UTC)
"""Far from the time of this machine."""
ABOUT = timedelta(seconds=4)


@pytest.fixture
def clock() -> DatabaseClock:
    clock = DatabaseClock()
    clock.set(AT)
    return clock


def test_it_goes_on_from_the_last_reading(clock: DatabaseClock) -> None:
    first, second = clock.now(), clock.now()
    assert AT <= first < second < AT + ABOUT


def test_a_later_reading_counts(clock: DatabaseClock) -> None:
    clock.set(AT + timedelta(seconds=5))
    assert AT + timedelta(seconds=5) <= clock.now() < AT + timedelta(seconds=5) + ABOUT


@pytest.mark.parametrize("back_s", [0.001, 0.5, 0.9])
def test_a_reading_that_came_late_does_not_turn_it_back(clock: DatabaseClock, back_s: float) -> None:
    before = clock.now()
    clock.set(AT - timedelta(seconds=back_s))
    assert before <= clock.now() < AT + ABOUT


def test_a_reading_far_back_is_a_clock_that_was_set(clock: DatabaseClock) -> None:
    clock.set(AT - timedelta(hours=1))
    assert AT - timedelta(hours=1) <= clock.now() < AT - timedelta(hours=1) + ABOUT
