"""What the run of a fire knows of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowyard.schedules.facts import fire_facts, in_zone, previous_fire
from flowyard.schedules.fires import next_fires
from flowyard.schedules.rules import Rule, read_cron, read_every, rule_of, rule_text

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
RULES = [
    read_cron("0 7 * * 1-5", "Europe/Berlin"),
    read_cron("0 0 29 2 *"),
    read_cron("@yearly", "Asia/Tokyo"),
    read_cron("30 2 * * *", "America/New_York"),
    read_every(1),
    read_every(366 * 86_400),
]


@pytest.mark.parametrize("rule", RULES, ids=rule_text)
def test_the_times_between_fires_join_without_a_gap(rule: Rule) -> None:
    fires = next_fires(rule, NOON, 5)
    assert [previous_fire(rule, at) for at in fires[1:]] == fires[:-1]


@pytest.mark.parametrize("rule", RULES, ids=rule_text)
def test_a_rule_is_the_same_after_it_was_stored(rule: Rule) -> None:
    assert rule_of(rule_text(rule)) == rule


def test_a_fire_has_its_day_and_its_time_in_the_zone_of_its_rule() -> None:
    tokyo = read_cron("0 7 * * *", "Asia/Tokyo")
    [at] = next_fires(tokyo, NOON, 1)
    assert fire_facts(tokyo, at, number=7) == {
        "at": "2026-11-30T22:00:00+00:00",
        "previous": "2026-11-29T22:00:00+00:00",
        "local": "2026-12-01T07:00:00+09:00",
        "date": "2026-12-01",
        "number": 7,
        "backfill": False,
    }
    assert in_zone(read_every(60), at).utcoffset() == timedelta(0)


def test_a_previous_fire_that_is_known_is_not_searched() -> None:
    facts = fire_facts(read_every(60), NOON, number=1, backfill=True, previous=NOON - timedelta(hours=1))
    assert (facts["previous"], facts["backfill"]) == ("2026-11-30T11:00:00+00:00", True)
