"""Times as people give them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowyard.api.moments import moment, read_moment

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("24h", NOW - timedelta(hours=24)),
        ("7d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(weeks=2)),
        (" 0d ", NOW),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-23T08:00:00Z", NOW),
        ("2026-11-23T10:00:00+02:00", NOW),
        ("2026-11-23T08:00:00.5+00:00", NOW + timedelta(seconds=0.5)),
        ("999999w", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59-14:00", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, at: datetime) -> None:
    assert moment(read_moment(text), NOW) == at


@pytest.mark.parametrize(
    "text", ["", "7", "d", "7 d", "7D", "-7d", "1.5h", "\u0667d", "1000000d", "2026-02-30", "today"]
)
def test_the_error_for_what_is_no_time_shows_a_time(text: str) -> None:
    with pytest.raises(ValueError, match="should be a duration such as 7d, 24h or 30m"):
        read_moment(text)


@pytest.mark.parametrize("text", ["2026-11-23T08:00:00", "2026-11-23 08:00"])
def test_a_time_without_a_zone_is_nobodys(text: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        read_moment(text)


def test_no_time_stays_none() -> None:
    assert moment(None, NOW) is None
