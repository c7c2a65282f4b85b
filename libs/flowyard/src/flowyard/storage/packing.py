"""How the entries of one commit are stored: a short JSON list, since a database holds more of them than of anything.

`[[at, type, data], …]`: `at` is in microseconds: of the first entry since 1970, of the others since the one before.
Numbers are counted back from that of the row, which is the last one's. A step's first visit is left out, and the node
is `n` then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flowyard.runs.run import Entry
from flowyard.storage.database import dumps

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def packed(entries: Sequence[Entry]) -> str:
    """JSON text. The entries are numbered one after the other. Raises CommitRefused for what JSON can't hold."""
    before = 0
    rows = []
    for entry in entries:
        at = (entry.at - _EPOCH) // _MICROSECOND
        rows.append([at - before, entry.type, _without_first_visit(entry.data)])
        before = at
    return dumps(rows)


def unpacked(last_seq: int, rows: Sequence[Any]) -> list[Entry]:
    """`last_seq`: the number of the row."""
    entries = []
    at = 0
    for seq, (since, kind, data) in enumerate(rows, last_seq - len(rows) + 1):
        at += since
        entries.append(Entry(seq, _EPOCH + at * _MICROSECOND, kind, _with_visit(data)))
    return entries


def _without_first_visit(data: Mapping[str, Any]) -> Mapping[str, Any]:
    if data.get("visit") != 1 or "node" not in data:
        return data
    return {("n" if name == "node" else name): value for name, value in data.items() if name != "visit"}


def _with_visit(data: dict[str, Any]) -> dict[str, Any]:
    if "n" not in data:
        return data
    return {"node": data["n"], "visit": 1, **{name: value for name, value in data.items() if name != "n"}}
