from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowyard.runs.run import Entry
from flowyard.storage.packing import packed, unpacked

TIMES = st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
PLACES = st.fixed_dictionaries({"node": st.text(), "visit": st.integers(1, 3)}, optional={"item": st.integers(0, 9)})
DATA: st.SearchStrategy[dict[str, Any]] = st.one_of(
    PLACES, st.just({}), st.just({"node": "write", "to": "END"}), st.just({"visit": 1})
)


@given(st.integers(1, 10_000), st.lists(st.tuples(TIMES, st.sampled_from(["step.started", "a"]), DATA), max_size=6))
def test_entries_come_out_of_a_row_as_they_went_in(
    first: int, events: list[tuple[datetime, str, dict[str, Any]]]
) -> None:
    entries = [Entry(seq, at, kind, data) for seq, (at, kind, data) in enumerate(events, first)]
    assert unpacked(first + len(events) - 1, json.loads(packed(entries))) == entries


def test_a_quick_step_takes_few_bytes() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    place = {"node": "write", "visit": 1}
    entries = [Entry(n, now + timedelta(milliseconds=n), "step.started", place) for n in (1, 2, 3)]
    assert packed(entries).endswith(',[1000,"step.started",{"n":"write"}],[1000,"step.started",{"n":"write"}]]')
