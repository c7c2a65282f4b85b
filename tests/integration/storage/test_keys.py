from __future__ import annotations

import asyncio

import pytest

from flowyard.access import Caller, new_key
from flowyard.errors.requests import UnknownKey
from flowyard.errors.services import Unavailable
from flowyard.storage.database import Database
from flowyard.storage.keys import CachedKeys, Keys, Sessions
from support.waiting import eventually

STRANGER = new_key(bytes(30)).text


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


class Counting(Keys):
    """The real ones, and how often they were read."""

    looks = 0

    async def verify(self, text: str) -> Caller | None:
        self.looks += 1
        return await super().verify(text)


async def test_a_key_is_verified_by_its_text(keys: Keys) -> None:
    info, text = await keys.create("ci", frozenset({"run", "read"}))
    assert await keys.verify(text) == Caller(info.id, "ci", frozenset({"run", "read"}))
    assert list(await keys.list()) == [info]


@pytest.mark.parametrize(
    "change", [lambda text: text[:-1] + "aa", lambda _: STRANGER, lambda _: "", lambda t: t + "\0"]
)
async def test_any_other_text_is_nobodys(keys: Keys, change: object) -> None:
    _, text = await keys.create("ci", frozenset({"run"}))
    assert callable(change)
    assert await keys.verify(change(text)) is None


async def test_a_key_with_anothers_secret_is_nobodys(keys: Keys) -> None:
    (_, one), (_, other) = [await keys.create(name, frozenset({"run"})) for name in ("one", "other")]
    mixed = "_".join([*one.split("_")[:2], other.split("_")[2]])
    assert await keys.verify(mixed) is None


async def test_the_database_doesnt_hold_the_secret(database: Database, keys: Keys) -> None:
    _, text = await keys.create("ci", frozenset({"run"}))
    secret = text.rpartition("_")[2]
    assert secret not in str(await database.value("SELECT array_agg(api_keys.*)::text FROM api_keys"))


async def test_a_revoked_key_is_nobodys_and_stays_in_the_list(keys: Keys) -> None:
    info, text = await keys.create("ci", frozenset({"run"}))
    revoked = await keys.revoke(info.id)
    assert revoked.revoked_at is not None
    assert await keys.verify(text) is None
    assert list(await keys.list()) == [revoked]
    assert await keys.revoke(info.id) == revoked


async def test_an_unknown_key_cant_be_revoked(keys: Keys) -> None:
    with pytest.raises(UnknownKey):
        await keys.revoke("aaaaaaaa")


async def test_any_keys_counts_those_that_are_valid(keys: Keys) -> None:
    assert not await keys.any_keys()
    info, _ = await keys.create("ci", frozenset({"admin"}))
    assert await keys.any_keys()
    await keys.revoke(info.id)
    assert not await keys.any_keys()


async def test_many_requests_with_one_key_are_one_query(database: Database) -> None:
    keys = Counting(database)
    _, text = await keys.create("ci", frozenset({"run"}))
    cached = CachedKeys(keys)
    callers = await asyncio.gather(*(cached.verify(text) for _ in range(50)))
    assert {caller.name for caller in callers if caller} == {"ci"}
    assert len(callers) == 50
    await cached.verify(text)
    assert keys.looks == 1


async def test_a_revoked_key_is_refused_within_a_second_even_without_a_message(keys: Keys) -> None:
    info, text = await keys.create("ci", frozenset({"run"}))
    cached = CachedKeys(keys)
    assert await cached.verify(text)
    await keys.revoke(info.id)
    await asyncio.sleep(0.6)  # the promise is about time
    assert await cached.verify(text) is None


@pytest.mark.parametrize("by", ["id", "all"])
async def test_a_revoked_key_is_refused_at_once_where_a_message_arrives(keys: Keys, by: str) -> None:
    info, text = await keys.create("ci", frozenset({"run"}))
    cached = CachedKeys(keys, seconds=60)
    assert await cached.verify(text)
    await keys.revoke(info.id)
    cached.forget(info.id) if by == "id" else cached.forget_all()
    assert await cached.verify(text) is None


class Away(Keys):
    """As with a Postgres that is away, in one of two ways."""

    how: str | None = None

    async def verify(self, text: str) -> Caller | None:
        if self.how == "refuses":
            raise Unavailable("Postgres")
        if self.how == "is silent":
            await asyncio.Event().wait()
        return await super().verify(text)


@pytest.mark.parametrize("how", ["refuses", "is silent"])
async def test_a_scraper_is_known_while_postgres_is_away_and_nobody_else_is(database: Database, how: str) -> None:
    keys = Away(database)
    info, text = await keys.create("prometheus", frozenset({"read"}))
    other = (await keys.create("other", frozenset({"read"})))[1]
    revoked = await keys.create("revoked", frozenset({"read"}))
    cached = CachedKeys(keys, seconds=0)
    assert await cached.verify_scraper(text) == Caller(info.id, "prometheus", frozenset({"read"}))
    assert await cached.verify_scraper(revoked[1])
    cached.forget(revoked[0].id)
    keys.how = how
    assert await cached.verify_scraper(text) == Caller(info.id, "prometheus", frozenset({"read"}))
    assert await cached.verify_scraper(f"fy_{info.id}_{'a' * 40}") is None
    assert await cached.verify_scraper(other) is None
    assert await cached.verify_scraper(revoked[1]) is None
    assert await cached.verify_scraper("no key") is None
    keys.how = None
    await keys.revoke(info.id)
    assert await cached.verify_scraper(text) is None
    keys.how = how
    assert await cached.verify_scraper(text) is None


async def test_what_is_cached_of_a_key_doesnt_open_for_another_secret(keys: Keys) -> None:
    info, text = await keys.create("ci", frozenset({"run"}))
    cached = CachedKeys(keys, seconds=60)
    assert await cached.verify(text)
    assert await cached.verify(f"fy_{info.id}_{'a' * 40}") is None


async def test_a_request_that_goes_away_doesnt_take_the_look_up_with_it(keys: Keys) -> None:
    _, text = await keys.create("ci", frozenset({"run"}))
    cached = CachedKeys(keys)
    gone, waiting = asyncio.create_task(cached.verify(text)), asyncio.create_task(cached.verify(text))
    await asyncio.sleep(0)
    gone.cancel()
    assert await waiting


async def test_a_session_is_found_by_its_token_until_it_is_closed(database: Database, keys: Keys) -> None:
    info, _ = await keys.create("ana's browser", frozenset({"admin"}))
    sessions = Sessions(database)
    token = await sessions.open(info.id, 60)
    assert await sessions.find(token) == Caller(info.id, info.name, info.scopes)
    await sessions.close(token)
    assert await sessions.find(token) is None


async def test_a_session_ends_with_its_time_and_with_its_key(database: Database, keys: Keys) -> None:
    info, _ = await keys.create("ci", frozenset({"read"}))
    sessions = Sessions(database)
    short, long = await sessions.open(info.id, 0.01), await sessions.open(info.id, 60)

    async def has_ended() -> bool:
        return await sessions.find(short) is None

    await eventually(has_ended)
    assert await sessions.find(long)
    await keys.revoke(info.id)
    assert await sessions.find(long) is None
    with pytest.raises(UnknownKey):
        await sessions.open(info.id, 60)


async def test_no_cookie_breaks_the_look_up(database: Database) -> None:
    for token in ("", "\0", "\ud800", "x" * 10_000):
        assert await Sessions(database).find(token) is None


async def test_sessions_whose_time_is_over_are_forgotten(database: Database, keys: Keys) -> None:
    info, _ = await keys.create("ci", frozenset({"read"}))
    sessions = Sessions(database)
    await sessions.open(info.id, 0)
    await asyncio.sleep(0.01)  # its time is over
    await sessions.open(info.id, 60)
    assert await database.value("SELECT count(*) FROM sessions") == 1
