"""Events as they are sent to streams, each encoded once for all its readers."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final
from uuid import UUID

from flowyard.runs.run import Entry
from flowyard.web.sse import ServerEvent
from flowyard_gateway.answers import as_json

_MOST_BYTES: Final = 8 * 1024 * 1024


class EventEncoder:
    """Remembers what it has encoded last. One per process."""

    def __init__(self) -> None:
        self._encoded: OrderedDict[tuple[UUID, int], bytes] = OrderedDict()
        self._bytes = 0

    def encode(self, run_id: UUID, entry: Entry) -> bytes:
        key = run_id, entry.seq
        encoded = self._encoded.get(key)
        if encoded is not None:
            self._encoded.move_to_end(key)
            return encoded
        event = {"seq": entry.seq, "at": entry.at, "type": entry.type, "data": entry.data}
        self._encoded[key] = encoded = ServerEvent(as_json(event).decode(), entry.type, str(entry.seq)).encode()
        self._bytes += len(encoded)
        while self._bytes > _MOST_BYTES:
            self._bytes -= len(self._encoded.popitem(last=False)[1])
        return encoded
