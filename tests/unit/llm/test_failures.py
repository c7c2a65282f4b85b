from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from flowyard.llm import failures
from flowyard.llm.error_bodies import read_error
from flowyard.llm.pauses import retry_after

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def used_up(kind: str, reset: str) -> dict[str, str]:
    return {f"X-RateLimit-Remaining-{kind}": "0", f"x-ratelimit-reset-{kind}": reset}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "2"}, 2.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"Retry-After": "9", "retry-after-ms": "250"}, 0.25),
        ({"Retry-After": "Fri, 20 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Fri, 20 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        (used_up("requests", "6m0s"), 360.0),
        (used_up("tokens", "1h2m3.5s"), 3723.5),
        (used_up("tokens", "120ms"), 0.12),
        (used_up("requests", "7"), 7.0),
        ({**used_up("requests", "2s"), **used_up("tokens", "9s")}, 9.0),
        ({**used_up("requests", "2s"), "Retry-After": "1"}, 1.0),
        ({**used_up("requests", "2s"), "X-RateLimit-Remaining-requests": "3"}, None),
        (used_up("requests", "soon"), None),
        (used_up("requests", ""), None),
        ({}, None),
    ],
)
def test_the_wait_is_read_in_each_of_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (json.dumps({"error": {"message": "no luck", "code": 1}}), "no luck"),
        (json.dumps({"error": "no luck"}), "no luck"),
        (json.dumps([{"error": {"message": "no luck"}}]), "no luck"),
        (json.dumps({"message": "no luck"}), "no luck"),
        ("<h1>no luck</h1>", "<h1>no luck</h1>"),
        ("<html><head><title>502 Bad Gateway</title>", "an HTML page: 502 Bad Gateway"),
    ],
)
def test_the_sentence_is_found_in_an_error_body(body: str, text: str) -> None:
    assert read_error(body).text == text


def test_a_detail_is_one_short_line() -> None:
    detail = failures.brief("first\n  second\t" + "x" * 1000)
    assert detail.startswith("first second x")
    assert len(detail) == 300


def test_a_cause_that_spells_the_key_is_dropped() -> None:
    inner, outer = ValueError("Bearer sk-1234"), RuntimeError("failed")
    outer.__context__ = inner
    assert failures.cause_of(outer, frozenset({"sk-1234"})) is None
    assert failures.cause_of(outer, frozenset({"sk-other"})) is outer


def test_a_secret_that_is_part_of_another_leaves_no_rest() -> None:
    assert failures.redact("Bearer sk-12345678-more", frozenset({"sk-12345678", "sk-12345678-more"})) == "Bearer ***"
