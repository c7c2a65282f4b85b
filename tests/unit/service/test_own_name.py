"""The name of a container, from a DNS server that answers as Docker's does."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flowyard.service.own_name import name_at

POINTER = b"\xc0\x0c"


@contextmanager
def dns(answer: bytes, *, answers: int = 1) -> Iterator[tuple[str, int]]:
    """A server that repeats the question and adds `answer`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            request, client = server.recvfrom(4096)
            asked.append(request[12:])
            server.sendto(request[:2] + struct.pack("!5H", 0x8180, 1, answers, 0, 0) + request[12:] + answer, client)

        asked.clear()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()
        thread.join(2)


asked: list[bytes] = []


def record(*labels: str, kind: int = 12, about: bytes = POINTER) -> bytes:
    data = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    return about + struct.pack("!HHIH", kind, 1, 600, len(data)) + data


@pytest.mark.parametrize("about", [POINTER, b"\x01a\x00", b"\x01a" + POINTER])
def test_the_name_of_a_container_is_the_first_label(about: bytes) -> None:
    with dns(record("flowyard-executor-1", "flowyard_core", about=about)) as server:
        assert name_at("172.18.0.2", server=server) == "flowyard-executor-1"
    assert asked == [b"\x012\x010\x0218\x03172\x07in-addr\x04arpa\x00\x00\x0c\x00\x01"]


def test_a_server_that_knows_no_name_is_no_error() -> None:
    with dns(b"", answers=0) as server:
        assert name_at("172.18.0.2", server=server) is None
    with dns(record("a", kind=5)) as server:
        assert name_at("172.18.0.2", server=server) is None


@pytest.mark.parametrize("answer", [b"", b"\xc0", record("x" * 20)[:15], b"\x3fabc"])
def test_an_answer_that_is_cut_off_is_told_apart(answer: bytes) -> None:
    with dns(answer) as server, pytest.raises(ValueError, match="cut off"):
        name_at("172.18.0.2", server=server)
