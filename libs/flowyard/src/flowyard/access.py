"""Who may do what: API keys `fy_<id>_<secret>` and their scopes. Pure: storage keeps the keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

Scope: TypeAlias = Literal["read", "run", "admin"]

INCLUDES: Final[Mapping[Scope, frozenset[Scope]]] = {
    "read": frozenset({"read"}),
    "run": frozenset({"run", "read"}),
    "admin": frozenset({"admin", "run", "read"}),
}
KEY: Final = re.compile(r"fy_([a-z2-7]{8})_[a-z2-7]{40}")
KEY_RANDOM: Final = 30
"""Random bytes in a key: 5 make its id, 25 its secret."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: the key that it came with. `scopes` are those written into the key."""

    key_id: str
    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        return any(scope in INCLUDES[own] for own in self.scopes)


class NewKey(NamedTuple):
    """`text` is shown once to whom it is for; only `key_id` and `digest` are kept."""

    key_id: str
    text: str
    digest: bytes


def new_key(random: bytes) -> NewKey:
    """`random`: KEY_RANDOM bytes from a cryptographic source."""
    if len(random) != KEY_RANDOM:
        raise ValueError(f"a key is made of {KEY_RANDOM} random bytes, not {len(random)}")
    key_id, secret = (base64.b32encode(part).decode().lower() for part in (random[:5], random[5:]))
    text = f"fy_{key_id}_{secret}"
    return NewKey(key_id, text, _digest(text))


def parse_key(text: str) -> tuple[str, bytes] | None:
    """The id by which a key is found, and the SHA-256 digest that the one found must have. None: this is no key."""
    match = KEY.fullmatch(text)
    return (match[1], _digest(text)) if match else None


def same_digest(kept: bytes, given: bytes) -> bool:
    """In a time that doesn't depend on where they differ."""
    return hmac.compare_digest(kept, given)


def _digest(text: str) -> bytes:
    # A key has 200 random bits: nobody guesses it, so a slow hash would only cost.
    return hashlib.sha256(text.encode()).digest()
