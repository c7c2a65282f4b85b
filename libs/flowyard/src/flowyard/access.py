"""API keys `fy_<id>_<secret>`, and what their scopes allow. Pure: the keys are stored by `storage`."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias

Scope: TypeAlias = Literal["read", "run", "write", "admin"]

INCLUDES: Final[Mapping[Scope, frozenset[Scope]]] = {
    "read": frozenset({"read"}),
    "run": frozenset({"run", "read"}),
    "write": frozenset({"write", "read"}),
    "admin": frozenset({"admin", "write", "run", "read"}),
}
KEY: Final = re.compile(r"fy_([a-z2-7]{8})_[a-z2-7]{40}")
_KEY_BEGINNING: Final = re.compile(r"fy_([a-z2-7]{8})_")
KEY_RANDOM: Final = 30
"""Random bytes in a key: 5 make its id, 25 its secret."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The API key of a request. `scopes`: those that the key was given; each may include others.

    `workflows`: the only ones that the key is for; None: all. `rate`: requests per minute; None: no limit. `until`:
    when the secret of this request ends to be valid; None: never.
    """

    key_id: str
    name: str
    scopes: frozenset[Scope]
    workflows: frozenset[str] | None = None
    rate: int | None = None
    until: datetime | None = field(default=None, compare=False)

    def may(self, scope: Scope) -> bool:
        return any(scope in INCLUDES[given] for given in self.scopes)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, for the audit log. `key_id`: None without a key; `who`: the name of the key, or what does it
    without one. `address`: where the request came from; None: from the machine of the stack.
    """

    key_id: str | None
    who: str
    address: str | None


class NewKey(NamedTuple):
    """`text` is shown once, to its owner; only `key_id` and `digest` are stored."""

    key_id: str
    text: str
    digest: bytes


def new_key(random: bytes) -> NewKey:
    """`random`: KEY_RANDOM bytes from a cryptographic source."""
    if len(random) != KEY_RANDOM:
        raise ValueError(f"a key is made of {KEY_RANDOM} random bytes, not {len(random)}")
    return new_secret(_base32(random[:5]), random)


def new_secret(key_id: str, random: bytes) -> NewKey:
    """Another secret for the key with this id. `random`: as for `new_key`, of which only the secret's part is used."""
    text = f"fy_{key_id}_{_base32(random[5:])}"
    return NewKey(key_id, text, _digest(text))


def parse_key(text: str) -> tuple[str, bytes] | None:
    """The id and the SHA-256 digest of a key; None if the text isn't a key."""
    match = KEY.fullmatch(text)
    return (match[1], _digest(text)) if match else None


def key_id_of(text: str) -> str | None:
    """The id that the text has as a key, also as a misspelled one; None if it doesn't begin as a key does."""
    match = _KEY_BEGINNING.match(text)
    return match[1] if match else None


def _base32(random: bytes) -> str:
    return base64.b32encode(random).decode().lower()


def _digest(text: str) -> bytes:
    # A key has 200 random bits and can't be guessed, so a slow hash isn't needed.
    return hashlib.sha256(text.encode()).digest()
