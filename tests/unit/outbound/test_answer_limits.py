"""Answers that are too large, too slow, or never end."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flowyard.errors.outbound import AnswerTooLarge, OutboundError, OutboundTimeout
from flowyard.outbound.allowlist import read_allowlist
from flowyard.outbound.client import open_outbound
from flowyard.outbound.requests import OutboundAnswer, OutboundRequest
from support.outside import Answer, outside

LOOPBACK = read_allowlist("127.0.0.1")
MB = 1_000_000
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


async def fetch(
    answer: bytes | Answer, *, limit: int = MB, cut: bool = False, total_s: float = 20.0, method: str = "GET"
) -> OutboundAnswer:
    async with outside(answer) as server, open_outbound({}, LOOPBACK) as client:
        url = f"http://127.0.0.1:{server.port}/"
        return await client.send(OutboundRequest(method=method, url=url, answer_limit=limit, cut=cut, total_s=total_s))


def endlessly(beginning: bytes, piece: bytes, *, pause_s: float = 0) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return answer


@contextmanager
def at_most(most: int) -> Iterator[None]:
    """Bytes that are allocated at a time, those of the server included."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_body_may_have_as_many_bytes_as_the_limit_and_not_one_more(framing: str) -> None:
    def whole(body: bytes) -> bytes:
        match framing:
            case "length":
                return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
            case "chunked":
                return HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
            case _:
                return HEAD + b"\r\n" + body

    assert (await fetch(whole(b"x" * 1000), limit=1000)).body == b"x" * 1000
    with pytest.raises(AnswerTooLarge, match="its body has more than 1,000 bytes"):
        await fetch(whole(b"x" * 1001), limit=1000)
    cut = await fetch(whole(b"x" * 1001), limit=1000, cut=True)
    assert (cut.status, cut.body, cut.is_cut) == (200, b"x" * 1000, True)


@pytest.mark.parametrize("packed", ["gzip", "deflate"])
async def test_what_is_packed_counts_unpacked_and_is_never_in_memory(packed: str) -> None:
    plain = b"\0" * 200 * MB
    body = gzip.compress(plain) if packed == "gzip" else zlib.compress(plain)
    head = HEAD + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (packed.encode(), len(body))
    del plain
    assert len(body) < MB
    with at_most(12 * MB), pytest.raises(AnswerTooLarge, match="more than 1,000,000 bytes"):
        await fetch(head + body)


async def test_an_endless_body_is_left_at_the_limit() -> None:
    with at_most(12 * MB), pytest.raises(AnswerTooLarge):
        await fetch(endlessly(HEAD + b"\r\n", b"x" * 10_000))


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (HEAD, b"x"),
        (b"HTTP/1.1 200 ", b"O"),
        (b"", b""),
    ],
    ids=["body", "chunks", "header", "status line", "nothing"],
)
async def test_a_slow_answer_ends_with_the_time_of_the_request(beginning: bytes, piece: bytes) -> None:
    with pytest.raises(OutboundTimeout, match=r"127\.0\.0\.1 didn't answer completely within 0\.3 s"):
        await fetch(endlessly(beginning, piece, pause_s=0.1), total_s=0.3)


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (HEAD, b"X-A: b\r\n"),
        (HEAD + b"X-A: ", b"b" * 1000),
        (HEAD + b"X", b"x" * 1000),
        (b"HTTP/1.1 200 ", b"O" * 1000),
    ],
    ids=["many headers", "a long value", "a long name", "a long first line"],
)
async def test_an_endless_head_is_too_large(beginning: bytes, piece: bytes) -> None:
    with at_most(12 * MB), pytest.raises(AnswerTooLarge, match="its head may have 100 headers of 8,190 bytes"):
        await fetch(endlessly(beginning, piece))


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 1000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 1000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1;a=b\r\nx\r\n"),
    ],
    ids=["hints", "continue", "trailers", "an extension", "a length", "small chunks"],
)
async def test_other_endless_answers_end_in_time_and_take_no_memory(beginning: bytes, piece: bytes) -> None:
    with at_most(24 * MB), pytest.raises(OutboundError):
        await fetch(endlessly(beginning, piece * 20), total_s=1, limit=100_000)
