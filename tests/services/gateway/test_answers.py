"""JSON of answers: every value as it was stored, and runs in the shape that the API's description says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from asyncpg.pgproto import pgproto
from hypothesis import given
from hypothesis import strategies as st

from flowyard.api.runs import RunView
from flowyard.runs.events import Failure
from flowyard.runs.run import Run, Spending
from flowyard_gateway.answers import as_json

NOW = datetime(2026, 11, 30, 8, 0, 0, 120_000, tzinfo=UTC)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(alphabet=st.characters())
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
RUN = Run(
    id=uuid4(),
    workflow="haiku",
    revision=3,
    digest="d",
    status="succeeded",
    priority=0,
    attempt=1,
    created_at=NOW,
    started_at=NOW,
    finished_at=NOW.replace(microsecond=0),
    wake_at=None,
    cancel_requested=False,
    executor=None,
    worked_s=0.5,
    last_seq=9,
    inputs={"topic": "rain"},
    outputs={"poem": "soft"},
    error=None,
    forked_from=None,
    spending=Spending(calls=1, tokens_in=3, tokens_out=None, cost_usd=Decimal("0.10")),
)


@given(JSON)
def test_values_are_answered_as_they_were_stored(value: Any) -> None:
    assert json.loads(as_json({"value": value})) == {"value": value}


@pytest.mark.parametrize("value", ["\ud800", "a\u0000b", 2**64, -(10**300), [[[["deep"] * 2]]], {"é": "雨"}], ids=ascii)
def test_what_a_quick_encoder_refuses_is_answered_too(value: Any) -> None:
    assert json.loads(as_json(value)) == value


def test_times_and_ids_are_texts() -> None:
    for text in ("x", "\ud800"):
        answered = json.loads(as_json([NOW, RUN.id, text]))
        assert answered == ["2026-11-30T08:00:00.120000+00:00", str(RUN.id), text]


def test_runs_from_postgres_take_the_quick_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(json, "dumps")
    data = RunView.data_of(replace(RUN, id=pgproto.UUID(RUN.id.bytes)))
    assert json.loads(as_json(data))["id"] == str(RUN.id)


def test_what_is_no_json_is_a_bug() -> None:
    with pytest.raises(TypeError):
        as_json(RUN)


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        replace(RUN, outputs=None, error=Failure("timeout", "too slow", "write"), status="failed", forked_from=uuid4()),
        replace(RUN, outputs={}, large_outputs={"poem": 10**6}, executor="executor-1", wake_at=NOW),
    ],
    ids=["succeeded", "failed", "large"],
)
def test_a_run_is_answered_in_the_shape_that_is_described(run: Run) -> None:
    data = RunView.data_of(run)
    assert data.keys() == RunView.model_fields.keys()
    assert RunView.model_validate(data).model_dump() == data
