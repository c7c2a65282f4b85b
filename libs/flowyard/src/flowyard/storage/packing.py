"""How the events of one commit are stored: as a short JSON list, since most of a database is events.

`[[at, type, data], …]`: `at` is in microseconds, for the first entry since 1970, for each other since the entry before
it. The row has the number of its last entry, and the others are counted back from it. Where `visit` is 1, it is left
out, and `node` is written as `n`. What `repeats` has shortened doesn't name its step if that is the step of the entry
before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flowyard.runs.run import Entry
from flowyard.storage.database import dumps

CALLED: Final = "called"
FINISHED: Final = "finished"
SUCCEEDED: Final = "succeeded"
_OF_STEP: Final = (CALLED, FINISHED)
_PLACE: Final = ("node", "visit", "item")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def packed(entries: Sequence[Entry]) -> str:
    """JSON text. `entries` must be numbered without a gap. Raises CommitRefused for what JSON can't hold."""
    before = 0
    place: Mapping[str, Any] = {}
    rows = []
    for entry in entries:
        at = (entry.at - _EPOCH) // _MICROSECOND
        here, data = _place(entry.data), entry.data
        if here and here == place and entry.type in _OF_STEP:
            data = {name: value for name, value in data.items() if name not in here}
        rows.append([at - before, entry.type, _without_first_visit(data)])
        before, place = at, here
    return dumps(rows)


def unpacked(last_seq: int, rows: Sequence[Any]) -> list[Entry]:
    """The entries of a row of `events`. `last_seq`: its number; `rows`: its list."""
    entries = []
    at = 0
    place: Mapping[str, Any] = {}
    for seq, (since, kind, stored) in enumerate(rows, last_seq - len(rows) + 1):
        at += since
        data = _with_visit(stored)
        if kind in _OF_STEP and "node" not in data:
            data = {**place, **data}
        entries.append(Entry(seq, _EPOCH + at * _MICROSECOND, kind, data))
        place = _place(data)
    return entries


def _place(data: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: data[name] for name in _PLACE if name in data} if "node" in data else {}


def _without_first_visit(data: Mapping[str, Any]) -> Mapping[str, Any]:
    if data.get("visit") != 1 or "node" not in data:
        return data
    return {("n" if name == "node" else name): value for name, value in data.items() if name != "visit"}


def _with_visit(data: dict[str, Any]) -> dict[str, Any]:
    if "n" not in data:
        return data
    return {"node": data["n"], "visit": 1, **{name: value for name, value in data.items() if name != "n"}}
