"""Rows of the tables `steps` and `step_parts`. Only this file knows the order of their columns in `commit.sql`, and
that the column `item` holds -1 for a step that isn't an item of a map.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg

from flowyard.large_json import loads
from flowyard.runs.call_texts import CallTexts
from flowyard.runs.entries import decode_failure, failure_data
from flowyard.runs.events import ModelCalled, StepId, ToolCalled
from flowyard.runs.run import CallStart, Ended, Part, Spending, Step, StepCalls
from flowyard.storage.database import dumps

NO_ITEM: Final = -1

CallStatus: TypeAlias = Literal["reserved", "running", "done", "failed", "lost"]
"""`lost`: it ended without an answer, so that the model may have worked on it."""


class CallRow(NamedTuple):
    """One model call in the ledger. The fields are in the order of the columns. None is unknown.

    `seq`: the number of its event; below 0: it has none, and its `part` is the same (see storage/lost_calls.py).
    `part`, `round`, `question`: see CallStart. `at`: when it ended, or began if it hasn't ended; `error`: the code of
    its error; `retries`: how often its step had been tried before. `reserved_…`: what of the run's budget was reserved.
    `texts`: what was said, as JSON; None: it isn't kept, or the row was read. `tool`: the name of the tool that was
    called, instead of a model; `call`: its place in the reply. `result`: see Part; None: as of texts.
    """

    seq: int
    step: StepId
    part: int
    provider: str
    model: str
    at: datetime
    round: int = 0
    question: int = 0
    status: CallStatus = "done"
    duration_s: float = 0.0
    first_token_s: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    cost_usd: Decimal | None = None
    error: str | None = None
    retries: int = 0
    reserved_tokens: int | None = None
    reserved_usd: Decimal | None = None
    texts: str | None = None
    tool: str | None = None
    call: int | None = None
    result: str | None = None

    @classmethod
    def of(cls, call: ModelCalled, *, seq: int, at: datetime) -> CallRow:
        """The row of a call that had none before it ended."""
        row = cls(seq=seq, step=call.step, part=seq, provider=call.provider, model=call.model, at=at)
        return row.ended(call, seq=seq, at=at)

    @classmethod
    def of_tool(cls, called: ToolCalled, *, seq: int, at: datetime) -> CallRow:
        """The row of a call of a tool. It has no provider and no model, and costs nothing."""
        return cls(
            seq=seq,
            step=called.step,
            part=called.part,
            question=called.question,
            status="done" if called.error is None else "failed",
            provider="",
            model="",
            at=at,
            duration_s=called.duration_s,
            error=called.error.code if called.error is not None else None,
            retries=called.retries,
            tool=called.tool,
            call=called.call,
            result=called.result,
        )

    def ended(self, call: ModelCalled, *, seq: int, at: datetime) -> CallRow:
        """With how the call has ended. `seq`: the number of its event."""
        error = call.error.code if call.error is not None else None
        known = {name: getattr(call, name) for name in _SHARED}
        said = CallTexts.of(call)
        texts = dumps(said.short) if said is not None else None
        return self._replace(seq=seq, status=_status(call), at=at, error=error, texts=texts, **known)


_SHARED: Final = {*CallRow._fields} & {field.name for field in fields(ModelCalled)} - {"error"}


_WITHOUT_ANSWER: Final = frozenset({"timeout", "provider_error", "executor_lost", "cancelled", "internal_error"})


def _status(call: ModelCalled) -> CallStatus:
    if call.error is None:
        return "done"
    # What the model did isn't known.
    return "lost" if call.tokens_in is None and call.error.code in _WITHOUT_ANSWER else "failed"


STEP_COLUMNS: Final = ("run_id", *Step._fields[:-1])
"""In the order of the values of a row. The last field of a Step isn't stored."""
STEP_TEXTS: Final = 3
"""How many columns of a step, the last ones, are JSON."""
CALL_COLUMNS: Final = ("run_id", "seq", "node", "visit", "item", *CallRow._fields[2:])
_UNREAD: Final = ("step", "texts", "result")
SHORT_CALL_COLUMNS: Final = tuple(name for name in CALL_COLUMNS if name not in _UNREAD)
"""Of the columns of a call, those that are read with many others: its texts are long."""
SHORT_STEP_COLUMNS: Final = tuple(name for name in STEP_COLUMNS if name != "outputs")


def step_values(run_id: UUID, step: Step) -> tuple[Any, ...]:
    """What is stored, one value per column. Raises CommitRefused for outputs that JSON can't hold."""
    node, visit, status, seq, started_at, item, *facts, next_, outputs, error, _ = step
    json_values = next_, outputs, failure_data(error) if error else None
    texts = (dumps(value) if value is not None else None for value in json_values)
    return (run_id, node, visit, status, seq, started_at, NO_ITEM if item is None else item, *facts, *texts)


def call_values(run_id: UUID, call: CallRow) -> tuple[Any, ...]:
    """What is stored, one value per column."""
    seq, step, *facts = call
    return (run_id, seq, *place_of(step), *facts)


def place_of(step: StepId) -> tuple[str, int, int]:
    """Its columns `node`, `visit`, `item`."""
    return step.node, step.visit, NO_ITEM if step.item is None else step.item


def step_of(record: asyncpg.Record) -> Step:
    """A step as it is stored. `record`: all columns of `steps`."""
    values: dict[str, Any] = {name: record[name] for name in STEP_COLUMNS[1:]}
    values["item"] = _item(record)
    values["error"] = decode_failure(record["error"]) if record["error"] else None
    return Step(**values)


def listed_step_of(record: asyncpg.Record) -> Step:
    """`record`: all columns of `steps`, and `outputs_bytes`."""
    return step_of(record)._replace(outputs_bytes=record["outputs_bytes"])


def ended_of(records: Sequence[asyncpg.Record]) -> list[Ended]:
    """`records`: the columns of Ended, in its order. JSON is still text: to decode it at once takes a fraction."""
    *facts, nexts, outputs, errors = zip(*records, strict=True) if records else [()] * len(Ended._fields)
    nodes, visits, items, statuses, handled = facts
    return list(
        map(
            Ended,
            nodes,
            visits,
            [None if item == NO_ITEM else item for item in items],
            statuses,
            handled,
            _decoded(nexts),
            _decoded(outputs),
            [decode_failure(error) if error else None for error in _decoded(errors)],
        )
    )


def _decoded(texts: Iterable[str | None]) -> list[Any]:
    values: list[Any] = loads(f"[{','.join(text or 'null' for text in texts)}]")
    return values


def call_of(record: asyncpg.Record) -> CallRow:
    """A model call as it is stored, without its texts. `record`: all other columns of `step_parts`."""
    values = {name: record[name] for name in CallRow._fields if name not in _UNREAD}
    return CallRow(step=StepId(record["node"], record["visit"], _item(record)), **values)


def part_of(record: asyncpg.Record) -> Part:
    """`record`: the columns of a row of `step_parts`, with `result`, that a Part has."""
    result = loads(record["result"]) if record["result"] is not None else None
    has_ended = record["status"] in ("done", "failed")
    return Part(record["part"], record["question"], record["call"] or 0, record["tool"], has_ended, result)


def step_calls_of(record: asyncpg.Record) -> StepCalls:
    """`record`: the last call of a step that an event tells of, with all columns, and the sums of all."""
    parts = record["last_part"] or 0
    if not record["calls"]:
        return StepCalls(parts=parts)
    spending = Spending(*(record[name] for name in ("calls", "sum_in", "sum_out", "sum_usd")))
    if record["last_call"] is None:
        return StepCalls(spending, parts=parts)
    call = call_of(record["last_call"])
    last = CallStart(call.step, call.part, call.round, call.question, call.provider, call.model)
    was_answered, is_open = call.status in ("done", "failed"), call.status in ("reserved", "running")
    return StepCalls(spending, last, was_answered=was_answered, is_open=is_open, parts=parts)


def _item(record: asyncpg.Record) -> int | None:
    return None if record["item"] == NO_ITEM else record["item"]
