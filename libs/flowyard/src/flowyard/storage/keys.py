"""API keys and sessions of browsers. Only digests are stored: a reader of the tables can't use them to log in."""

# ruff: noqa: S608  # statements are put together from words of this file

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import asyncpg

from flowyard.access import KEY_RANDOM, Actor, Caller, NewKey, Scope, new_key, new_secret, parse_key
from flowyard.errors.requests import ExpiredKey, KeyIsOver, UnknownKey
from flowyard.errors.services import Unavailable
from flowyard.storage.audit import act_columns, act_of
from flowyard.storage.database import Database

_MOST_REMEMBERED: Final = 10_000
_MOST_SCRAPERS: Final = 100
_SCRAPER_PATIENCE_S: Final = 1.0
"""Seconds to wait for Postgres when Prometheus scrapes: its own timeout is four, and it needs metrics of an outage."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key without its secret. `workflows`: the only ones that it is for; None: all. `rate`: requests per minute;
    None: no limit. `last_used_at`: may be a minute old. `old_until`: how long the secret before the last rotation is
    valid.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    workflows: frozenset[str] | None
    rate: int | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    old_until: datetime | None


class Keys:
    """Creates, verifies, rotates and revokes API keys. Revoked keys stay in the table."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing: set[asyncio.Task[None]] = set()

    async def create(
        self,
        name: str,
        scopes: frozenset[Scope],
        *,
        workflows: frozenset[str] | None = None,
        rate: int | None = None,
        expires_at: datetime | None = None,
        by: Actor | None = None,
    ) -> tuple[KeyInfo, str]:
        """Creates a key. Returns it, and its text, which isn't stored: show it now."""
        only = sorted(workflows) if workflows is not None else None
        while True:
            key = new_key(secrets.token_bytes(KEY_RANDOM))
            values = name, key.digest, sorted(scopes), only, rate, expires_at
            row = await self._database.row(_CREATE, key.key_id, *values, *act_columns(by))
            if row is not None:  # else another key has this id
                return _info(row), key.text

    async def keep(self, key: NewKey, name: str, scopes: frozenset[Scope], *, by: Actor | None = None) -> bool:
        """Adds a key that was created elsewhere. False if a key with its id exists, even if revoked."""
        values = name, key.digest, sorted(scopes), None, None, None
        return await self._database.row(_CREATE, key.key_id, *values, *act_columns(by)) is not None

    async def rotate(
        self, key_id: str, *, overlap_s: float, expires_at: datetime | None = None, by: Actor | None = None
    ) -> tuple[KeyInfo, str]:
        """Gives the key another secret. Returns it, and its new text. The old secret is valid for `overlap_s` seconds,
        unless the key expires before; one that an earlier rotation has left ends now. Sessions that were opened with
        the old secret end with it.

        `expires_at`: of the new secret; None: as before. Raises UnknownKey; KeyIsOver for a revoked or expired key.
        """
        key = new_secret(key_id, secrets.token_bytes(KEY_RANDOM))
        row = await self._database.row(_ROTATE, key_id, key.digest, overlap_s, expires_at, *act_columns(by))
        if row is not None:
            return _info(row), key.text
        revoked_at = await self._database.row("SELECT revoked_at FROM api_keys WHERE id = $1", key_id)
        if revoked_at is None:
            raise UnknownKey(key_id)
        raise KeyIsOver(key_id, "has expired" if revoked_at["revoked_at"] is None else "was revoked")

    async def list(self) -> Sequence[KeyInfo]:
        """Newest first."""
        rows = await self._database.rows(f"SELECT {_INFO} FROM api_keys ORDER BY created_at DESC, id")
        return [_info(row) for row in rows]

    async def revoke(self, key_id: str, *, by: Actor | None = None) -> KeyInfo:
        """Ends the key and its sessions. May be repeated. Raises UnknownKey."""
        row = await self._database.row(_REVOKE, key_id, *act_columns(by))
        if row is None:
            raise UnknownKey(key_id)
        return _info(row)

    async def verify(self, text: str) -> Caller | None:
        """The owner of the key; None if it isn't a key, or isn't valid any more. Raises ExpiredKey."""
        if (parsed := parse_key(text)) is None:
            return None
        key_id, digest = parsed
        row = await self._database.row("SELECT * FROM caller_of_key($1, $2)", key_id, digest)
        if row is None:
            return None
        if row["is_expired"]:
            raise ExpiredKey(row["name"], row["until"])
        if row["is_due"]:
            self._write_use(key_id)
        return _caller(row)

    async def any_keys(self) -> bool:
        """Whether any valid key exists."""
        return bool(await self._database.value(f"SELECT EXISTS (SELECT FROM api_keys WHERE {_VALID})"))

    def _write_use(self, key_id: str) -> None:
        """Nobody waits for it."""
        writing = asyncio.create_task(self._written(key_id))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    async def _written(self, key_id: str) -> None:
        # A use that can't be written down, as on a full disk, is written down with a later request.
        with suppress(Unavailable):
            await self._database.execute("SELECT key_used($1)", key_id)


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
        """As `Keys.verify`. Raises ExpiredKey."""
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

    async def is_valid(self, text: str) -> bool:
        """Whether the key is still valid. For what goes on for long, such as a stream."""
        try:
            return await self.verify(text) is not None
        except ExpiredKey:
            return False

    async def verify_scraper(self, text: str) -> Caller | None:
        """As `verify`, for metrics: while Postgres can't be reached, the last result for this key is used.

        So metrics are available during an outage. Never raises Unavailable; None for a key without such a result.
        Raises ExpiredKey.
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

    async def open(self, caller: Caller, ttl_s: float, *, by: Actor | None = None) -> str:
        """The token of a new session of `ttl_s` seconds, which ends with the caller's secret. Also deletes expired
        sessions. Raises UnknownKey.
        """
        token = secrets.token_urlsafe(32)
        opened = await self._database.value(
            _OPEN_SESSION, _digest(token), caller.key_id, ttl_s, caller.until, *act_columns(by)
        )
        if not opened:
            raise UnknownKey(caller.key_id)
        return token

    async def find(self, token: str) -> Caller | None:
        """The owner of the key; None if there is no such session, it has expired, or its key was revoked."""
        row = await self._database.row(_FIND_SESSION, _digest(token))
        return _caller(row) if row is not None else None

    async def close(self, token: str) -> None:
        await self._database.execute("DELETE FROM sessions WHERE hash = $1", _digest(token))


_INFO: Final = (
    "id, name, scopes, workflows, rate, created_at, expires_at, last_used_at, revoked_at,"
    " CASE WHEN old_until > now() THEN old_until END AS old_until"
)
_FACTS: Final = """row_to_json((SELECT facts FROM (
    SELECT name, scopes, workflows, rate,
        to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS expires_at
) facts))"""
"""For the audit log."""
_VALID: Final = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"

_CREATE: Final = f"""
WITH made AS (
    INSERT INTO api_keys (id, name, hash, scopes, workflows, rate, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (id) DO NOTHING RETURNING *
),
act AS ({act_of("key.created", 8, "made", objects="ARRAY[id]", details=_FACTS)})
SELECT {_INFO} FROM made
"""

# A secret that has expired doesn't come to life again.
_ROTATE: Final = f"""
WITH rotated AS (
    UPDATE api_keys SET hash = $2, old_hash = hash, expires_at = coalesce($4::timestamptz, expires_at),
        old_until = least(now() + make_interval(secs => $3), expires_at)
    WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now() OR $4::timestamptz IS NOT NULL)
    RETURNING *
),
shortened AS (
    UPDATE sessions s SET expires_at = least(s.expires_at, r.old_until) FROM rotated r WHERE s.key_id = r.id
),
act AS ({act_of("key.rotated", 5, "rotated", objects="ARRAY[id]", details=_FACTS)})
SELECT {_INFO} FROM rotated
"""

_REVOKE: Final = f"""
WITH ended AS (DELETE FROM sessions WHERE key_id = $1),
known AS (SELECT id, revoked_at AS before FROM api_keys WHERE id = $1 FOR UPDATE),
revoked AS (
    UPDATE api_keys k SET revoked_at = coalesce(k.revoked_at, now()) FROM known WHERE k.id = known.id
    RETURNING k.*, known.before
),
act AS ({act_of("key.revoked", 2, "(SELECT * FROM revoked WHERE before IS NULL) now_revoked", objects="ARRAY[id]")})
SELECT {_INFO} FROM revoked
"""

_OPEN_SESSION: Final = f"""
WITH expired AS (DELETE FROM sessions WHERE expires_at < now()),
opened AS (
    INSERT INTO sessions (hash, key_id, expires_at)
    SELECT $1, id, least(now() + make_interval(secs => $3), $4) FROM api_keys WHERE id = $2 AND revoked_at IS NULL
    RETURNING key_id
),
act AS ({act_of("session.opened", 5, "opened", objects="ARRAY[]::text[]")})
SELECT true FROM opened
"""

_FIND_SESSION: Final = """
SELECT k.id, k.name, k.scopes, k.workflows, k.rate, s.expires_at AS until
FROM sessions s JOIN api_keys k ON k.id = s.key_id
WHERE s.hash = $1 AND s.expires_at > now() AND k.revoked_at IS NULL
"""


def _info(row: asyncpg.Record) -> KeyInfo:
    return KeyInfo(**{**dict(row), "scopes": _scopes(row), "workflows": _workflows(row)})


def _caller(row: asyncpg.Record) -> Caller:
    return Caller(row["id"], row["name"], _scopes(row), _workflows(row), row["rate"], row["until"])


def _scopes(row: asyncpg.Record) -> frozenset[Scope]:
    return cast("frozenset[Scope]", frozenset(row["scopes"]))


def _workflows(row: asyncpg.Record) -> frozenset[str] | None:
    return frozenset(row["workflows"]) if row["workflows"] is not None else None


def _digest(token: str) -> bytes:
    # A token has 256 random bits: no slow hash is needed. `surrogatepass`: a cookie may hold any characters.
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
