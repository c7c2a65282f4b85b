"""The instants at which rules fire: on days when clocks are moved, and for any rule, in any zone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Final, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis.strategies import DrawFn, booleans, composite, floats, integers, lists, one_of, sampled_from

from flowyard.schedules.fires import fires_between, latest_fires, next_fires
from flowyard.schedules.rules import Cron, Every, Rule, read_cron, read_every
from flowyard.schedules.zones import zone

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


def day_of(rule: Rule, day: str, place: str, *, days: int = 1) -> list[str]:
    """The fires of a local day: in UTC, and by the clock there."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone(place))
    end = (datetime.fromisoformat(day) + days * DAY).replace(tzinfo=zone(place))
    fires = fires_between(rule, midnight - timedelta(microseconds=1), end.astimezone(UTC) - MINUTE)
    return [f"{fire:%H:%M}Z {fire.astimezone(zone(place)):%H:%M%z}" for fire in fires]


@pytest.mark.parametrize(
    ("place", "day", "expression", "fires"),
    [
        ("Europe/Berlin", "2026-03-29", "30 2 * * *", ["01:00Z 03:00+0200"]),
        ("Europe/Berlin", "2026-03-29", "0,30 2,3 * * *", ["01:00Z 03:00+0200", "01:30Z 03:30+0200"]),
        ("Europe/Berlin", "2026-03-29", "*/30 2 * * *", []),
        (
            *("Europe/Berlin", "2026-03-29", "0 */1 1-31 3 *"),
            ["23:00Z 00:00+0100", "00:00Z 01:00+0100", *(f"{h - 2:02}:00Z {h:02}:00+0200" for h in range(3, 24))],
        ),
        ("Europe/Berlin", "2026-10-25", "30 2 * * *", ["00:30Z 02:30+0200"]),
        ("Europe/Berlin", "2026-10-25", "0 3 * * *", ["02:00Z 03:00+0100"]),
        (
            *("Europe/Berlin", "2026-10-25", "*/30 2 * * *"),
            ["00:00Z 02:00+0200", "00:30Z 02:30+0200", "01:00Z 02:00+0100", "01:30Z 02:30+0100"],
        ),
        (
            *("Europe/Berlin", "2026-10-25", "15 * * * *"),
            [
                *("22:15Z 00:15+0200", "23:15Z 01:15+0200", "00:15Z 02:15+0200", "01:15Z 02:15+0100"),
                *(f"{h - 1:02}:15Z {h:02}:15+0100" for h in range(3, 24)),
            ],
        ),
        ("Australia/Lord_Howe", "2026-10-04", "15 2 * * *", ["15:30Z 02:30+1100"]),
        ("Australia/Lord_Howe", "2026-10-04", "45 2 * * *", ["15:45Z 02:45+1100"]),
        ("Australia/Lord_Howe", "2026-10-04", "*/15 2 * * *", ["15:30Z 02:30+1100", "15:45Z 02:45+1100"]),
        ("Australia/Lord_Howe", "2026-04-05", "45 1 * * *", ["14:45Z 01:45+1100"]),
        (
            *("Australia/Lord_Howe", "2026-04-05", "*/15 1 * * *"),
            [
                *("14:00Z 01:00+1100", "14:15Z 01:15+1100", "14:30Z 01:30+1100", "14:45Z 01:45+1100"),
                *("15:00Z 01:30+1030", "15:15Z 01:45+1030"),
            ],
        ),
        ("Africa/Cairo", "2026-04-24", "0 0 * * *", ["22:00Z 01:00+0300"]),
        ("Africa/Cairo", "2026-04-24", "*/30 0 * * *", []),
        ("UTC", "2028-02-29", "0 0 29 2 *", ["00:00Z 00:00+0000"]),
        ("UTC", "2026-03-29", "30 2 * * *", ["02:30Z 02:30+0000"]),
    ],
)
def test_a_day_on_which_clocks_are_moved(place: str, day: str, expression: str, fires: list[str]) -> None:
    assert day_of(read_cron(expression, place), day, place) == fires


def test_what_comes_a_second_time_still_comes_after_the_first() -> None:
    during_the_first = datetime(2026, 10, 25, 0, 40, tzinfo=UTC)
    fires = next_fires(read_cron("*/30 2 * * *", "Europe/Berlin"), during_the_first, 2)
    assert fires == [datetime(2026, 10, 25, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]


def test_what_came_the_first_time_does_not_come_after_it() -> None:
    during_the_second = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    fires = next_fires(read_cron("30 2 * * *", "Europe/Berlin"), during_the_second, 1)
    assert fires == [datetime(2026, 10, 26, 1, 30, tzinfo=UTC)]


def test_the_29th_of_february_comes_every_four_years() -> None:
    fires = next_fires(read_cron("0 0 29 2 *"), datetime(2026, 1, 1, tzinfo=UTC), 3)
    assert fires == [datetime(year, 2, 29, tzinfo=UTC) for year in (2028, 2032, 2036)]


def test_of_a_day_of_the_month_and_of_the_week_either_fits() -> None:
    fires = next_fires(read_cron("0 0 13 * 5"), datetime(2026, 1, 1, tzinfo=UTC), 4)
    assert [fire.day for fire in fires] == [2, 9, 13, 16]


def test_a_whole_day_that_samoa_left_out_runs_at_its_end() -> None:
    rule = read_cron("0 9 * * *", "Pacific/Apia")
    fires = fires_between(rule, datetime(2011, 12, 29, 12, tzinfo=UTC), datetime(2011, 12, 31, tzinfo=UTC))
    assert list(fires) == [datetime(2011, 12, 29, 19, tzinfo=UTC), datetime(2011, 12, 30, 10, tzinfo=UTC),
                           datetime(2011, 12, 30, 19, tzinfo=UTC)]  # fmt: skip


def test_an_interval_has_its_end_and_not_its_beginning() -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert list(fires_between(Every(HOUR), noon, noon + 2 * HOUR)) == [noon + HOUR, noon + 2 * HOUR]


def test_an_instant_is_in_utc_and_needs_a_zone() -> None:
    berlin = datetime(2026, 1, 1, 12, tzinfo=zone("Europe/Berlin"))
    for rule in (read_cron("@hourly"), read_every(3600)):
        assert next_fires(rule, berlin, 1) == [datetime(2026, 1, 1, 12, tzinfo=UTC)]
        assert next_fires(rule, berlin, 1)[0].tzinfo is UTC
        with pytest.raises(ValueError, match="needs a zone"):
            next_fires(rule, berlin.replace(tzinfo=None), 1)


# ---- any rule

PLACES: Final = (
    *("Europe/Berlin", "Europe/Dublin", "America/New_York", "America/Havana", "America/Sao_Paulo", "Asia/Kathmandu"),
    *("Australia/Lord_Howe", "Africa/Cairo", "Africa/Casablanca", "Asia/Beirut", "Antarctica/Troll", "Pacific/Apia"),
    *("America/St_Johns", "Asia/Gaza", "UTC"),
)
Fits: TypeAlias = Callable[[datetime], bool]


@cache
def moves(place: str) -> tuple[datetime, ...]:
    """When the clock was moved there, and the first instant of the years."""
    begin = datetime(2009, 1, 1, tzinfo=UTC)
    steps = [(begin + number * 6 * HOUR).astimezone(zone(place)) for number in range(20 * 365 * 4)]
    moved = [before for before, after in pairwise(steps) if before.utcoffset() != after.utcoffset()]
    quarters = [[before.astimezone(UTC) + number * 15 * MINUTE for number in range(1, 25)] for before in moved]
    exact = [
        next(each for each in day if each.astimezone(zone(place)).utcoffset() != before.utcoffset())
        for before, day in zip(moved, quarters, strict=True)
    ]
    return (begin, *exact)


@composite
def instants(draw: DrawFn, place: str) -> datetime:
    """Mostly near a move of the clock."""
    near = draw(sampled_from([2 * HOUR, 2 * DAY])) // timedelta(seconds=1)
    return draw(sampled_from(moves(place))) + timedelta(seconds=draw(integers(-near, near)))


@composite
def fields(draw: DrawFn, first: int, last: int) -> tuple[str, set[int]]:
    """The text of a field with its values."""
    numbers = integers(first, last)
    match draw(sampled_from(["any", "steps", "list", "range"])):
        case "any":
            return "*", set(range(first, last + 1))
        case "steps":
            step = draw(integers(1, last))
            return f"*/{step}", set(range(first, last + 1, step))
        case "list":
            values = draw(lists(numbers, min_size=1, max_size=4))
            return ",".join(map(str, values)), set(values)
        case _:
            low, high = sorted((draw(numbers), draw(numbers)))
            return f"{low}-{high}", set(range(low, high + 1))


@composite
def cron_rules(draw: DrawFn) -> tuple[Cron, Fits]:
    """A rule, and whether a local time fits it by the definition."""
    minute, hour = draw(fields(0, 59)), draw(fields(0, 23))
    week = draw(one_of(sampled_from([("*", set(range(7)))]), fields(0, 6)))

    def fits(local: datetime) -> bool:
        return local.minute in minute[1] and local.hour in hour[1] and local.isoweekday() % 7 in week[1]

    return read_cron(f"{minute[0]} {hour[0]} * * {week[0]}", draw(sampled_from(PLACES))), fits


def expected(rule: Cron, fits: Fits, after: datetime, until: datetime) -> list[datetime]:
    """Looks at each minute, and at the clock there."""
    is_fixed = "*" not in (rule.expression.split()[0][0], rule.expression.split()[1][0])
    place, fires, done = zone(rule.timezone), [], set()
    begin = after.replace(second=0, microsecond=0) - 30 * HOUR
    previous = begin.astimezone(place).replace(tzinfo=None)
    for number in range(1, (until - begin) // MINUTE + 1):
        instant = begin + number * MINUTE
        local = instant.astimezone(place).replace(tzinfo=None)
        passed = (
            [previous + each * MINUTE for each in range(1, (local - previous) // MINUTE + 1)] if is_fixed else [local]
        )
        new = [each for each in passed if fits(each) and not (is_fixed and each in done)]
        done.update(new)
        if new and after < instant:
            fires.append(instant)
        previous = local
    return fires


@settings(max_examples=80, deadline=None)
@given(
    cron_rules().flatmap(lambda rule: instants(rule[0].timezone).map(lambda instant: (rule, instant))), integers(0, 72)
)
def test_any_rule_fires_as_one_would_who_looks_at_the_clock_each_minute(
    ruled: tuple[tuple[Cron, Fits], datetime], hours: int
) -> None:
    (rule, fits), after = ruled
    until = after + hours * HOUR
    assert list(fires_between(rule, after, until)) == expected(rule, fits, after, until)


@composite
def rules(draw: DrawFn) -> tuple[Rule, datetime]:
    cron = draw(cron_rules())[0]
    every = read_every(draw(integers(60, 400_000)))
    return cron if draw(booleans()) else every, draw(instants(cron.timezone))


@settings(max_examples=80, deadline=None)
@given(rules(), lists(floats(0, 1), max_size=4))
def test_an_interval_that_is_cut_anywhere_has_the_same_fires_in_order_and_each_once(
    ruled: tuple[Rule, datetime], cuts: list[float]
) -> None:
    rule, after = ruled
    ends = [after + cut * 4 * DAY for cut in sorted([0, *cuts, 1])]
    whole = list(fires_between(rule, ends[0], ends[-1]))
    parts = [fire for begin, end in pairwise(ends) for fire in fires_between(rule, begin, end)]
    assert parts == whole == sorted(set(whole))
    assert whole == next_fires(rule, after, len(whole))
    assert all(after < fire <= ends[-1] for fire in whole)
    for most in (1, 7):
        assert latest_fires(rule, ends[0], ends[-1], most) == whole[-most:]
