"""The name of this process's container, as `docker compose ps` shows it: asked from Docker's DNS server."""

from __future__ import annotations

import re
import socket
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_DOCKERS: Final = "127.0.0.11"
_PORT: Final = 53
_ANSWER_WITHIN_S: Final = 1.0
_PTR: Final = 12
_IN: Final = 1
_ID: Final = 1
_HEADER: Final = struct.Struct("!6H")


@cache
def container_name() -> str | None:
    """Such as `flowyard-executor-1`. None outside of containers, and in one without a network of its own."""
    with suppress(OSError, ValueError):
        if re.search(rf"^nameserver {re.escape(_DOCKERS)}$", _RESOLV_CONF.read_text(encoding="utf-8"), re.MULTILINE):
            # /etc/hosts has the address of a container under its id, so that `gethostbyaddr` would return the id.
            address = socket.gethostbyname(socket.gethostname())
            return name_at(address, server=(_DOCKERS, _PORT))
    return None


def name_at(address: str, *, server: tuple[str, int]) -> str | None:
    """The first label of the name that a DNS server knows for an IPv4 address; None: it knows none.

    RFC 1035. The standard library asks /etc/hosts first, and can't be told not to. Raises OSError, ValueError.
    """
    labels = [*reversed(address.split(".")), "in-addr", "arpa"]
    question = (
        b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0" + struct.pack("!2H", _PTR, _IN)
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_ANSWER_WITHIN_S)
        sock.connect(server)
        sock.send(_HEADER.pack(_ID, 0x0100, 1, 0, 0, 0) + question)
        return _first_label(sock.recv(4096), skip=_HEADER.size + len(question))


def _first_label(answer: bytes, *, skip: int) -> str | None:
    """`skip`: the bytes of the header and of the repeated question."""
    try:
        if not _HEADER.unpack_from(answer)[3]:
            return None
        # The name that the record is about: mostly a pointer of two bytes to the question.
        at = skip
        while answer[at] and answer[at] < 0xC0:
            at += 1 + answer[at]
        at += 2 if answer[at] else 1
        kind, _, _, _ = struct.unpack_from("!HHIH", answer, at)
        length = answer[at + 10]
        label = answer[at + 11 : at + 11 + length].decode("ascii")
        if len(label) < length:
            raise IndexError
    except (IndexError, struct.error) as error:
        raise ValueError("the answer is cut off") from error
    return label if kind == _PTR and re.fullmatch(r"[A-Za-z0-9_-]{1,63}", label) else None


def own_name(service: str) -> str:
    """The name of this process for people: of its container, else of its service."""
    return container_name() or service
