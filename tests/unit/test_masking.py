"""Secrets in texts: whole, in pieces, and as other formats spell them."""

from __future__ import annotations

import base64
import html
import json
from itertools import pairwise
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.secrets.masking import MASK, SEALED, MaskedStream, Masker, hide_sealed

SECRET = 'k=7/"é" +\nline two of it'


def streamed(secrets: list[str], pieces: list[str]) -> list[str]:
    shown: list[str] = []
    stream = MaskedStream(Masker(secrets), shown.append)
    for piece in pieces:
        stream.add(piece)
    stream.end()
    return shown


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        quote_plus(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        SECRET.encode().hex(),
        SECRET.replace("\n", " "),
        "line two of it",
        "k%3d7%2f%22%c3%a9%22+%2b%0aline+two+of+it",
        html.escape(SECRET),
        SECRET.upper(),
        SECRET.title(),
        base64.b64encode(SECRET.encode()).decode().swapcase(),
        "".join(f"%{byte:02x}" for byte in SECRET.encode()),
        "".join(f"%{byte:02X}" if number % 3 else c for number, c in enumerate(SECRET) for byte in c.encode()),
    ],
)
def test_a_secret_is_found_however_it_is_spelled(spelled: str) -> None:
    assert Masker([SECRET]).text(f"it is <{spelled}>").replace("=", "") == f"it is <{MASK}>"


@pytest.mark.parametrize("spelled", ["Hunter-Zwölf", "%68%75nter-zw%C3%B6lf", "%48UNTER%2dZW%c3%96LF"])
def test_a_secret_in_other_case_and_with_escapes_is_found_wherever_a_stream_is_cut(spelled: str) -> None:
    text = f"a%4{spelled}%C3%B6%"
    for cut in range(len(text)):
        for end in range(cut, len(text)):
            shown = "".join(streamed(["hunter-zwölf"], [text[:cut], text[cut:end], text[end:]]))
            assert shown == f"a%4{MASK}%C3%B6%", (cut, end)


def test_a_secret_that_looks_escaped_itself_is_found() -> None:
    assert Masker(["a%41b%2Fc"]).text("a%41b%2Fc, a%2541b, aAb/c") == f"{MASK}, a%2541b, {MASK}"


def test_characters_whose_lower_case_is_longer_stay_where_they_are() -> None:
    assert Masker(["hunter2"]).text("İİİ HUNTER2 İ") == f"İİİ {MASK} İ"


@pytest.mark.parametrize("user", ["u", "ab", "abc"])
def test_a_password_is_found_inside_of_what_base64_makes_of_more(user: str) -> None:
    shown = Masker(["hunter2-hunter2"]).text(base64.b64encode(f"{user}:hunter2-hunter2".encode()).decode())
    assert MASK in shown
    assert b"unter2-hunt" not in base64.b64decode(shown.replace(MASK, "AAAA") + "====")


def test_short_words_are_left_alone() -> None:
    assert Masker(["abc", ""]).text("abc") == "abc"
    assert not Masker(["abc"])


def test_a_secret_inside_of_another_leaves_nothing_of_the_other() -> None:
    assert Masker(["abcd", "abcdefgh"]).text("abcdefgh abcd") == f"{MASK} {MASK}"


def test_every_text_of_a_value_is_masked() -> None:
    value = {"a": ["x s3cret", 1, None], "s3cret": {"b": True}}
    assert Masker(["s3cret"]).value(value) == {"a": [f"x {MASK}", 1, None], MASK: {"b": True}}


def test_what_cannot_become_a_secret_is_refused_at_once() -> None:
    shown: list[str] = []
    stream = MaskedStream(Masker(["secret"]), shown.append)
    for piece in ("one ", "se", "ven ", "sec"):
        stream.add(piece)
    assert shown == ["one ", "seven "]
    stream.end()
    assert shown == ["one ", "seven ", "sec"]


@given(
    st.lists(st.text("ab", min_size=4, max_size=8), min_size=1, max_size=3),
    st.text("abc", max_size=40),
    st.lists(st.integers(0, 40), max_size=6),
)
def test_no_secret_gets_through_a_stream_wherever_it_is_cut(secrets: list[str], text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    shown = "".join(streamed(secrets, [text[a:b] for a, b in pairwise(places)]))
    assert not any(secret in shown for secret in secrets)
    if not any(secret in text for secret in secrets):
        assert shown == text


def test_sealed_values_are_shown_as_stars() -> None:
    assert hide_sealed({"token": f"{SEALED}…", "topic": "rain", "n": 1}) == {"token": MASK, "topic": "rain", "n": 1}


@pytest.mark.parametrize(
    ("secret", "reply", "shown_as"),
    [
        ("4711", '{"a": "4711", "b": 14711}', '{"a": "***", "b": 14711}'),
        ("4711", '{"a": 4711}', '{"a": "***"}'),
        ("true", '```json\n{"a": "true", "b": true}\n```', '```json\n{"a": "***", "b": true}\n```'),
        ("name", '{"name": "name"}', '{"name": "***"}'),
        ("p/w&é", r'Here: {"a": "p\/w\u0026\u00E9"}', 'Here: {"a": "***"}'),
        ("p/w&é", r'{"a": "p/w&é", "a": "x"}', '{"a": "***", "a": "x"}'),
        ("s3cret", '{"a": "s3cret"', '{"a": "***"'),
        ("s3cret", '{"a": 1.0,  "b": 2}', '{"a": 1.0,  "b": 2}'),
    ],
)
def test_a_reply_that_is_json_stays_json(secret: str, reply: str, shown_as: str) -> None:
    assert Masker([secret]).json(reply, {"name"}) == shown_as
