"""`csv.read`: the rows of CSV, from a text or a file of a shared folder. Values stay texts, as they are written."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from itertools import islice
from typing import Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.threads import in_daemon_thread
from flowyard.tools.files_read import as_text
from flowyard.tools.folder_files import read_file
from flowyard.tools.folders import MOST_PATH, Folders, find_place
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

MOST_TEXT: Final = 8_000_000
MOST_ROWS: Final = 10_000
MOST_COLUMNS: Final = 1_000
DELIMITERS: Final = (",", ";", "\t", "|")
_MOST_DELIMITERS: Final = 100_000
"""In one row, also within quotes."""
_ROWS: Final = 1_000
_SAMPLE: Final = 20
"""Rows by which the delimiter is recognized."""
_SAMPLE_CHARACTERS: Final = 64_000

FACTS: Final = ToolFacts(
    name="csv.read",
    description="Reads CSV from a text or a file. Each value is a text, as it is written.",
    parameters={
        "type": "object",
        "properties": {
            "text": {"type": "string", "maxLength": MOST_TEXT, "description": "The CSV; or give 'path'."},
            "path": {
                "type": "string",
                "maxLength": MOST_PATH,
                "description": "In place of a text, a file: the name of a shared folder, and the path in it.",
            },
            "delimiter": {
                "enum": list(DELIMITERS),
                "description": "Between values; recognized by the first rows if left out.",
            },
            "header": {
                "type": "boolean",
                "description": "Whether the first row has the names of the columns; true if left out.",
            },
            "encoding": {
                "enum": ["utf-8", "utf-16", "cp1252", "latin-1"],
                "description": "Of the file; utf-8 if left out.",
            },
            "start": {"type": "integer", "minimum": 1, "description": "The first row to return; 1 if left out."},
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_ROWS,
                "description": f"Most rows to return; {_ROWS} if left out.",
            },
        },
        "additionalProperties": False,
    },
    effects=frozenset({"reads"}),
    guarded="path",
)


def tool(services: ToolServices) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        del context
        return await in_daemon_thread(lambda: _read(services.folders, arguments))

    return Tool(FACTS, run)


def _read(folders: Folders, arguments: Mapping[str, Any]) -> dict[str, Any]:
    text = _text(folders, arguments)
    delimiter = arguments.get("delimiter") or recognized_delimiter(text)
    rows = _rows(text, delimiter)
    columns = _names(next(rows, [])) if arguments.get("header", True) else None
    start, limit = arguments.get("start", 1), arguments.get("limit", _ROWS)
    picked = list(islice(rows, start - 1, start - 1 + limit + 1))
    shown = picked[:limit]
    return {
        "columns": columns,
        "rows": [_row(columns, row) for row in shown] if columns is not None else shown,
        "delimiter": delimiter,
        "is_cut": len(picked) > limit,
    }


def _text(folders: Folders, arguments: Mapping[str, Any]) -> str:
    text, path = arguments.get("text"), arguments.get("path")
    if (text is None) == (path is None):
        raise ToolFailed("give either 'text' or 'path'")
    if path is not None:
        content = read_file(find_place(folders, path), most=2 * MOST_TEXT)
        text = as_text(content, path, arguments.get("encoding", "utf-8"))
    return str(text).removeprefix("\ufeff")


def recognized_delimiter(text: str) -> str:
    """That by which the first rows have the same number of values, as many as possible; else a comma."""
    sample = text[:_SAMPLE_CHARACTERS]
    best, most = ",", 1
    for delimiter in DELIMITERS:
        try:
            sizes = [len(row) for row in islice(csv.reader(StringIO(sample), delimiter=delimiter), _SAMPLE) if row]
        except csv.Error:
            continue
        # What is cut off in the middle of the last row doesn't count.
        whole = sizes[:-1] if len(sample) < len(text) and len(sizes) > 1 else sizes
        if whole and min(whole) == max(whole) > most:
            best, most = delimiter, whole[0]
    return best


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Without empty ones. Raises ToolFailed."""
    count = 0

    def lines() -> Iterator[str]:
        # By an iterator of Python, so that other threads go on during a row of many lines.
        nonlocal count
        for line in StringIO(text, newline=""):
            count += line.count(delimiter)
            if count > _MOST_DELIMITERS:
                raise ToolFailed(f"a row has more than {_MOST_DELIMITERS:,} delimiters: is a quote not closed?")
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            count = 0
            if len(row) > MOST_COLUMNS:
                raise ToolFailed(f"a row has more than {MOST_COLUMNS:,} values: is '{delimiter}' the delimiter?")
            if row:
                yield row
    except csv.Error as error:
        raise ToolFailed(f"line {reader.line_num} is no CSV: {error}") from error


def _names(row: Sequence[str]) -> list[str]:
    """A name for each column, none of them twice."""
    names: dict[str, None] = {}
    for i, cell in enumerate(row, 1):
        plain = cell.strip() or f"column_{i}"
        name, number = plain, 2
        while name in names:
            name, number = f"{plain}_{number}", number + 1
        names[name] = None
    return list(names)


def _row(columns: Sequence[str], row: Sequence[str]) -> dict[str, str | None]:
    """By the names of the columns; null where the row has no value. More values than columns are an error."""
    if len(row) > len(columns):
        raise ToolFailed(f"a row has {len(row)} values, and there are {len(columns)} columns: {', '.join(row)[:100]}")
    return {name: row[i] if i < len(row) else None for i, name in enumerate(columns)}
