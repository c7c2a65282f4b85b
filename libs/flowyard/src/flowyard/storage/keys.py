"""API keys and sessions of browsers. Only digests are stored: a reader of the tables can't use them to log in."""

# ruff: noqa: S608  # statements are put together from words of this file

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import asyncpg

from flowyard.access import KEY_RANDOM, Caller, NewKey, Scope, new_key, parse_key
from flowyard.errors.requests import UnknownKey
from flowyard.errors.services import Unavailable
from flowyard.storage.database import Database

_MOST_REMEMBERED: Final = 10_000
_MOST_SCRAPERS: Final = 100
_SCRAPER_PATIENCE_S: Final = 1.0
"""Seconds to wait for Postgres when Prometheus scrapes: its own timeout is four, and it needs metrics of an outage."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key without its secret. `revoked_at`: None while it is valid."""

    id: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    revoked_at: datetime | None


class Keys:
    """Creates, verifies and revokes API keys. Revoked keys stay in the table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, scopes: frozenset[Scope]) -> tuple[KeyInfo, str]:
        """Creates a key. Returns it, and its text, which isn't stored: show it now."""
        while True:
            key = new_key(secrets.token_bytes(KEY_RANDOM))
            row = await self._database.row(_CREATE, key.key_id, name, key.digest, sorted(scopes))
            if row is not None:  # else another key has this id
                return _info(row), key.text

    async def keep(self, key: NewKey, name: str, scopes: frozenset[Scope]) -> bool:
        """Adds a key that was created elsewhere. False if a key with its id exists, even if revoked."""
        return await self._database.row(_CREATE, key.key_id, name, key.digest, sorted(scopes)) is not None

    async def list(self) -> Sequence[KeyInfo]:
        """Newest first."""
        rows = await self._database.rows(f"SELECT {_INFO} FROM api_keys ORDER BY created_at DESC, id")
        return [_info(row) for row in rows]

    async def revoke(self, key_id: str) -> KeyInfo:
        """Ends the key and its sessions. May be repeated. Raises UnknownKey."""
        row = await self._database.row(_REVOKE, key_id)
        if row is None:
            raise UnknownKey(key_id)
        return _info(row)

    async def verify(self, text: str) -> Caller | None:
        """The owner of the key; None if it isn't a key, or isn't valid any more."""
        if (parsed := parse_key(text)) is None:
            return None
        key_id, digest = parsed
        row = await self._database.row("SELECT * FROM caller_of_key($1, $2)", key_id, digest)
        return _caller(row) if row is not None else None

    async def any_keys(self) -> bool:
        """Whether any valid key exists."""
        return bool(await self._database.value("SELECT EXISTS (SELECT FROM api_keys WHERE revoked_at IS NULL)"))


class CachedKeys:
    """Looks up each key at most once in `seconds`, however many requests come with it.

    A revoked key is accepted for `seconds` at most, and not at all once `forget` was called.
    """

    def __init__(self, keys: Keys, *, seconds: float = 0.5) -> None:
        self._keys = keys
        self._seconds = seconds
        self._looked_up: OrderedDict[tuple[str, bytes], tuple[float, asyncio.Task[Caller | None]]] = OrderedDict()
        self._scrapers: OrderedDict[tuple[str, bytes], Caller] = OrderedDict()

    async def verify(self, text: str) -> Caller | None:
        """As `Keys.verify`."""
        if (place := parse_key(text)) is None:
            return None
        now = asyncio.get_running_loop().time()
        until, look_up = self._looked_up.get(place, (0.0, None))
        if look_up is None or now >= until:
            # Many requests wait for one query. It goes on when one of them is cancelled.
            look_up = asyncio.create_task(self._look_up(text, place))
            look_up.add_done_callback(_retrieve)
            self._looked_up[place] = now + self._seconds, look_up
            self._looked_up.move_to_end(place)
            while len(self._looked_up) > _MOST_REMEMBERED:
                self._looked_up.popitem(last=False)
        return look_up.result() if look_up.done() else await asyncio.shield(look_up)

    async def verify_scraper(self, text: str) -> Caller | None:
        """As `verify`, for metrics: while Postgres can't be reached, the last result for this key is used.

        So metrics are available during an outage. Never raises Unavailable; None for a key without such a result.
        """
        if (place := parse_key(text)) is None:
            return None
        try:
            async with asyncio.timeout(_SCRAPER_PATIENCE_S):
                caller = await self.verify(text)
        except (Unavailable, TimeoutError):
            return self._scrapers.get(place)
        self._scrapers.pop(place, None)
        if caller is not None:
            self._scrapers[place] = caller
            if len(self._scrapers) > _MOST_SCRAPERS:
                self._scrapers.popitem(last=False)
        return caller

    def forget(self, key_id: str) -> None:
        """Call it when this key has changed."""
        for scraper in [place for place in self._scrapers if place[0] == key_id]:
            del self._scrapers[scraper]
        for place in [place for place in self._looked_up if place[0] == key_id]:
            del self._looked_up[place]

    def forget_all(self) -> None:
        """Call it when any key may have changed."""
        self._looked_up.clear()

    async def _look_up(self, text: str, place: tuple[str, bytes]) -> Caller | None:
        caller = None
        try:
            caller = await self._keys.verify(text)
            return caller
        finally:
            # Only valid keys are remembered.
            if caller is None:
                self._looked_up.pop(place, None)


def _retrieve(look_up: asyncio.Task[Caller | None]) -> None:
    """Nobody may wait for it any more: then its error is no bug."""
    if not look_up.cancelled():
        look_up.exception()


class Sessions:
    """Sessions of browsers: the key with which each has logged in, by the token in its cookie."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, key_id: str, ttl_s: float) -> str:
        """The token of a new session of `ttl_s` seconds. Also deletes expired sessions. Raises UnknownKey."""
        token = secrets.token_urlsafe(32)
        opened = await self._database.value(_OPEN_SESSION, _digest(token), key_id, ttl_s)
        if not opened:
            raise UnknownKey(key_id)
        return token

    async def find(self, token: str) -> Caller | None:
        """The owner of the key; None if there is no such session, it has expired, or its key was revoked."""
        row = await self._database.row(_FIND_SESSION, _digest(token))
        return _caller(row) if row is not None else None

    async def close(self, token: str) -> None:
        await self._database.execute("DELETE FROM sessions WHERE hash = $1", _digest(token))


_INFO: Final = "id, name, scopes, created_at, revoked_at"

_CREATE: Final = f"""
INSERT INTO api_keys (id, name, hash, scopes) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING RETURNING {_INFO}
"""

_REVOKE: Final = f"""
WITH ended AS (DELETE FROM sessions WHERE key_id = $1)
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING {_INFO}
"""

_OPEN_SESSION: Final = """
WITH expired AS (DELETE FROM sessions WHERE expires_at < now())
INSERT INTO sessions (hash, key_id, expires_at)
SELECT $1, id, now() + make_interval(secs => $3) FROM api_keys WHERE id = $2 AND revoked_at IS NULL
RETURNING true
"""

_FIND_SESSION: Final = """
SELECT k.id, k.name, k.scopes FROM sessions s JOIN api_keys k ON k.id = s.key_id
WHERE s.hash = $1 AND s.expires_at > now() AND k.revoked_at IS NULL
"""


def _info(row: asyncpg.Record) -> KeyInfo:
    return KeyInfo(row["id"], row["name"], _scopes(row), row["created_at"], row["revoked_at"])


def _caller(row: asyncpg.Record) -> Caller:
    return Caller(row["id"], row["name"], _scopes(row))


def _scopes(row: asyncpg.Record) -> frozenset[Scope]:
    return cast("frozenset[Scope]", frozenset(row["scopes"]))


def _digest(token: str) -> bytes:
    # A token has 256 random bits: no slow hash is needed. `surrogatepass`: a cookie may hold any characters.
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
