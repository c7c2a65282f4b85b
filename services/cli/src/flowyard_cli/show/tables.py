"""Tables and lists of facts for people, and the same as JSON."""

from __future__ import annotations

import io
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from flowyard_cli import exits
from flowyard_embedded.streams import print_json, printable, put

Item = TypeVar("Item", bound=BaseModel)

NONE: Final = "-"
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """`empty`: the line to print if there are no rows. Raises UnwritableOutput."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        put(empty)
    elif sys.stdout.isatty():
        put(_drawn(columns, cells), end="", drawn=True)
    else:
        put(_plain([columns, *cells]))


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Prints a fact per line, but none whose value is None."""
    known = [(name, _cell(value)) for name, value in facts if value is not None]
    width = max(len(name) for name, _ in known)
    for name, value in known:
        put(f"{name:<{width}}  {value}")


def as_data(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json")


def print_items(
    items: Iterable[Item], columns: Sequence[str], row: Callable[[Item], Sequence[object]], *, as_json: bool, empty: str
) -> int:
    """Prints a table with a row per item, or one JSON object. Returns the exit code."""
    if as_json:
        print_json({"items": [as_data(item) for item in items]})
    else:
        print_table(columns, map(row, items), empty=empty)
    return exits.OK


def when(at: datetime | None) -> str:
    """In this machine's time zone."""
    return NONE if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(at: datetime | None) -> str:
    if at is None:
        return NONE
    seconds = max(0, round((datetime.now(UTC) - at).total_seconds()))
    for unit, name in _UNITS:
        if seconds >= unit:
            return f"{seconds // unit} {name} ago"
    return f"{seconds} s ago"


def _cell(value: object) -> str:
    return NONE if value is None or value == "" else " ".join(str(value).split())


def _plain(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)) for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _width(text: str) -> int:
    """The width in a terminal's cells: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else not unicodedata.combining(char) for char in text)


def _drawn(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # Inline: takes 0.1 s to import, and only terminals need it.
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, name in enumerate(columns):
        # The first column is the argument of other commands: never break it.
        table.add_column(name, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    # Only draws: if the reader of standard output has gone away, rich would end the process on a write.
    console = Console(file=io.StringIO(), force_terminal=True)
    with console.capture() as captured:
        console.print(table)
    return captured.get()
