"""The data of server-sent events, from bytes that are split anywhere."""

from __future__ import annotations

import time

import pytest

from flowyard.llm.event_stream import LINE_LIMIT, BrokenReply, EventDecoder

BREAKS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""Line breaks of Python's `str.splitlines`, but not of event streams."""


def data_of(stream: bytes, size: int) -> list[str]:
    events = EventDecoder()
    chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
    return [data for chunk in chunks for data in events.feed(chunk)] + list(events.end())


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        ("data: a\n\ndata: b\n\n", ["a", "b"]),
        ("data: a\r\rdata: b\r\r", ["a", "b"]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        ("data: a\r\n\rdata: b\n\r\n", ["a", "b"]),
        ("data: a\r\ndata: b\r\n\r\n", ["a\nb"]),
        ("data: a\ndata: b\ndata:\ndata: c\n\n", ["a\nb\n\nc"]),
        (f"data: a{BREAKS}b\n\n", [f"a{BREAKS}b"]),
        ("data: ä€😀\n\n", ["ä€😀"]),
        ("\ufeffdata: a\n\ndata: \ufeffb\n\n", ["a", "\ufeffb"]),
        ("\ufeff\ufeffdata: a\n\ndata: b\n\n", ["b"]),
        ("data:a\n\ndata:  b \n\n", ["a", " b "]),
        (": data: a\nevent: data\nid: data\nretry: 1\ndata: b\ndatas: c\n data: d\n\n", ["b"]),
        ("data: a: b\n\n", ["a: b"]),
        ("data\n\ndata:\n\n\n\n: ping\n\n", []),
        ("data: a\n\ndata: b", ["a", "b"]),
    ],
)
def test_events_are_read_wherever_the_chunks_end(stream: str, data: list[str]) -> None:
    encoded = stream.encode()
    for size in range(1, len(encoded) + 1):
        assert data_of(encoded, size) == data


def test_an_event_is_there_as_soon_as_its_blank_line_has_begun() -> None:
    events = EventDecoder()
    assert list(events.feed(b"data: a\r\n\r")) == ["a"]
    assert list(events.feed(b"\ndata: b\n\n")) == ["b"]


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    assert data_of(b"data: a\xffb\xe2\x82\n\n", 3) == ["a\ufffdb\ufffd"]


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    events, chunk = EventDecoder(), b"x" * 1000
    for _ in range(LINE_LIMIT // 1000):
        list(events.feed(chunk))
    with pytest.raises(BrokenReply, match=r"a line of the stream is longer than 1,000,000 bytes"):
        list(events.feed(b"x"))


def test_a_stream_may_be_longer_than_a_line_may() -> None:
    line = "x" * 100_000
    assert data_of(f"data: {line}\n\n".encode() * 20, 50_000) == [line] * 20


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 900_000 + b"\n\n", b"data: x\n\n" * 90_000], ids=["long", "many"]
)
@pytest.mark.parametrize("size", [2, 1_000_000])
def test_the_time_grows_with_the_bytes_and_no_faster(stream: bytes, size: int) -> None:
    started = time.process_time()
    assert data_of(stream, size)
    assert time.process_time() - started < 2
