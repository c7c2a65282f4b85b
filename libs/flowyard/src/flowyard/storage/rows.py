"""Rows of the tables `steps` and `model_calls`. Only this file knows the order of their columns in `commit.sql`, and
that the column `item` holds -1 for a step that isn't an item of a map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg

from flowyard.runs.entries import decode_failure, failure_data
from flowyard.runs.events import Failure, ModelCalled, StepId
from flowyard.runs.run import Step
from flowyard.storage.database import dumps

_NO_ITEM: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """One model call in the ledger. The fields are in the order of the columns. None is unknown.

    `at`: when it ended; `error`: the code of its error; `retries`: how often its step had been tried before.
    """

    seq: int
    step: StepId
    provider: str
    model: str
    at: datetime
    duration_s: float
    first_token_s: float | None
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached: int | None
    cost_usd: Decimal | None
    error: str | None
    retries: int = 0

    @classmethod
    def of(cls, call: ModelCalled, *, seq: int, at: datetime) -> CallRow:
        """The row of a call whose event has the number `seq`."""
        return cls(
            seq=seq,
            step=call.step,
            provider=call.provider,
            model=call.model,
            at=at,
            duration_s=call.duration_s,
            first_token_s=call.first_token_s,
            tokens_in=call.tokens_in,
            tokens_out=call.tokens_out,
            tokens_cached=call.tokens_cached,
            cost_usd=call.cost_usd,
            error=call.error.code if call.error is not None else None,
            retries=call.retries,
        )


def columns_of(kind: type[Step | CallRow]) -> tuple[str, ...]:
    """The columns of such a row, in the order of `values_of`."""
    names = (("node", "visit", "item") if field.name == "step" else (field.name,) for field in fields(kind))
    return ("run_id", *(column for columns in names for column in columns))


STEP_COLUMNS: Final = columns_of(Step)
CALL_COLUMNS: Final = columns_of(CallRow)


def values_of(run_id: UUID, row: Step | CallRow) -> tuple[Any, ...]:
    """What is stored, one value per column. Raises CommitRefused for outputs that JSON can't hold."""
    return run_id, *(value for field in fields(row) for value in _stored(field.name, getattr(row, field.name)))


def _stored(name: str, value: Any) -> Iterator[Any]:
    match value:
        case None if name == "item":
            yield _NO_ITEM
        case StepId():
            yield from (value.node, value.visit, _NO_ITEM if value.item is None else value.item)
        case Failure():
            yield dumps(failure_data(value))
        case Mapping():
            yield dumps(dict(value))
        case list():
            yield dumps(value)
        case _:
            yield value


def step_of(record: asyncpg.Record) -> Step:
    """A step as it is stored. `record`: all columns of `steps`."""
    values: dict[str, Any] = {name: record[name] for name in STEP_COLUMNS[1:]}
    values["item"] = _item(record)
    values["error"] = decode_failure(record["error"]) if record["error"] else None
    return Step(**values)


def call_of(record: asyncpg.Record) -> CallRow:
    """A model call as it is stored. `record`: all columns of `model_calls`."""
    values = {field.name: record[field.name] for field in fields(CallRow) if field.name != "step"}
    return CallRow(step=StepId(record["node"], record["visit"], _item(record)), **values)


def _item(record: asyncpg.Record) -> int | None:
    return None if record["item"] == _NO_ITEM else record["item"]
