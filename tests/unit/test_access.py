from __future__ import annotations

import pytest

from flowyard.access import KEY_RANDOM, Caller, Scope, new_key, parse_key

RANDOM = bytes(range(KEY_RANDOM))


def test_a_new_key_is_found_by_its_id_and_known_by_its_digest() -> None:
    key = new_key(RANDOM)
    assert key.text.startswith(f"fy_{key.key_id}_")
    assert parse_key(key.text) == (key.key_id, key.digest)


def test_a_key_with_another_secret_has_another_digest() -> None:
    key, other = new_key(RANDOM), new_key(RANDOM[:-1] + b"\xff")
    assert key.key_id == other.key_id
    assert key.digest != other.digest


def test_the_digest_doesnt_hold_the_secret() -> None:
    key = new_key(RANDOM)
    assert len(key.digest) == 32
    assert RANDOM[5:] not in key.digest


@pytest.mark.parametrize(
    "text", ["", "fy_", "fy_abc_def", "sk-123", new_key(RANDOM).text + "\n", new_key(RANDOM).text.upper()]
)
def test_what_isnt_a_key_is_no_key(text: str) -> None:
    assert parse_key(text) is None


@pytest.mark.parametrize(
    ("own", "may"),
    [
        ("read", {"read"}),
        ("run", {"run", "read"}),
        ("write", {"write", "read"}),
        ("admin", {"admin", "write", "run", "read"}),
    ],
)
def test_a_scope_includes_the_lesser_ones(own: Scope, may: set[Scope]) -> None:
    scopes: tuple[Scope, ...] = ("read", "run", "write", "admin")
    caller = Caller("id", "ci", frozenset({own}))
    assert {scope for scope in scopes if caller.may(scope)} == may


def test_a_key_without_scopes_may_nothing() -> None:
    assert not Caller("id", "ci", frozenset()).may("read")


def test_too_little_randomness_makes_no_key() -> None:
    with pytest.raises(ValueError, match="30 random bytes"):
        new_key(b"123")
