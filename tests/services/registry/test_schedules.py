"""Registries fire schedules: three loops on one Postgres, whose clock the test sets."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from flowyard.storage.moves import Moves
from flowyard.storage.triggers import Triggers
from flowyard.storage.workflows import Workflows
from flowyard_registry.firing import fire_round
from support.documents import ROOT
from support.queued import apply
from support.schedule_office import HOUR, MINUTE, NOON, Office, document, hours

PAGE = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")


async def test_each_fire_starts_one_run_with_its_inputs_whichever_registry_is_first(office: Office) -> None:
    await office.apply(document("every: 1s, overlap: allow"), NOON)
    await office.pass_time(NOON, NOON + timedelta(seconds=30), timedelta(seconds=0.5))
    expected = [NOON + timedelta(seconds=n) for n in range(1, 31)]
    assert await office.fires("started") == await office.fires() == expected
    runs = await office.runs()
    assert [run["at"] for run in runs] == [at.isoformat() for at in expected]
    assert [run["number"] for run in runs] == list(range(1, 31))
    started = {delivery.run_id for delivery in await office.deliveries()}
    assert started == {row["id"] for row in await office.database.rows("SELECT id FROM runs")}


NIGHTS = {
    "Europe/Berlin": ((2026, 3, 29), (2026, 10, 25), (2027, 3, 28), (2027, 10, 31)),
    "America/New_York": ((2026, 3, 8), (2026, 11, 1), (2027, 3, 14), (2027, 11, 7)),
}


async def test_the_ends_of_runs_of_schedules_are_reported_as_their_document_says(office: Office) -> None:
    text = document("every: 1h, overlap: allow") + "on_finish: [{url: 'https://example.com/ends', auth: none}]\n"
    await office.apply(text, NOON)
    await office.tick(NOON + HOUR)
    [run] = await office.database.rows("SELECT id, on_finish FROM runs")
    assert [each["url"] for each in run["on_finish"]] == ["https://example.com/ends"]
    await Moves(office.database).cancel(run["id"])
    assert await office.database.value("SELECT count(*) FROM notifications") == 1


@pytest.mark.parametrize(("zone", "day"), [(zone, day) for zone, days in NIGHTS.items() for day in days], ids=str)
async def test_in_nights_in_which_clocks_are_moved_a_daily_job_runs_once_and_an_hourly_one_each_hour(
    office: Office, zone: str, day: tuple[int, int, int]
) -> None:
    place, step = ZoneInfo(zone), timedelta(minutes=30)
    begin = datetime(*day, tzinfo=place).astimezone(UTC) - HOUR
    hours_of_day = (datetime(*day, tzinfo=place) + timedelta(days=1)).astimezone(UTC) - begin - HOUR
    for name, cron in (("daily", "30 2 * * *"), ("hourly", "30 * * * *")):
        text = document(f'cron: "{cron}", timezone: {zone}, overlap: allow', name=name)
        await office.apply(text, begin)
    await office.pass_time(begin, begin + HOUR + hours_of_day, step)
    by_workflow: dict[str, list[datetime]] = {"daily": [], "hourly": []}
    for delivery in await office.deliveries("started"):
        assert delivery.fire_at is not None
        by_workflow[delivery.workflow].append(delivery.fire_at)
    assert len(by_workflow["daily"]) == 1
    local = by_workflow["daily"][0].astimezone(place)
    # In spring 02:30 is left out: it runs at 03:00. In autumn it comes twice: it runs the first time.
    assert (local.hour, local.minute, local.fold) == ((3, 0, 0) if hours_of_day < 24 * HOUR else (2, 30, 0))
    # 23 hours in spring, 25 in autumn, and the hour before midnight.
    assert len(by_workflow["hourly"]) == 1 + hours_of_day // HOUR
    assert hours_of_day // HOUR in (23, 25)


async def test_a_clock_that_jumps_back_starts_nothing_twice_and_one_that_jumps_ahead_catches_up(office: Office) -> None:
    await office.apply(document("every: 1h, overlap: allow, catch_up: all"), NOON - HOUR)
    await office.pass_time(NOON - HOUR, NOON + 2 * HOUR, timedelta(minutes=20))
    assert await office.fires() == hours(12, 13, 14)
    await office.pass_time(NOON - HOUR, NOON + 2 * HOUR, timedelta(minutes=20))
    assert await office.fires() == hours(12, 13, 14)
    await office.tick(NOON + 5 * HOUR + MINUTE)
    assert await office.fires() == hours(12, 13, 14, 15, 16, 17)
    assert len(await office.runs()) == 6


@pytest.mark.parametrize(
    ("mode", "started", "skipped"),
    [("none", [], hours(13)), ("last", hours(16), hours(13)), ("all", hours(15, 16), hours(13))],
)
async def test_after_an_outage_missed_fires_are_started_within_the_window(
    office: Office, mode: str, started: list[datetime], skipped: list[datetime]
) -> None:
    await office.apply(document(f"every: 1h, overlap: allow, catch_up: {mode}, window: 2h"), NOON)
    await office.tick(NOON + 4.5 * HOUR)
    assert await office.fires("started") == started
    assert await office.fires("skipped") == skipped
    [missed] = await office.deliveries("skipped")
    assert missed.reason is not None
    assert missed.reason.startswith("missed; so are later ones up to 2026-11-30T16:00")


async def test_a_fire_is_skipped_while_an_earlier_run_is_open_and_that_is_recorded(office: Office) -> None:
    await office.apply(document("every: 1h"), NOON)
    await office.tick(NOON + HOUR)
    await office.tick(NOON + 2 * HOUR)
    await office.end_runs()
    await office.tick(NOON + 3 * HOUR)
    assert await office.fires("started") == hours(13, 15)
    [skipped] = await office.deliveries("skipped")
    [first] = [delivery for delivery in await office.deliveries("started") if delivery.fire_at == hours(13)[0]]
    assert (skipped.fire_at, skipped.reason) == (hours(14)[0], f"the run {first.run_id} of an earlier fire was open")


async def test_a_fire_waits_for_the_end_of_earlier_ones_and_they_start_in_their_order(office: Office) -> None:
    await office.apply(document("every: 1h, overlap: queue"), NOON)
    await office.pass_time(NOON, NOON + 3 * HOUR, HOUR)
    assert (await office.fires("started"), await office.fires("waiting")) == (hours(13), hours(14, 15))
    await office.end_runs()
    await office.tick(NOON + 3 * HOUR + timedelta(seconds=1))
    assert (await office.fires("started"), await office.fires("waiting")) == (hours(13, 14), hours(15))
    await office.tick(NOON + 3 * HOUR + timedelta(seconds=2))
    assert await office.fires("waiting") == hours(15)
    await office.end_runs()
    await office.tick(NOON + 3 * HOUR + timedelta(seconds=3))
    assert await office.fires("started") == hours(13, 14, 15)
    assert [run["number"] for run in await office.runs()] == [1, 2, 3]


async def test_a_fire_cancels_earlier_runs_if_its_schedule_says_so(office: Office) -> None:
    await office.apply(document("every: 1h, overlap: cancel_previous"), NOON)
    await office.pass_time(NOON, NOON + 3 * HOUR, HOUR)
    assert await office.fires("started") == hours(13, 14, 15)
    assert await office.statuses() == {"cancelled": 2, "queued": 1}


async def test_with_allow_runs_are_beside_each_other_up_to_a_limit_and_the_others_wait(office: Office) -> None:
    await office.apply(document("every: 1s, overlap: allow"), NOON)
    await office.pass_time(NOON, NOON + timedelta(seconds=102), timedelta(seconds=1))
    assert (len(await office.fires("started")), len(await office.fires("waiting"))) == (100, 2)
    await office.end_runs()
    await office.tick(NOON + timedelta(seconds=103))
    assert len(await office.fires("started")) == 103


async def test_a_fire_that_does_not_match_starts_nothing(office: Office) -> None:
    await office.apply(document("every: 1h", when="fire.number > 1"), NOON)
    await office.tick(NOON + HOUR)
    await office.tick(NOON + 2 * HOUR)
    assert (await office.fires("unmatched"), await office.fires("started")) == (hours(13), hours(14))


@pytest.mark.parametrize("at", ["['a'][fire.number]", "fire.number * 1e308 * 10"])
async def test_a_fire_that_cannot_be_mapped_starts_nothing_and_says_why(office: Office, at: str) -> None:
    text = document("every: 1h", at=f'{{expr: "{at}"}}').replace("at: {type: str", "at: {type: any")
    await office.apply(text, NOON)
    await office.tick(NOON + HOUR)
    [failed] = await office.deliveries("failed")
    assert failed.reason
    assert failed.run_id is None


async def test_a_schedule_begins_when_it_is_applied_and_ends_with_the_revision_that_drops_it(office: Office) -> None:
    await office.apply(document("every: 1h"), NOON + MINUTE)
    assert await office.fires() == []
    await office.tick(NOON + HOUR)
    without = document("every: 1h").partition("triggers:")[0]
    await office.apply(without, NOON + HOUR)
    await office.tick(NOON + 2 * HOUR)
    await office.apply(document("every: 1h, overlap: allow"), NOON + 2 * HOUR + MINUTE)
    await office.tick(NOON + 3 * HOUR)
    assert await office.fires() == hours(13, 15)


async def test_a_new_revision_loses_no_fire_and_repeats_none(office: Office) -> None:
    await office.apply(document("every: 1h, overlap: allow"), NOON)
    await office.clock.set(NOON + HOUR)
    # The fire is due when the revision is made, and nobody has looked at it yet.
    await apply(office.database, document("every: 1h, overlap: allow, jitter: 1s", when="not false"))
    await office.pass_time(NOON + HOUR, NOON + HOUR + MINUTE, MINUTE)
    await office.apply(document("every: 1h, overlap: allow"), NOON + HOUR + MINUTE)
    assert await office.fires("started") == hours(13)


async def test_another_rule_begins_when_it_is_applied(office: Office) -> None:
    await office.apply(document('cron: "0 3 * * *"'), NOON)
    await office.apply(document('cron: "0 11 * * *"'), NOON + MINUTE)
    assert await office.fires() == []
    await office.tick(NOON + 23 * HOUR)
    assert await office.fires() == [NOON + 23 * HOUR]


async def test_what_a_paused_schedule_would_have_started_is_not_caught_up(office: Office) -> None:
    triggers = Triggers(office.database)
    await office.apply(document("every: 1h, overlap: allow, catch_up: all"), NOON)
    await triggers.set_paused("report", "times", paused=True)
    await office.pass_time(NOON, NOON + 2 * HOUR, HOUR)
    await office.clock.set(NOON + 2.5 * HOUR)
    await triggers.set_paused("report", "times", paused=False)
    await office.tick(NOON + 3 * HOUR)
    assert await office.fires() == hours(15)


async def test_a_disabled_schedule_fires_nothing_until_it_is_enabled(office: Office) -> None:
    disabled = document("every: 1h") + "    enabled: false\n"
    await office.apply(disabled, NOON)
    await office.tick(NOON + HOUR)
    await office.apply(document("every: 1h"), NOON + 1.5 * HOUR)
    await office.tick(NOON + 2 * HOUR)
    assert await office.fires() == hours(14)


async def test_fires_that_wait_for_a_schedule_that_is_gone_are_given_up(office: Office) -> None:
    await office.apply(document("every: 1h, overlap: queue"), NOON)
    await office.pass_time(NOON, NOON + 2 * HOUR, HOUR)
    [registry, *_] = office.registries
    assert await registry.fires.give_up() == 0
    await Workflows(office.database).delete("report", force=True)
    assert await registry.fires.give_up() == 1
    [skipped] = await office.deliveries("skipped")
    assert skipped.reason == "the schedule was removed while it waited"


async def test_the_lag_of_fires_and_what_is_overdue_are_measured(office: Office) -> None:
    await office.apply(document("every: 1h"), NOON)
    await office.tick(NOON + HOUR + timedelta(seconds=2))
    counts = [each.metrics.value("flowyard_fire_lag_seconds_sum") for each in office.registries]
    assert sum(count or 0 for count in counts) == pytest.approx(2)
    await office.clock.set(NOON + 2 * HOUR + 90 * timedelta(seconds=1))
    [registry, *_] = office.registries
    assert (await registry.fires.outlook()).late_s == pytest.approx(90)
    await fire_round(registry)
    assert registry.metrics.value("flowyard_schedules_overdue_seconds") == 0


async def test_the_document_of_the_page_starts_the_run_that_the_page_shows(office: Office) -> None:
    [(text, shown)] = re.findall(r"```yaml\n(.*?)```.*?```json\n(.*?)```", PAGE, re.DOTALL)
    await office.apply(text, NOON - 10 * HOUR)
    await office.tick(NOON)
    assert [run for run in await office.runs() if run["day"] == "2026-11-30"] == [json.loads(shown)]
    assert await office.fires("started") == [NOON - 6 * HOUR]
