"""The JetStream stream of public events, as the one process that publishes to it sees it.

Each message names the one before it, so JetStream stores a batch in its order, without a gap, or refuses the rest: one
answer, to the last message, says that all are stored. The first message names the number of the last one in the stream,
so a process that was frozen while another took over stores nothing.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from nats.aio.client import Client
from nats.errors import Error, NoRespondersError

from flowyard.bus.connection import Bus
from flowyard.bus.subjects import EVENT_STREAM, PUBLIC_EVENTS, stream_api
from flowyard.errors.services import Unavailable

DEDUPE_S: Final = 600.0
_MOST_CONSUMERS: Final = 100
"""Programs that follow the stream: each costs NATS memory."""
_TIMEOUT_S: Final = 5.0
_NO_STREAM: Final = 10059
_NO_MESSAGE: Final = 10037
CONTENT_TYPE: Final = "application/cloudevents+json"
_MESSAGE_ID: Final = re.compile(rb"^Nats-Msg-Id: *(.*?)\r?$", re.MULTILINE | re.IGNORECASE)


class PublicEventMessage(NamedTuple):
    """`id`: no two events have the same one."""

    subject: str
    id: str
    payload: bytes


class _Refused(Exception):
    def __init__(self, error: dict[str, Any]) -> None:
        self.code = error.get("err_code", 0)
        super().__init__(str(error.get("description", "refused")))


class PublicEventStream:
    """`max_age_s`, `max_bytes`: what the stream keeps at most; the oldest messages go first.

    `dedupe_s`: for how long JetStream itself drops a message whose id it has stored.
    """

    def __init__(self, bus: Bus, *, max_age_s: float, max_bytes: int, dedupe_s: float = DEDUPE_S) -> None:
        self._bus = bus
        self._config = {
            "name": EVENT_STREAM,
            "subjects": [PUBLIC_EVENTS],
            "description": "Events of runs, as CloudEvents",
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "max_age": int(max_age_s * 1e9),
            "max_bytes": max_bytes,
            "max_consumers": _MOST_CONSUMERS,
            "duplicate_window": int(min(dedupe_s, max_age_s) * 1e9),
            "allow_direct": True,
        }
        self._client: Client | None = None
        self._last_seq = 0
        self._last_id: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether the last message of the stream is known, so that `publish` can work. Not after an error."""
        return self._client is not None and self._client is self._bus.client

    async def look(self) -> None:
        """Makes the stream if it isn't there, and finds its last message. Raises Unavailable.

        To be followed by a check that no other process publishes: then `publish` stores nothing if one begins later.
        """
        self._client, client = None, self._bus.client
        if client is None:
            raise Unavailable("NATS")
        with _translated():
            state = (await self._configured(client))["state"]
            self._last_seq, self._last_id = state["last_seq"], await _last_id(client, state["last_seq"])
        self._client = client

    async def publish(self, messages: Sequence[PublicEventMessage]) -> None:
        """Returns when all are stored. What the stream has already isn't stored again: those up to its last message.

        Raises Unavailable: then some of the first may be stored, and the stream has to be looked at again.
        """
        client = self._client
        if client is None or not self.is_known:
            raise Unavailable("NATS")
        self._client = None
        with _translated():
            await self._send(client, messages)
        self._client = client

    async def _configured(self, client: Client) -> dict[str, Any]:
        try:
            info = await _request(client, stream_api("INFO"), {})
        except _Refused as error:
            if error.code != _NO_STREAM:
                raise
            return await _request(client, stream_api("CREATE"), self._config)
        config = info["config"]
        if all(config.get(name) == value for name, value in self._config.items()):
            return info
        return await _request(client, stream_api("UPDATE"), {**config, **self._config})

    async def _send(self, client: Client, messages: Sequence[PublicEventMessage]) -> None:
        ids = [message.id for message in messages]
        stored = ids.index(self._last_id) + 1 if self._last_id in ids else 0
        new = messages[stored:]
        if not new:
            return
        headers = {"Nats-Expected-Last-Sequence": str(self._last_seq)}
        for message in new[:-1]:
            await client.publish(message.subject, message.payload, headers=_headers(message) | headers)
            headers = {"Nats-Expected-Last-Msg-Id": message.id}
        answer = await client.request(
            new[-1].subject, new[-1].payload, timeout=_TIMEOUT_S, headers=_headers(new[-1]) | headers
        )
        self._last_seq, self._last_id = _checked(answer.data)["seq"], new[-1].id


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _Refused as error:
        raise Unavailable(f"the stream of events ({error})") from error
    except (Error, TimeoutError, OSError, ValueError) as error:
        raise Unavailable("the stream of events") from error


async def _last_id(client: Client, seq: int) -> str | None:
    """The id of the message with this number, if it is the last one and still there."""
    try:
        last = await _request(client, stream_api("MSG.GET"), {"last_by_subj": PUBLIC_EVENTS})
    except _Refused as error:
        if error.code != _NO_MESSAGE:
            raise
        return None
    match = _MESSAGE_ID.search(base64.b64decode(last["message"].get("hdrs", "")))
    return match[1].decode() if match and last["message"]["seq"] == seq else None


def _headers(message: PublicEventMessage) -> dict[str, str]:
    return {"Nats-Msg-Id": message.id, "Content-Type": CONTENT_TYPE}


async def _request(client: Client, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """Raises _Refused, nats.errors.Error."""
    try:
        answer = await client.request(subject, json.dumps(body).encode(), timeout=_TIMEOUT_S)
    except NoRespondersError as error:
        raise _Refused({"description": "JetStream is off"}) from error
    return _checked(answer.data)


def _checked(payload: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(payload)
    if "error" in answer:
        raise _Refused(answer["error"])
    return answer
