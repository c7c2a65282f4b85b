"""Fires of the past that an operator wants."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from flowyard.api.triggers import Backfill
from flowyard.errors.requests import InvalidRequest
from flowyard.errors.webhooks import TriggerPaused
from flowyard.storage.deliveries import Deliveries, DeliveryFilter
from flowyard.storage.triggers import Triggers
from flowyard_registry.backfill import backfill
from support.schedule_office import HOUR, MINUTE, NOON, Office, document, hours


def window(begin: str, end: str) -> Backfill:
    return Backfill.model_validate({"from": begin, "to": end})


async def test_a_month_is_backfilled_once_however_often_and_by_whom_it_is_wanted(office: Office) -> None:
    await office.apply(document('cron: "30 7 * * *", timezone: Europe/Berlin, overlap: allow'), NOON)
    # It fires once by itself, and that is no business of the backfill.
    own = NOON + timedelta(hours=18.5)
    await office.tick(own)
    # Ids of the same millisecond have no order.
    await office.tick(own + MINUTE)
    wanted = window("2026-10-02", "2026-12-01")
    done = await asyncio.gather(*(backfill(each, "report", "times", wanted) for each in office.registries))
    assert [(each.fires, each.again) for each in done] == [(61, 0)] * 3
    assert sorted((each.added, each.kept) for each in done) == [(0, 61), (0, 61), (60, 1)]
    await office.tick(own + 2 * MINUTE)
    again = await backfill(office.registries[0], "report", "times", wanted)
    assert (again.fires, again.added, again.again, again.kept) == (61, 0, 0, 61)
    await office.tick(own + 3 * MINUTE)
    berlin = ZoneInfo("Europe/Berlin")
    days = [datetime(2026, 10, 2, 7, 30, tzinfo=berlin) + timedelta(days=n) for n in range(61)]
    assert await office.fires("started") == [day.astimezone(UTC) for day in days]
    assert len(await office.runs()) == 61
    assert sorted(run["number"] for run in await office.runs()) == list(range(1, 62))
    newest = await Deliveries(office.database).page(DeliveryFilter(), 60)
    assert [each.fire_at for each in newest] == days[59::-1]
    payloads = [row["payload"] for row in await office.database.rows("SELECT payload FROM deliveries ORDER BY fire_at")]
    assert [each["previous"] for each in payloads[1:]] == [each["at"] for each in payloads[:-1]]
    assert [each["backfill"] for each in payloads] == [True] * 60 + [False]


async def test_a_backfill_starts_one_run_after_the_other_unless_they_may_overlap(office: Office) -> None:
    await office.apply(document("every: 1h"), NOON)
    await backfill(office.registries[0], "report", "times", window("2026-11-30T09:00", "2026-11-30T11:00"))
    for number in range(1, 4):
        await office.tick(NOON + number * timedelta(seconds=1))
        assert await office.fires("started") == hours(9, 10, 11)[:number]
        await office.end_runs()


async def test_a_backfill_starts_what_was_skipped_and_nothing_that_is_still_to_come(office: Office) -> None:
    await office.apply(document("every: 1h, catch_up: none"), NOON)
    await office.tick(NOON + 2.5 * HOUR)
    assert await office.fires("skipped") == hours(13)
    done = await backfill(office.registries[0], "report", "times", window("2026-11-30", "2026-11-30"))
    assert (done.fires, done.added, done.again, done.kept) == (15, 14, 1, 0)


@pytest.mark.parametrize(
    ("begin", "end", "message"),
    [
        ("yesterday", "2026-11-30", "body.from: isn't a day such as 2026-11-30"),
        ("2026-11-30", "2026-11-29", "body.to: is earlier than 'from'"),
        ("2025-11-30", "2026-11-30", "body.to: more than 10,000 fires"),
        ("0001-01-01", "9999-12-31", "body.to"),
        ("0001-01-01", "2026-11-30", "body.from: is before 1900"),
        ("1899-12-31T23:00:00-00:30", "2026-11-30", "body.from: is before 1900"),
    ],
)
async def test_a_time_that_cannot_be_backfilled_is_refused(office: Office, begin: str, end: str, message: str) -> None:
    await office.apply(document("every: 1m"), NOON)
    with pytest.raises(InvalidRequest, match=message):
        await backfill(office.registries[0], "report", "times", window(begin, end))
    assert await office.fires() == []


async def test_a_paused_schedule_and_a_webhook_are_not_backfilled(office: Office) -> None:
    await office.apply(document("every: 1h"), NOON)
    await Triggers(office.database).set_paused("report", "times", paused=True)
    with pytest.raises(TriggerPaused):
        await backfill(office.registries[0], "report", "times", window("2026-11-30", "2026-11-30"))
    hook = document("every: 1h", name="hook").replace("schedule: {every: 1h}", "webhook: {path: p, auth: none}")
    await office.apply(hook.replace("{fire.at}", "x").replace("{fire.number}", "{payload.n}"), NOON)
    with pytest.raises(InvalidRequest, match="'times' is a webhook, and no schedule"):
        await backfill(office.registries[0], "hook", "times", window("2026-11-30", "2026-11-30"))
