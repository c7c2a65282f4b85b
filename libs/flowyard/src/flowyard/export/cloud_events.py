"""Events of runs as CloudEvents, in structured mode: JSON with the event in `data`. Pure.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/nats-protocol-binding.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from flowyard.api.public_events import PUBLIC_EVENTS, PublicFailure
from flowyard.bus import subjects
from flowyard.bus.event_stream import PublicEventMessage
from flowyard.export.text import clean
from flowyard.runs.large_values import without_large
from flowyard.runs.run import Entry

TYPE_PREFIX: Final = "flowyard."
_MAX_BYTES: Final = 900_000
"""NATS takes a megabyte. Outputs are bounded when they are stored, but not by executors of the release before."""
_FIELDS: Final = {kind: tuple(model.model_fields) for kind, model in PUBLIC_EVENTS.items()}
_FAILURE: Final = tuple(PublicFailure.model_fields)
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def message_of(run_id: UUID, workflow: str, entry: Entry) -> PublicEventMessage:
    """The message for an event of a public type."""
    payload = _payload(run_id, workflow, entry)
    if len(payload) > _MAX_BYTES:
        payload = _payload(run_id, workflow, _shortened(entry))
    return PublicEventMessage(subjects.public_event(workflow, entry.type), event_id(run_id, entry.seq), payload)


def event_id(run_id: UUID, seq: int) -> str:
    """Each event has one, which is always the same."""
    return f"{run_id}:{seq}"


def messages_of(run_id: UUID, workflow: str, entries: Iterable[Entry]) -> list[PublicEventMessage]:
    return [message_of(run_id, workflow, entry) for entry in entries]


def public_data(entry: Entry) -> dict[str, Any]:
    """Of the data of an entry, what is public."""
    data = {name: entry.data[name] for name in _FIELDS[entry.type] if name in entry.data}
    if error := data.get("error"):
        data["error"] = _part_of(error, _FAILURE)
    return data


def _part_of(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: data[name] for name in names if name in data}


def _shortened(entry: Entry) -> Entry:
    entry, _ = without_large(entry)
    error = entry.data.get("error")
    return entry._replace(data={**entry.data, "error": {**error, "message": "…"}}) if error else entry


def _payload(run_id: UUID, workflow: str, entry: Entry) -> bytes:
    # Put together by hand: most of it is the same each time, and needs no encoding.
    return _bytes(
        f'{{"specversion":"1.0","id":"{event_id(run_id, entry.seq)}","source":"{_source(workflow)}",'
        f'"type":"{TYPE_PREFIX}{entry.type}","subject":"{run_id}","time":"{_time(entry.at)}",'
        f'"datacontenttype":"application/json","data":'
        f"{_encode({'run_id': str(run_id), 'workflow': workflow, 'seq': entry.seq, **public_data(entry)})}}}"
    )


@lru_cache(maxsize=1024)
def _source(workflow: str) -> str:
    """The address of the workflow in the API. It has no character that JSON would escape."""
    return f"/v1/workflows/{quote(workflow, safe='', errors='replace')}"


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which no UTF-8 can hold
        return clean(text).encode()


def _time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
