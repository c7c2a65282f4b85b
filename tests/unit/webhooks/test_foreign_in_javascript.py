"""Libraries of the senders in JavaScript sign, and we verify; we sign, and they verify. `make setup` fetches them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from support.hooks import ASYMMETRIC_PUBLIC, PARTIES, PUBLIC_KEY, post
from support.node_signing import signed_in_javascript

KEYS: Final = {"discord": PUBLIC_KEY, "standard-v1a": ASYMMETRIC_PUBLIC}
"""With which those verify that don't know the secret."""
BODIES: Final = ["{}", "0", '{"text": "ä\\u00e4 😀\u2028"}', '{\n  "a": 1\n}\n', "[" + "1," * 50_000 + "1]"]
CASES: Final = [
    (name, body) for name in ("generic", "github", "discord", "standard", "standard-v1a") for body in BODIES
]


def case(name: str, body: str, now: datetime) -> dict[str, Any]:
    return {
        "sender": name,
        "secret": PARTIES[name].secret,
        "key": KEYS.get(name),
        "seconds": str(int(now.timestamp())),
        "body": body,
        "headers": dict(PARTIES[name].signed(post(body.encode()), now).headers),
    }


@pytest.fixture(scope="module")
def results() -> list[dict[str, Any]]:
    """When the tests begin, and not when they are collected: some of the libraries look at the clock."""
    now = datetime.now(UTC)
    return [{**result, "now": now} for result in signed_in_javascript([case(*each, now) for each in CASES])]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{name}-{len(body)}" for name, body in CASES])
def test_they_verify_what_we_sign_and_we_verify_what_they_sign(number: int, results: list[dict[str, Any]]) -> None:
    name, body = CASES[number]
    PARTIES[name].scheme.verify(post(body.encode(), *results[number]["headers"].items()), results[number]["now"])
    assert results[number]["accepts"]
    assert not results[number]["acceptsChanged"]
