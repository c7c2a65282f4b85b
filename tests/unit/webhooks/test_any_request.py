"""Whatever arrives: a request is verified, or Unverified is raised. And what was verified is read, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowyard.errors.requests import InvalidRequest
from flowyard.errors.webhooks import Unverified
from flowyard.webhooks.request import Answer, HookRequest
from flowyard.webhooks.schemes import receive
from support.hooks import FORM, JSON, NOW, OF_BODY, PARTIES, post, with_header

PROOFS: Final = sorted({name for party in PARTIES.values() for name, _ in party.signed(post()).headers[1:]})
TEXTS: Final = st.text(st.characters(codec=None, categories=None), max_size=20)
DIGITS: Final = "0" * 64
WELL_FORMED: Final = [
    *(f"{prefix}={DIGITS}" for prefix in ("sha256", "v0", "v1", "t=1700000000,v1")),
    *("1700000000", "msg_1", "Bearer x", DIGITS * 2, "A" * 27 + "=", "A" * 43 + "="),
    *("v1," + "A" * 43 + "=", "v1a," + "A" * 86 + "==", "v1,é v1a,\ud800", FORM, JSON),
]
VALUES: Final = TEXTS | st.sampled_from(WELL_FORMED)
NAMES: Final = st.sampled_from([*PROOFS, "content-type"])
URLS: Final = st.sampled_from(["https://[", "https://a:b/", "https://a:99999/", "?" + "a&" * 1001, "//a?bodySHA256="])
REQUESTS: Final = st.builds(
    HookRequest,
    method=st.sampled_from(["GET", "POST"]) | TEXTS,
    url=URLS | TEXTS,
    # Mostly without repetition, so that more than the first header is looked at.
    headers=st.dictionaries(NAMES, VALUES).map(lambda headers: tuple(headers.items()))
    | st.lists(st.tuples(NAMES, VALUES), max_size=10).map(tuple),
    body=st.binary(),
)
KEYS: Final = st.sampled_from(
    ["entry", "changes", "field", "value", "messages", "contacts", "id", "from", "type", "challenge", "payload"]
)
LEAVES: Final = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.sampled_from(["messages", "url_verification", "\0"])
)
PAYLOADS: Final = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@settings(max_examples=100)
@given(name=st.sampled_from(sorted(PARTIES)), request=REQUESTS)
def test_a_request_that_nobody_signed_is_unverified(name: str, request: HookRequest) -> None:
    with pytest.raises(Unverified):
        receive(PARTIES[name].scheme, request, NOW)


@settings(max_examples=100)
@given(
    name=st.sampled_from(OF_BODY),
    body=st.binary(min_size=1) | TEXTS.map(lambda text: urlencode({"a": text}, errors="replace").encode()),
    place=st.integers(0),
    bit=st.integers(0, 7),
    kind=st.sampled_from([FORM, JSON]),
)
def test_one_changed_bit_of_the_body_is_noticed(name: str, body: bytes, place: int, bit: int, kind: str) -> None:
    changed = bytearray(body)
    changed[place % len(body)] ^= 1 << bit
    if name == "twilio" and kind == FORM:
        # What is in the fields is signed, and not how they are written.
        assume(fields(body) and fields(bytes(changed)) and fields(body) != fields(bytes(changed)))
    signed = PARTIES[name].signed(post(body, kind=kind))
    PARTIES[name].scheme.verify(signed, NOW)
    with pytest.raises(Unverified):
        PARTIES[name].scheme.verify(replace(signed, body=bytes(changed)), NOW)


@pytest.mark.parametrize("name", PARTIES)
def test_one_changed_bit_of_what_proves_the_sender_is_noticed(name: str) -> None:
    signed = PARTIES[name].signed(post())
    for header, value in signed.headers[1:]:
        # The word Bearer may be written in any case.
        begin = len("Bearer ") if header == "authorization" else 0
        for place in range(begin, len(value) if header not in ("idempotency-key", "x-github-delivery") else 0):
            for bit in range(7):
                changed = value[:place] + chr(ord(value[place]) ^ (1 << bit)) + value[place + 1 :]
                with pytest.raises(Unverified):
                    PARTIES[name].scheme.verify(with_header(signed, header, changed), NOW)


@settings(max_examples=100)
@given(
    name=st.sampled_from(sorted(PARTIES)),
    payload=PAYLOADS,
    kind=st.sampled_from([FORM, JSON, "text/plain; charset=x", ""]),
)
def test_whatever_a_sender_has_signed_is_read_or_refused(name: str, payload: Any, kind: str) -> None:
    read_or_refused(name, post(json.dumps(payload).encode(), kind=kind))


@given(body=st.binary())
@pytest.mark.parametrize("kind", [FORM, JSON])
def test_bytes_that_are_no_payload_are_read_or_refused(kind: str, body: bytes) -> None:
    read_or_refused("slack", post(body, kind=kind))


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"9" * 5000, b'{"a": 1, "a": 2}', rb'"\u0000"', rb'"\ud800"', b"\xff"], ids=len
)
def test_json_that_nobody_can_store_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^body: "):
        receive(PARTIES["github"].scheme, PARTIES["github"].signed(post(body)), NOW)


@pytest.mark.parametrize("body", [b"a=%00", b"%00=a", b"a=%ff", b"a=\xff", b"a&" * 1000, b"payload={"])
def test_a_form_that_nobody_can_store_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^body"):
        receive(PARTIES["github"].scheme, PARTIES["github"].signed(post(body, kind=FORM)), NOW)


def read_or_refused(name: str, request: HookRequest) -> None:
    try:
        result = receive(PARTIES[name].scheme, PARTIES[name].signed(request), NOW)
    except InvalidRequest:
        return
    for delivery in () if isinstance(result, Answer) else result:
        assert delivery.id is None or (delivery.id.isascii() and delivery.id.isprintable() and len(delivery.id) < 600)


def fields(body: bytes) -> list[tuple[str, str]] | None:
    try:
        pairs = sorted(set(parse_qsl(body.decode(), keep_blank_values=True, errors="strict")))
    except ValueError:
        return None
    return None if any("\0" in name + value for name, value in pairs) else pairs
