"""Which fires are started now: on time, after an outage, and when the clock jumps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, lists, sampled_from

from flowyard.schedules.due import MOST_DUE, CatchUp, DueFires, Schedule, due_fires, start_of
from flowyard.schedules.fires import fires_between
from flowyard.schedules.rules import Rule, read_cron, read_every

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def hourly(**options: object) -> Schedule:
    return Schedule(**{"id": "report", "rule": read_cron("@hourly"), **options})  # type: ignore[arg-type]


def hours(*numbers: int) -> tuple[datetime, ...]:
    return tuple(NOON.replace(hour=number) for number in numbers)


@pytest.mark.parametrize("mode", get_args(CatchUp))
def test_a_fire_on_time_is_due_once(mode: CatchUp) -> None:
    schedule = hourly(catch_up=mode)
    assert due_fires(schedule, handled=NOON - MINUTE, now=NOON - SECOND) == DueFires((), NOON - MINUTE, None)
    assert due_fires(schedule, handled=NOON - MINUTE, now=NOON) == DueFires((NOON,), NOON, None)
    assert due_fires(schedule, handled=NOON - MINUTE, now=NOON + 59 * SECOND) == DueFires((NOON,), NOON, None)
    assert due_fires(schedule, handled=NOON, now=NOON + 59 * SECOND) == DueFires((), NOON, None)


@pytest.mark.parametrize(
    ("mode", "minute", "fires", "skipped"),
    [
        ("none", 30, (), 9),
        ("none", 0, hours(12), 9),
        ("last", 30, hours(12), 9),
        ("last", 0, hours(12), 9),
        ("all", 30, hours(9, 10, 11, 12), None),
        ("all", 0, hours(9, 10, 11, 12), None),
    ],
)
def test_after_an_outage_missed_fires_are_started_as_the_schedule_says(
    mode: CatchUp, minute: int, fires: tuple[datetime, ...], skipped: int | None
) -> None:
    due = due_fires(hourly(catch_up=mode), handled=NOON.replace(hour=8), now=NOON + minute * MINUTE)
    assert due == DueFires(fires, NOON, None if skipped is None else NOON.replace(hour=skipped))


def test_the_last_one_alone_is_not_skipped() -> None:
    now = NOON + 30 * MINUTE
    assert due_fires(hourly(catch_up="last"), handled=NOON - HOUR, now=now) == DueFires((NOON,), NOON, None)


def test_what_was_missed_by_more_than_the_window_is_never_started() -> None:
    schedule = hourly(catch_up="all", window=2 * HOUR)
    due = due_fires(schedule, handled=NOON - 5 * HOUR, now=NOON + 30 * MINUTE)
    assert due == DueFires(hours(11, 12), NOON, NOON - 4 * HOUR)
    assert due_fires(schedule, handled=NOON - 5 * HOUR, now=NOON).fires == hours(11, 12)
    assert due_fires(schedule, handled=due.handled, now=NOON + 30 * MINUTE) == DueFires((), NOON, None)


def test_a_yearly_fire_that_is_too_old_is_reported_once() -> None:
    schedule = Schedule(id="year", rule=read_cron("@yearly"), window=HOUR)
    due = due_fires(schedule, handled=NOON.replace(year=2025), now=NOON)
    assert due == DueFires((), NOON - HOUR, datetime(2026, 1, 1, tzinfo=UTC))
    assert due_fires(schedule, handled=due.handled, now=NOON) == DueFires((), NOON - HOUR, None)


def test_of_too_many_the_latest_are_started_and_the_first_skipped_is_named() -> None:
    schedule = Schedule(id="s", rule=read_every(60), catch_up="all", window=timedelta(days=30))
    due = due_fires(schedule, handled=NOON - timedelta(days=20), now=NOON)
    assert due.fires == tuple(NOON - number * MINUTE for number in reversed(range(MOST_DUE)))
    assert due.skipped_since == NOON - timedelta(days=20) + MINUTE
    assert due.handled == NOON


def test_without_a_window_fires_on_time_are_started() -> None:
    assert due_fires(hourly(window=timedelta()), handled=NOON - HOUR, now=NOON + 5 * SECOND).fires == (NOON,)


def test_a_clock_that_is_set_back_starts_nothing_twice() -> None:
    schedule, handled = hourly(catch_up="all"), NOON - HOUR
    started: list[datetime] = []
    for now in (NOON, NOON + HOUR, NOON, NOON - 3 * HOUR, NOON + MINUTE, NOON + HOUR + MINUTE, NOON + 2 * HOUR):
        due = due_fires(schedule, handled=handled, now=now)
        assert due.handled >= handled
        handled, started = due.handled, [*started, *due.fires]
    assert started == [NOON, NOON + HOUR, NOON + 2 * HOUR]


def test_a_fire_starts_later_by_its_own_jitter_which_is_always_the_same() -> None:
    schedule = hourly(jitter=timedelta(minutes=10))
    start = start_of(schedule, NOON)
    # Registries of other releases compute the same.
    assert start == NOON + timedelta(seconds=465, microseconds=815_631)
    assert due_fires(schedule, handled=NOON - MINUTE, now=start - SECOND).fires == ()
    assert due_fires(schedule, handled=NOON - MINUTE, now=start) == DueFires((NOON,), NOON, None)
    assert start_of(hourly(id="another", jitter=timedelta(minutes=10)), NOON) != start


def test_jitter_is_spread_over_its_whole_length() -> None:
    fires = list(fires_between(read_cron("@hourly"), NOON, NOON + 1000 * HOUR))
    delays = [(start_of(hourly(jitter=10 * MINUTE), fire) - fire) / (10 * MINUTE) for fire in fires]
    assert len(delays) == 1000
    assert all(0 <= delay < 1 for delay in delays)
    for tenth in range(10):
        assert 60 < sum(tenth / 10 <= delay < (tenth + 1) / 10 for delay in delays) < 140


def test_jitter_is_shortened_so_that_a_fire_starts_before_the_next_one_comes() -> None:
    schedule = Schedule(id="s", rule=read_cron("0 0,1 * * *"), jitter=timedelta(hours=6))
    for fire in fires_between(schedule.rule, NOON, NOON + timedelta(days=50)):
        assert start_of(schedule, fire) < fire + (HOUR if fire.hour == 0 else timedelta(hours=6))


@settings(max_examples=100, deadline=None)
@given(
    sampled_from([read_cron("*/7 * * * *", "Europe/Berlin"), read_cron("30 2 * * *", "Europe/Berlin"), read_every(45)]),
    sampled_from(get_args(CatchUp)),
    integers(0, 3600),
    lists(integers(-60, 60), min_size=1, max_size=60),
)
def test_whoever_computes_it_each_minute_starts_each_fire_once_and_in_time(
    rule: Rule, mode: CatchUp, jitter: int, steps: list[int]
) -> None:
    """The clock goes back, too."""
    schedule = Schedule(id="s", rule=rule, jitter=jitter * SECOND, catch_up=mode)
    begin = now = handled = datetime(2026, 10, 25, 0, 20, tzinfo=UTC)
    started: list[datetime] = []
    latest = now
    for step in steps:
        now += step * SECOND
        latest = max(latest, now)
        due = due_fires(schedule, handled=handled, now=now)
        assert all(start_of(schedule, fire) <= now for fire in due.fires)
        assert due.skipped_since is None
        handled, started = due.handled, [*started, *due.fires]
    assert started == [fire for fire in fires_between(rule, begin, latest) if start_of(schedule, fire) <= latest]


@settings(max_examples=100, deadline=None)
@given(integers(60, 9000), integers(0, 9000), lists(integers(0, 100_000), min_size=1, max_size=10))
def test_with_all_each_fire_within_the_window_is_started_once_whatever_the_outages(
    period: int, jitter: int, steps: list[int]
) -> None:
    window = 40 * timedelta(seconds=period)
    schedule = Schedule(id="s", rule=read_every(period), jitter=jitter * SECOND, catch_up="all", window=window)
    now = handled = NOON
    for step in steps:
        earlier, now = now, now + step * SECOND
        due = due_fires(schedule, handled=handled, now=now)
        handled = due.handled
        oldest = now - max(window, MINUTE)
        starts = {fire: start_of(schedule, fire) for fire in fires_between(schedule.rule, NOON, now)}
        assert list(due.fires) == [fire for fire, start in starts.items() if earlier < start <= now and start > oldest]
