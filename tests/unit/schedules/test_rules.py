"""How rules are read, and what is said about those that are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis.strategies import integers, sampled_from, text

from flowyard.schedules.fires import next_fires
from flowyard.schedules.rules import Cron, Every, InvalidRule, read_cron, read_every
from flowyard.schedules.words import explain
from flowyard.schedules.zones import zone, zone_names

AFTER = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expression", "words"),
    [
        ("@hourly", "0 * * * *", "At the start of every hour (UTC)"),
        ("@daily", "0 0 * * *", "At 00:00 every day (UTC)"),
        ("@weekly", "0 0 * * 0", "At 00:00 on Sunday (UTC)"),
        ("@monthly", "0 0 1 * *", "At 00:00 on the first day of every month (UTC)"),
        (" @Yearly ", "0 0 1 1 *", "At 00:00 on January 1 (UTC)"),
        ("0 7 * * 1-5", "0 7 * * 1-5", "At 07:00 on Monday through Friday (UTC)"),
        (" 0  7 * jan\tmon-fri", "0 7 * JAN MON-FRI", "At 07:00 on Monday through Friday in January (UTC)"),
        ("0 0 21,22,31 * *", "0 0 21,22,31 * *", "At 00:00 on the 21st, the 22nd, and the 31st day of month (UTC)"),
        ("0 0 11,12,13 * *", "0 0 11,12,13 * *", "At 00:00 on the 11th, the 12th, and the 13th day of month (UTC)"),
        ("0 0 13 * 5", "0 0 13 * 5", "At 00:00 on the 13th day of month or on Friday (UTC)"),
        ("0 0 */2 * 5", "0 0 */2 * 5", "At 00:00 on every second day of month if it's on Friday (UTC)"),
        ("0 0 L * *", "0 0 L * *", "At 00:00 on the last day of every month (UTC)"),
        ("0 0 * * 5#2", "0 0 * * 5#2", "At 00:00 on the second Friday of the month (UTC)"),
    ],
)
def test_what_is_read_is_explained(text: str, expression: str, words: str) -> None:
    rule = read_cron(text)
    assert rule == Cron(expression, "UTC")
    assert explain(rule) == words


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("0 0 31 2 *", "no date fits '0 0 31 2 ", "no such day"),
        ("0 0 30,31 2 *", "no date fits", "no such day"),
        ("0 0 31 2,4,6,9,11 *", "no date fits", "no such day"),
        ("0 0 */31 1 1#5", "no date fits", "no such day"),
        ("0 0 7 * * 1-5", "six fields", "remove the seconds: 0 7 * * 1-5"),
        ("* * * *", "4 fields", "write minute, hour, day of month, month, day of week"),
        ("7", "1 field, and", "write minute"),
        ("", "0 fields", "write minute"),
        ("60 * * * *", "'60' can't be the minute", "0-59"),
        ("* 24 * * *", "'24' can't be the hour", "0-23"),
        ("* * 0 * *", "'0' can't be the day of month", "1-31"),
        ("* * * 13 *", "'13' can't be the month", "1-12 or JAN-DEC"),
        ("* * * * 8", "'8' can't be the day of week", "0-7 or SUN-SAT"),
        ("* * ? * *", "'\\?' can't be the day of month", "1-31"),
        ("*/0 * * * *", "'\\*/0' can't be the minute", "0-59"),
        ("5-1 * * * *", "'5-1' can't be the minute", "0-59"),
        ("-1 * * * *", "'-1' can't be the minute", "0-59"),
        ("1,,2 * * * *", "can't be the minute", "0-59"),
        ("\u0661 * * * *", "can't be the minute", "0-59"),
        ("@midnight", "no '@midnight'", "write @daily"),
        ("@dayly", "no '@dayly'", "write @daily"),
        ("@reboot", "no '@reboot'", "one of @hourly, @daily"),
        ("* " * 200, "400 characters", "at most 200"),
    ],
)
def test_an_expression_that_never_fires_or_is_none_is_an_error_with_a_hint(text: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidRule, match=message) as error:
        read_cron(text)
    assert hint in error.value.hint


@pytest.mark.parametrize(
    "name", ["", "Berlin", "europe/berlin", "CEST", "+02:00", "../../etc/passwd", "Europe", "/UTC"]
)
def test_a_time_zone_that_isnt_one_is_an_error(name: str) -> None:
    with pytest.raises(InvalidRule, match="no time zone") as error:
        read_cron("@daily", name)
    assert error.value.hint.startswith("write ")


def test_the_hint_names_the_zone_that_is_meant() -> None:
    with pytest.raises(InvalidRule) as error:
        read_cron("@daily", "Europe/Berln")
    assert error.value.hint == "write Europe/Berlin"


@given(text(alphabet="0123456789*/,-#LW@ \tJANSUNMONFRI?", max_size=30))
def test_any_text_is_a_rule_that_fires_or_an_error(expression: str) -> None:
    try:
        rule = read_cron(expression)
    except InvalidRule:
        return
    assert next_fires(rule, AFTER, 1)
    assert explain(rule).endswith(" (UTC)")
    assert read_cron(rule.expression) == rule


@given(sampled_from(zone_names()), integers(0, 59))
def test_every_zone_of_the_database_can_be_used(name: str, minute: int) -> None:
    fire = next_fires(read_cron(f"{minute} * * * *", name), AFTER, 1)[0]
    local = fire.astimezone(zone(name))
    assert (local.minute, local.second) == (minute, 0)


@pytest.mark.parametrize(
    ("seconds", "words", "first"),
    [
        (900, "Every 15 minutes", datetime(2026, 1, 1, 12, 15, tzinfo=UTC)),
        (3600, "Every hour", datetime(2026, 1, 1, 13, tzinfo=UTC)),
        (86_400, "Every day", datetime(2026, 1, 2, tzinfo=UTC)),
        (5_401, "Every 1 hour, 30 minutes and 1 second", datetime(2026, 1, 1, 12, 53, 32, tzinfo=UTC)),
        (7 * 86_400, "Every 7 days", datetime(2026, 1, 8, tzinfo=UTC)),
        (1, "Every second", datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)),
    ],
)
def test_a_period_counts_from_1970(seconds: int, words: str, first: datetime) -> None:
    rule = read_every(seconds)
    assert rule == Every(timedelta(seconds=seconds))
    assert explain(rule) == words
    assert next_fires(rule, AFTER, 1) == [first]
    assert (first - datetime(1970, 1, 1, tzinfo=UTC)) % rule.period == timedelta()


@pytest.mark.parametrize(
    ("seconds", "hint"),
    [
        (0, "from 1s to 366d"),
        (-60, "from"),
        (0.5, "from"),
        (1.5, "whole seconds"),
        (1e300, "from"),
        (float("nan"), "from"),
    ],
)
def test_a_period_that_cant_be_used_is_an_error(seconds: float, hint: str) -> None:
    with pytest.raises(InvalidRule) as error:
        read_every(seconds)
    assert hint in error.value.hint
