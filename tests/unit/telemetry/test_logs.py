from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from flowyard.telemetry.logs import JsonLines, Repetitions, bind_run, redact, run_context, setup_logs


class Lines:
    def __init__(self) -> None:
        self._out = io.StringIO()
        handler = logging.StreamHandler(self._out)
        handler.setFormatter(JsonLines("gateway"))
        self.logger = logging.Logger("flowyard.test")
        self.logger.addHandler(handler)

    def last(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self._out.getvalue().splitlines()[-1])
        return line


def test_a_line_is_a_fact_with_fields() -> None:
    lines = Lines()
    lines.logger.info("run claimed", extra={"run_id": "r1", "epoch": 2})
    line = lines.last()
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "flowyard.test",
        "event": "run claimed",
        "service": "gateway",
        "run_id": "r1",
        "epoch": 2,
    }


def test_a_line_about_a_run_bears_the_id_of_its_trace() -> None:
    lines, run_id = Lines(), uuid4()
    for given in (run_id, str(run_id)):
        lines.logger.info("run claimed", extra={"run_id": given})
        line = lines.last()
        assert (line["run_id"], line["trace_id"]) == (str(run_id), run_id.hex)


async def test_what_anybody_logs_in_the_task_of_a_run_bears_its_id() -> None:
    lines, mine, other = Lines(), uuid4(), uuid4()

    async def library() -> None:
        lines.logger.warning("slow")

    async def attempt() -> None:
        bind_run(mine)
        await asyncio.create_task(library())

    await asyncio.create_task(attempt())
    assert (lines.last()["run_id"], lines.last()["trace_id"]) == (str(mine), mine.hex)
    await library()
    assert "run_id" not in lines.last()
    with run_context(mine):
        lines.logger.info("found", extra={"run_id": str(other)})
    assert (lines.last()["run_id"], lines.last()["trace_id"]) == (str(other), other.hex)


def test_an_exception_stays_in_its_line() -> None:
    lines = Lines()
    try:
        raise ValueError("two\nlines")
    except ValueError:
        lines.logger.exception("step failed")
    line = lines.last()
    assert line["event"] == "step failed"
    assert "ValueError: two\nlines" in line["exception"]


@pytest.mark.parametrize(
    ("text", "kept", "gone"),
    [
        ("postgresql://u:hunter2@db:5432/x", "postgresql://u:***@db:5432/x", "hunter2"),
        ("nats://:hunt:er@2@h", "@h", "hunt"),
        ("Authorization: Bearer abc.def-ghi", "Bearer ***", "abc"),
        ("key fy_abcdefgh_qrstuvwxyz234567 revoked", "key fy_abcdefgh_*** revoked", "qrst"),
        ("401 for sk-proj-0123456789abcdef", "401 for sk-***", "0123"),
        ("http://127.0.0.1:4000/v1/runs", "http://127.0.0.1:4000/v1/runs", "***"),
        ("listening on ::1:80 for a@b", "listening on ::1:80 for a@b", "***"),
    ],
)
def test_secrets_in_a_message_are_not_written(text: str, kept: str, gone: str) -> None:
    lines = Lines()
    lines.logger.warning(text)
    event = lines.last()["event"]
    assert kept in event
    assert gone not in event


def test_secrets_in_fields_are_not_written() -> None:
    lines = Lines()
    lines.logger.warning("x", extra={"headers": {"authorization": 'odd "one"'}, "db_password": "p", "tokens": 5})
    line = lines.last()
    assert (line["headers"], line["db_password"], line["tokens"]) == ({"authorization": "***"}, "***", 5)


def test_secrets_in_tracebacks_are_not_written() -> None:
    lines = Lines()
    try:
        raise ValueError("can't reach postgresql://u:hunter2@db/x")
    except ValueError:
        lines.logger.exception("failed")
    assert "hunter2" not in lines.last()["exception"]


def test_redacting_a_long_line_is_quick() -> None:
    assert redact("a" * 1_000_000 + "://" * 1_000).startswith("a")


def passed(records: list[logging.LogRecord]) -> list[tuple[str, int]]:
    repetitions = Repetitions()
    return [(record.msg, getattr(record, "repeated", 0)) for record in records if repetitions.filter(record)]


def warning(at: float, text: str = "can't claim", **fields: Any) -> logging.LogRecord:
    facts = {"name": "flowyard.test", "levelno": logging.WARNING, "levelname": "WARNING", "msg": text, "created": at}
    return logging.makeLogRecord({**facts, **fields})


def test_the_same_warning_twice_a_second_becomes_one_and_a_count() -> None:
    minute = [warning(1000 + n / 2, text) for n in range(120) for text in ("can't claim", "can't sweep")]
    assert passed(minute) == [("can't claim", 0), ("can't sweep", 0), ("can't claim", 59), ("can't sweep", 59)]


def test_what_differs_in_its_fields_or_its_run_is_not_the_same_and_neither_is_a_bug() -> None:
    assert len(passed([warning(1, run_id="a"), warning(1, run_id="b"), warning(1, runs=1), warning(1, runs=2)])) == 4
    bug = (ValueError, ValueError("no"), None)
    assert len(passed([warning(1, exc_info=bug), warning(1, exc_info=bug)])) == 2
    assert len(passed([warning(1, levelno=logging.INFO), warning(1, levelno=logging.INFO)])) == 2


@pytest.fixture
def _own_root() -> Iterator[None]:
    names = [None, "uvicorn", "httpx", "httpcore", "flowyard", "flowyard_executor"]
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.handlers, logger.level) for logger in loggers]
    yield
    logging.captureWarnings(capture=False)
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        logger.handlers = handlers
        logger.setLevel(level)


@pytest.mark.usefixtures("_own_root")
def test_all_loggers_of_the_process_go_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    setup_logs("executor", "info")
    setup_logs("executor", "info")
    logging.getLogger("uvicorn.error").error("odd request")
    logging.getLogger("uvicorn.error").info("hello")
    logging.getLogger("anything").debug("detail")
    (line,) = [json.loads(text) for text in out.getvalue().splitlines()]
    assert (line["logger"], line["event"], line["service"]) == ("uvicorn.error", "odd request", "executor")
