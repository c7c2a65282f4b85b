"""Progress that tools report: some of it is recorded."""

from __future__ import annotations

import math

from flowyard.runs.entries import decoded, encoded
from flowyard.runs.events import Event, StepId, ToolProgressed
from flowyard.steps.tool_progress import MOST, CallProgress

BEGUN = ToolProgressed(StepId("ask", 1), "files.read", 2, 0)


class Reports:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = 0.0
        self.call = CallProgress(BEGUN, self.events.append, lambda: self.now, lambda text: text.replace("key", "***"))


def test_a_report_is_an_event_that_can_be_stored_and_read() -> None:
    reports = Reports()
    reports.call.report(3, 10, "reads the key")
    [event] = reports.events
    assert event == ToolProgressed(StepId("ask", 1), "files.read", 2, 0, 3, 10, "reads the ***")
    assert decoded(*encoded(event)) == event


def test_what_is_not_known_is_left_out() -> None:
    reports = Reports()
    reports.call.report(3, math.inf, None)
    [event] = reports.events
    _, data = encoded(event)
    assert data.keys().isdisjoint({"total", "text"})
    assert decoded("tool.progressed", data) == event


def test_few_of_many_reports_are_recorded_and_none_after_the_end() -> None:
    reports = Reports()
    for _ in range(10_000):
        reports.now += 0.25
        reports.call.report(reports.now, None, "x" * 10_000)
    assert len(reports.events) == MOST
    few = Reports()
    for _ in range(8):
        few.now += 0.25
        few.call.report(few.now, math.nan if few.now == 1.5 else None, None)
    assert [event.done for event in few.events if isinstance(event, ToolProgressed)] == [0.25, 1.25]
    few.call.has_ended = True
    few.now = 100
    few.call.report(1, None, None)
    assert len(few.events) == 2
