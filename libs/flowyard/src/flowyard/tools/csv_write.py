"""`csv.write`: rows as CSV, in a text or in a file of a shared folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.threads import in_daemon_thread
from flowyard.tools.csv_read import DELIMITERS, MOST_COLUMNS, MOST_TEXT
from flowyard.tools.files_write import encoded_text
from flowyard.tools.folder_files import write_file
from flowyard.tools.folders import MOST_PATH, Folders, find_place
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import MOST_CHARACTERS, Tool, ToolContext, ToolFailed

MOST_ROWS: Final = 100_000
_JSON: Final = json.JSONEncoder(ensure_ascii=False)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

FACTS: Final = ToolFacts(
    name="csv.write",
    description="Writes rows as CSV, to a file, or, without a path, to a text that is returned.",
    parameters={
        "type": "object",
        "properties": {
            "rows": {
                "type": "array",
                "maxItems": MOST_ROWS,
                "items": {"type": ["object", "array"]},
                "description": "All objects, with values by the names of columns, or all lists of values.",
            },
            "columns": {
                "type": "array",
                "items": {"type": "string"},
                "maxItems": MOST_COLUMNS,
                "description": "The columns in their order; those of the rows if left out. Lists have no others.",
            },
            "path": {
                "type": "string",
                "maxLength": MOST_PATH,
                "description": "The file: the name of a shared folder, and the path in it.",
            },
            "overwrite": {"type": "boolean", "description": "Replace a file that is there."},
            "delimiter": {"enum": list(DELIMITERS), "description": "Between values; a comma if left out."},
            "for_spreadsheet": {
                "type": "boolean",
                "description": "Puts ' before texts that a spreadsheet would calculate as formulas.",
            },
        },
        "required": ["rows"],
        "additionalProperties": False,
    },
    effects=frozenset({"writes"}),
    guarded="path",
)


def tool(services: ToolServices) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> Any:
        del context
        return await in_daemon_thread(lambda: _write(services.folders, arguments))

    return Tool(FACTS, run)


def _write(folders: Folders, arguments: Mapping[str, Any]) -> Any:
    path, rows = arguments.get("path"), arguments["rows"]
    # Before the work: a path that leads nowhere is an error at once.
    place = find_place(folders, path) if path is not None else None
    text = _csv(rows, arguments, MOST_CHARACTERS if place is None else MOST_TEXT)
    if place is None:
        return text
    content = encoded_text(text)
    is_new = write_file(place, content, overwrite=arguments.get("overwrite", False))
    return {"path": place.path, "size": len(content), "is_new": is_new, "rows": len(rows)}


def _csv(rows: Sequence[Any], arguments: Mapping[str, Any], most: int) -> str:
    columns = arguments.get("columns") or _columns(rows)
    out = StringIO(newline="")
    writer = csv.writer(out, delimiter=arguments.get("delimiter", ","), lineterminator="\n")
    is_careful = arguments.get("for_spreadsheet", False)
    if columns:
        writer.writerow([_cell(name, is_careful=is_careful) for name in columns])
    known = frozenset(columns)
    for i, row in enumerate(rows, 1):
        if isinstance(row, dict) and (more := next((name for name in row if name not in known), None)) is not None:
            raise ToolFailed(f"row {i} has '{more[:100]}', which is not among the columns")
        writer.writerow([_cell(value, is_careful=is_careful) for value in _values(row, columns, i)])
        if out.tell() > most:
            raise ToolFailed(f"the CSV has more than {most:,} characters")
    return out.getvalue()


def _columns(rows: Sequence[Any]) -> list[str]:
    """All names in objects, in the order in which they come first."""
    names: dict[str, None] = {}
    for row in rows:
        if isinstance(row, dict):
            names |= dict.fromkeys(row)
        if len(names) > MOST_COLUMNS:
            raise ToolFailed(f"there would be more than {MOST_COLUMNS:,} columns")
    return list(names)


def _values(row: Any, columns: Sequence[str], number: int) -> Sequence[Any]:
    if isinstance(row, dict):
        return [row.get(name) for name in columns]
    if columns and len(row) != len(columns):
        raise ToolFailed(f"row {number} has {len(row)} values, and there are {len(columns)} columns")
    if len(row) > MOST_COLUMNS:
        raise ToolFailed(f"row {number} has more than {MOST_COLUMNS:,} values")
    return list(row)


def _cell(value: Any, *, is_careful: bool) -> str:
    """Texts as they are, null as nothing, anything else as JSON."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return _JSON.encode(value)
    return f"'{value}" if is_careful and value.startswith(_FORMULA) else value
