from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.runs import events
from flowyard.runs.entries import (
    ENDINGS,
    StoredEvent,
    decode_all,
    decode_failure,
    decoded,
    encoded,
    failure_data,
    stored,
    without_texts,
)
from flowyard.runs.events import Event, Failure, RunFinished, StepId
from flowyard.runs.run import Entry

AT = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = st.text(max_size=8)
NUMBERS = st.none() | st.integers(0, 10**12)
SECONDS = st.integers(0, 10**10).map(lambda micros: round(micros / 1e6, 6))
MILLIS = st.integers(0, 10**6).map(lambda ms: ms / 1000)
REASONS = st.sampled_from(get_args(events.Reason))
COSTS = st.none() | st.decimals(min_value=0, allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
OUTPUTS = st.dictionaries(TEXT, VALUES, max_size=3)
STEPS = st.builds(StepId, TEXT, st.integers(1, 1000), st.none() | st.integers(0, 1000))
FAILURES = st.builds(Failure, TEXT, TEXT, st.none() | TEXT, st.none() | TEXT)

EVENTS: dict[type, st.SearchStrategy[Any]] = {
    events.RunQueued: st.builds(events.RunQueued, REASONS, st.none() | st.integers(0, 99)),
    events.RunForked: st.builds(events.RunForked, TEXT, st.integers(0, 99), st.lists(TEXT, max_size=2).map(tuple)),
    events.RunClaimed: st.builds(events.RunClaimed, st.integers(1, 99), TEXT),
    events.RunWaiting: st.builds(
        events.RunWaiting, MILLIS, st.sampled_from(get_args(events.WaitReason)), st.none() | TEXT
    ),
    events.RunStarted: st.builds(events.RunStarted, TEXT, TEXT, TEXT),
    events.StepStarted: st.builds(
        events.StepStarted, STEPS, SECONDS, st.none() | TEXT, st.none() | TEXT, st.booleans()
    ),
    events.ModelWaiting: st.builds(events.ModelWaiting, STEPS, TEXT, TEXT, TEXT, st.booleans()),
    events.ModelReserved: st.builds(events.ModelReserved, STEPS, TEXT, TEXT, NUMBERS, COSTS),
    events.Token: st.builds(events.Token, STEPS, TEXT),
    events.CodePrinted: st.builds(events.CodePrinted, STEPS, st.text()),
    events.ToolCalled: st.builds(
        events.ToolCalled,
        *(STEPS, TEXT, st.integers(1, 99), st.integers(0, 99), st.integers(0, 99), SECONDS),
        *(st.none() | FAILURES, st.integers(0, 99), st.none()),
    ),
    events.ToolProgressed: st.builds(
        events.ToolProgressed,
        *(STEPS, TEXT, st.integers(0, 99), st.integers(0, 99), SECONDS, st.none() | SECONDS, st.none() | TEXT),
    ),
    events.ModelCalled: st.builds(
        events.ModelCalled,
        *(STEPS, TEXT, TEXT, SECONDS, st.none() | SECONDS, NUMBERS, NUMBERS, NUMBERS, COSTS),
        *(st.none() | FAILURES, st.none(), st.integers(0, 99)),
    ),
    events.RetryScheduled: st.builds(events.RetryScheduled, STEPS, st.integers(1, 99), MILLIS, FAILURES),
    events.StepFinished: st.builds(
        events.StepFinished, STEPS, SECONDS, OUTPUTS, st.integers(0, 99), NUMBERS, NUMBERS, COSTS
    ),
    events.StepFailed: st.builds(
        events.StepFailed, *(STEPS, SECONDS, FAILURES, st.sampled_from(["fail", "continue", "goto", "skip", "collect"]))
    ),
    events.RouteTaken: st.builds(events.RouteTaken, TEXT, TEXT, st.none() | TEXT),
    events.LoopTurned: st.builds(
        events.LoopTurned,
        *(TEXT, st.integers(1, 99), st.integers(1, 99), TEXT, st.sampled_from(["again", "done", "exhausted"])),
    ),
    events.RunFinished: st.builds(
        events.RunFinished,
        *(
            st.sampled_from(["succeeded", "failed", "cancelled"]),
            SECONDS,
            OUTPUTS,
            st.none() | FAILURES,
            st.none() | REASONS,
        ),
    ),
}


def test_every_kind_of_event_is_tried_here() -> None:
    assert EVENTS.keys() == set(get_args(Event))


@given(event=st.one_of(*EVENTS.values()))
def test_an_event_comes_back_from_json_as_it_was(event: Event) -> None:
    kind, data = encoded(event)
    assert decoded(kind, json.loads(json.dumps(data))) == event
    # An entry is `{seq, at, type, …data}`: nothing may take the place of these.
    assert not data.keys() & {"seq", "at", "type"}


@given(failure=FAILURES)
def test_a_failure_comes_back_as_it_was(failure: Failure) -> None:
    assert decode_failure(json.loads(json.dumps(failure_data(failure)))) == failure


@pytest.mark.parametrize("item", [None, 0, 1])
def test_the_first_item_of_a_map_is_an_item_too(item: int | None) -> None:
    event = events.StepStarted(StepId("a", 1, item))
    assert decoded(*encoded(event)) == event


def test_an_unknown_cost_is_shown_as_unknown_and_zero_is_zero() -> None:
    step = StepId("a", 1)
    for cost, recorded in ((None, None), (Decimal(0), "0"), (Decimal("0.0000001"), "1E-7")):
        data = encoded(events.StepFinished(step, 0.0, {}, 1, None, None, cost))[1]
        assert (data["cost_usd"], data["tokens_in"]) == (recorded, None)


def test_the_ends_of_a_run_are_the_events_of_its_end() -> None:
    statuses: tuple[Any, ...] = ("succeeded", "failed", "cancelled")
    assert {encoded(RunFinished(status, 0.0, {}))[0] for status in statuses} == ENDINGS


def test_a_type_that_this_version_does_not_know_is_none() -> None:
    assert decoded("something.new", {}) is None
    entries = [Entry(1, AT, "something.new", {}), Entry(2, AT, "run.claimed", {"attempt": 1, "executor": "e"})]
    assert list(decode_all(entries)) == [StoredEvent(entries[1], events.RunClaimed(1, "e"))]


@pytest.mark.parametrize(
    ("kind", "data", "event"),
    [
        ("run.queued", {}, events.RunQueued("submitted")),
        ("run.started", {"workflow": "w", "attempt": 2, "executor": "e"}, events.RunClaimed(2, "e")),
        ("run.cancelled", {"reason": "cancelled"}, RunFinished("cancelled", 0.0, {}, None, "cancelled")),
        ("step.started", {"node": "a", "visit": 1}, events.StepStarted(StepId("a", 1))),
    ],
)
def test_what_older_versions_have_stored_is_read(kind: str, data: dict[str, Any], event: Event) -> None:
    assert decoded(kind, data) == event


def test_a_reason_of_a_newer_version_is_kept() -> None:
    assert decoded("run.queued", {"reason": "resumed"}) == events.RunQueued(cast("Any", "resumed"))


def test_what_was_said_in_a_call_is_no_part_of_its_event() -> None:
    said = ({"role": "user", "content": "secret of a prompt"},)
    called = events.ModelCalled(StepId("a", 1), "p", "m", 1.0, None, 1, 1, None, None, None, said, 0, "its reply", "hm")
    kind, data = encoded(called)
    assert decoded(kind, data) == replace(called, messages=None, reply=None, reasoning=None)
    # Earlier versions stored it there.
    assert decoded(kind, {**data, "messages": list(said), "reply": "its reply", "reasoning": "hm"}) == called


def test_without_texts_an_event_can_still_be_read() -> None:
    step = StepId("a", 1)
    finished = events.StepFinished(step, 1.0, {"x": "long"}, 1, 2, 3, None)
    called = events.ModelCalled(step, "p", "m", 1.0, None, 1, 1, None, None, None, ({"role": "user"},), 0, "long")
    slim = [without_texts(stored(1, AT, event).entry) for event in (finished, called)]
    assert [each.event for each in decode_all(slim)] == [
        replace(finished, outputs={}),
        replace(called, messages=None, reply=None),
    ]
