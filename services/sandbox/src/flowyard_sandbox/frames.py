"""What the pool and its workers say to each other: JSON with its length in front, over a pair of sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any, Final

MOST_BYTES: Final = 64 * 1024 * 1024
_LENGTH: Final = struct.Struct("!I")


def encode(message: dict[str, Any]) -> bytes:
    payload = json.dumps(message, ensure_ascii=True, allow_nan=False).encode("ascii")
    return _LENGTH.pack(len(payload)) + payload


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(encode(message))


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """The next message; None: the other side has closed the connection."""
    head = _read(connection, _LENGTH.size)
    return _decode(_read(connection, _LENGTH.unpack(head)[0])) if head else None


async def receive_from(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Raises EOFError if the other side has closed the connection, and ValueError for what isn't a message.

    What a worker sends is not trusted: it may have been taken over by the code that it executes.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MOST_BYTES:
        raise ValueError(f"a message of {length} bytes")
    return _decode(await reader.readexactly(length))


def _read(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = connection.recv(min(size - len(received), 1 << 20))
        if not part:
            return b""
        received += part
    return bytes(received)


def _decode(payload: bytes) -> dict[str, Any]:
    try:
        message = json.loads(payload)
    except RecursionError as error:
        raise ValueError("a message of too many levels") from error
    if not isinstance(message, dict):
        raise ValueError("a message that isn't an object")  # noqa: TRY004  # one error for all that isn't a message
    return message
