from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, get_args
from uuid import UUID

import pytest

from flowyard.api.public_events import PUBLIC_EVENTS
from flowyard.export.cloud_events import message_of
from flowyard.runs import events
from flowyard.runs.entries import encoded
from flowyard.runs.events import Event, Failure, StepId
from flowyard.runs.run import Entry

RUN: Final = UUID("01990000-0000-7000-8000-000000000001")
AT: Final = datetime(2026, 12, 1, 12, 0, 0, 5, tzinfo=UTC)
STEP: Final = StepId("write", 2, 3)
FAILURE: Final = Failure("invalid_output", "it isn't JSON", "write", "the reply")
OUTPUTS: Final = {"poem": "snow"}
SAMPLES: Final[list[Event]] = [
    events.RunQueued("executor_lost", 2),
    events.RunForked("origin", 3, ("write",)),
    events.RunClaimed(1, "one"),
    events.RunWaiting(2.5, "retry", "write"),
    events.StepStarted(STEP, 0.25, "openai", "m", reserves=True),
    events.RetryScheduled(STEP, 2, 1.5, FAILURE),
    events.StepFinished(STEP, 1.5, OUTPUTS, 1, 2, None, Decimal("0.1")),
    events.StepFailed(STEP, 1.5, FAILURE, "goto"),
    events.RunFinished("succeeded", 3.5, OUTPUTS),
    events.RunFinished("failed", 3.5, {}, FAILURE, "run_timeout"),
    events.RunFinished("cancelled", 3.5, {}, FAILURE, "cancelled"),
]
INSIDE: Final = {"commit_s", "reserves"}
NOT_PUBLIC: Final = {
    events.RunStarted, events.Token, events.ModelWaiting, events.ModelReserved, events.ModelCalled, events.RouteTaken,
    events.LoopTurned, events.ToolCalled, events.ToolProgressed, events.CodePrinted,
}  # fmt: skip


def entry_of(event: Event) -> Entry:
    return Entry(7, AT, *encoded(event))


def data_of(entry: Entry, workflow: str = "poems") -> dict[str, Any]:
    data: dict[str, Any] = json.loads(message_of(RUN, workflow, entry).payload)["data"]
    return data


def test_each_typed_event_is_public_or_known_to_stay_inside() -> None:
    assert {type(event) for event in SAMPLES} | NOT_PUBLIC == set(get_args(Event))
    assert {entry_of(event).type for event in SAMPLES} == set(PUBLIC_EVENTS)


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: encoded(event)[0])
def test_the_model_of_a_type_has_each_field_of_its_event(event: Event) -> None:
    kind, data = encoded(event)
    model = PUBLIC_EVENTS[kind]
    # A run that hasn't succeeded has no outputs to tell.
    usual = {"outputs"} if kind in ("run.failed", "run.cancelled") else set()
    assert data.keys() - INSIDE - usual <= set(model.model_fields)
    assert model.model_validate(data_of(entry_of(event))).model_dump(mode="json", exclude_unset=True) == (
        data_of(entry_of(event))
    )


def test_a_reply_that_did_not_fit_stays_inside() -> None:
    assert data_of(entry_of(events.StepFailed(STEP, 1.5, FAILURE, "fail")))["error"] == {
        "code": "invalid_output",
        "message": "it isn't JSON",
        "node": "write",
    }


def test_what_a_later_version_stores_besides_stays_inside() -> None:
    entry = entry_of(events.RunClaimed(1, "one"))
    assert data_of(entry._replace(data={**entry.data, "password": "x"})) == data_of(entry)


def test_an_event_is_the_cloud_event_that_the_specification_describes() -> None:
    message = message_of(RUN, "poems", entry_of(events.RunClaimed(1, "one")))
    assert message.subject == "flowyard.events.poems.run.claimed"
    assert message.id == f"{RUN}:7"
    assert json.loads(message.payload) == {
        "specversion": "1.0",
        "id": f"{RUN}:7",
        "source": "/v1/workflows/poems",
        "type": "flowyard.run.claimed",
        "subject": str(RUN),
        "time": "2026-12-01T12:00:00.000005Z",
        "datacontenttype": "application/json",
        "data": {"run_id": str(RUN), "workflow": "poems", "seq": 7, "attempt": 1, "executor": "one"},
    }


@pytest.mark.parametrize("name", ["a.b", "*", ">", "a b", "ü", '"', "\\", "\ud800", "a/b", "\x00"])
def test_a_workflow_of_any_name_has_a_subject_and_a_source(name: str) -> None:
    message = message_of(RUN, name, entry_of(events.RunClaimed(1, "one")))
    assert len(message.subject.split(".")) == 5
    assert message.subject.isascii()
    assert not set(message.subject) & set(" *>\\\t\r\n\x00")
    assert json.loads(message.payload)["source"].startswith("/v1/workflows/")


def test_half_a_surrogate_pair_becomes_a_character_that_every_reader_takes() -> None:
    entry = entry_of(events.RunFinished("succeeded", 1.0, {"poem": "a\ud800b"}))
    assert data_of(entry)["outputs"] == {"poem": "a\ufffdb"}


def test_an_event_that_nats_would_refuse_is_shortened() -> None:
    """As an executor of the release before may store it."""
    large = Failure("tool_error", "x" * 2_000_000)
    assert data_of(entry_of(events.StepFailed(STEP, 1.5, large, "fail")))["error"]["message"] == "…"
    end = entry_of(events.RunFinished("succeeded", 1.0, {"poem": "x" * 2_000_000}))
    assert data_of(end)["outputs"] == {}
    assert data_of(end)["large_outputs"] == {"poem": 2_000_002}
