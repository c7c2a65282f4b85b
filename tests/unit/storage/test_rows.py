"""`commit.sql` is read as text here: its columns must be those of the rows, in their order."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import pytest
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from flowyard.errors.runs import CommitRefused
from flowyard.runs.events import Failure, StepId
from flowyard.storage.commits import COMMIT, COMMIT_COLUMNS, RunCommit, _arrays
from flowyard.storage.rows import CALL_COLUMNS, STEP_COLUMNS, call_values, step_values
from flowyard.storage.tables.runs import step_parts, steps
from support.rows import call_row, step_row

RUN: Final = UUID(int=1)
AT: Final = datetime(2026, 1, 2, tzinfo=UTC)
SQL: Final = re.sub(r"--.*", "", COMMIT)
SHORT: Final = {"uuid": "uuid", "integer": "int", "smallint": "smallint", "timestamp with time zone": "timestamptz"}
ROWS: Final = pytest.mark.parametrize(
    ("alias", "columns", "table"), [("s", STEP_COLUMNS, steps), ("p", CALL_COLUMNS, step_parts)]
)


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def arrays(alias: str) -> tuple[list[int], list[str], list[str]]:
    """The numbers and the types of the arrays that are unnested under this alias, and the names of their columns."""
    [(parameters, columns)] = re.findall(rf"unnest\(([^()]*)\)\s+AS {alias} \(([^()]*)\)", SQL)
    unnested = re.findall(r"\$(\d+)::(\w+)\[\]", parameters)
    return [int(number) for number, _ in unnested], [kind for _, kind in unnested], names(columns)


def stored_type(table: Table, column: str) -> str:
    """As it is passed: JSON as text, which the statement casts."""
    kind = table.c[column].type.compile(postgresql.dialect()).lower()  # type: ignore[no-untyped-call]
    return "text" if kind == "json" else SHORT.get(kind, kind)


@ROWS
def test_each_array_of_the_statement_is_the_column_of_the_row_at_the_same_place(
    alias: str, columns: tuple[str, ...], table: Table
) -> None:
    numbers, types, unnested = arrays(alias)
    assert unnested == list(columns)
    assert types == [stored_type(table, column) for column in columns]
    assert numbers == list(range(numbers[0], numbers[0] + len(columns)))


@ROWS
def test_each_column_is_inserted_where_it_belongs(alias: str, columns: tuple[str, ...], table: Table) -> None:
    pattern = rf"INSERT INTO {table.name} \(([^()]*)\)\s+SELECT (.*?)\s+FROM (?:sent_steps|sent_parts)"
    [(inserted, selected)] = re.findall(pattern, SQL, re.DOTALL)
    assert names(inserted) == list(columns)
    if selected != f"{alias}.*":
        assert [re.sub(rf"^{alias}\.|::json$", "", name) for name in names(selected)] == list(columns)
    assert set(columns) == set(table.c.keys())


def test_what_a_run_commits_is_numbered_first() -> None:
    numbers, types, unnested = arrays("c")
    assert unnested == list(COMMIT_COLUMNS)
    assert numbers == list(range(2, 2 + len(COMMIT_COLUMNS)))
    assert types == ["uuid", "int", "int", *["text"] * 4, "float8", "text", "timestamptz", "numeric", "bigint", "int"]


def test_every_array_has_a_number_and_every_number_an_array() -> None:
    used = {int(number) for number in re.findall(r"\$(\d+)", SQL)}
    assert used == set(range(1, len(_arrays([])) + 2))
    assert [arrays("s")[0][0], arrays("p")[0][0]] == [2 + len(COMMIT_COLUMNS), 2 + len(COMMIT_COLUMNS + STEP_COLUMNS)]


def test_the_values_of_a_step_are_those_of_its_columns() -> None:
    row = step_row(
        7,
        StepId("write", 2, 5),
        status="failed",
        tries=3,
        start_seq=6,
        next=["a"],
        deadline=AT,
        started_at=AT,
        duration_s=0.25,
        handled="goto",
        outputs={"x": 1},
        error=Failure("code", "message"),
    )
    assert dict(zip(STEP_COLUMNS, step_values(RUN, row), strict=True)) == {
        "run_id": RUN,
        "node": "write",
        "visit": 2,
        "item": 5,
        "kind": "step",
        "status": "failed",
        "seq": 7,
        "start_seq": 6,
        "tries": 3,
        "started_at": AT,
        "deadline": AT,
        "left_s": None,
        "wake_at": None,
        "duration_s": 0.25,
        "handled": "goto",
        "next": '["a"]',
        "outputs": '{"x":1}',
        "error": '{"code":"code","message":"message"}',
    }


def test_the_values_of_a_call_are_those_of_its_columns() -> None:
    row = call_row(7, StepId("write", 2), cost_usd=Decimal("0.1"), error="code", retries=4)
    own = {name: value for name, value in row._asdict().items() if name != "step"}
    expected = {**own, "run_id": RUN, "node": "write", "visit": 2, "item": -1}
    assert dict(zip(CALL_COLUMNS, call_values(RUN, row), strict=True)) == expected


def test_outputs_that_json_can_not_hold_are_refused_before_others_are_committed_with_them() -> None:
    commit = RunCommit(RUN, 1, 2)
    with pytest.raises(CommitRefused):
        commit.add_step(step_row(2, outputs={"x": float("nan")}))
    assert commit.steps == {}
