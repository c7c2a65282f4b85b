from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from flowyard.access import Caller, new_key
from flowyard.errors.requests import ExpiredKey, KeyIsOver, TooManyRequests, UnknownKey
from flowyard.errors.services import Unavailable
from flowyard.storage.database import Database
from flowyard.storage.key_pace import KeyPace
from flowyard.storage.keys import CachedKeys, KeyInfo, Keys, Sessions
from support.statements import Watched
from support.waiting import eventually

STRANGER = new_key(bytes(30)).text


def caller_of(info: KeyInfo) -> Caller:
    return Caller(info.id, info.name, info.scopes)


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
    token = await sessions.open(caller_of(info), 60)
    assert await sessions.find(token) == Caller(info.id, info.name, info.scopes)
    await sessions.close(token)
    assert await sessions.find(token) is None


async def test_a_session_ends_with_its_time_and_with_its_key(database: Database, keys: Keys) -> None:
    info, _ = await keys.create("ci", frozenset({"read"}))
    sessions = Sessions(database)
    short, long = await sessions.open(caller_of(info), 0.01), await sessions.open(caller_of(info), 60)

    async def has_ended() -> bool:
        return await sessions.find(short) is None

    await eventually(has_ended)
    assert await sessions.find(long)
    await keys.revoke(info.id)
    assert await sessions.find(long) is None
    with pytest.raises(UnknownKey):
        await sessions.open(caller_of(info), 60)


async def test_no_cookie_breaks_the_look_up(database: Database) -> None:
    for token in ("", "\0", "\ud800", "x" * 10_000):
        assert await Sessions(database).find(token) is None


async def test_sessions_whose_time_is_over_are_forgotten(database: Database, keys: Keys) -> None:
    info, _ = await keys.create("ci", frozenset({"read"}))
    sessions = Sessions(database)
    await sessions.open(caller_of(info), 0)
    await asyncio.sleep(0.01)  # its time is over
    await sessions.open(caller_of(info), 60)
    assert await database.value("SELECT count(*) FROM sessions") == 1


async def test_a_key_is_valid_until_it_expires_and_only_who_has_its_secret_learns_that(keys: Keys) -> None:
    info, text = await keys.create("ci", frozenset({"run"}), expires_at=in_seconds(0.3))
    assert await keys.verify(text)

    async def has_expired() -> bool:
        try:
            return await keys.verify(text) is None
        except ExpiredKey as error:
            return error.expired_at == info.expires_at

    await eventually(has_expired)
    assert await keys.verify(f"fy_{info.id}_{'a' * 40}") is None
    assert not await keys.any_keys()
    cached = CachedKeys(keys)
    with pytest.raises(ExpiredKey, match="'ci' expired on"):
        await cached.verify(text)
    assert not await cached.is_valid(text)
    with pytest.raises(KeyIsOver):
        await keys.rotate(info.id, overlap_s=60)


async def test_a_key_knows_its_workflows_and_its_rate(keys: Keys) -> None:
    info, text = await keys.create("ci", frozenset({"run"}), workflows=frozenset({"b", "a"}), rate=7)
    caller = await keys.verify(text)
    assert caller is not None
    assert (caller.workflows, caller.rate) == (frozenset({"a", "b"}), 7)
    assert list(await keys.list()) == [replace(info, last_used_at=(await keys.list())[0].last_used_at)]


async def test_no_key_creates_keys_for_other_workflows(database: Database, keys: Keys) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await keys.create("ci", frozenset({"admin"}), workflows=frozenset({"a"}))
    assert await database.value("SELECT count(*) FROM api_keys") == 0


async def test_a_rotated_key_has_two_secrets_until_the_overlap_is_over(keys: Keys) -> None:
    info, old = await keys.create("ci", frozenset({"run"}))
    rotated, new = await keys.rotate(info.id, overlap_s=0.4)
    assert rotated.id == info.id
    assert rotated.old_until is not None
    callers = [await keys.verify(text) for text in (old, new)]
    assert [caller.key_id for caller in callers if caller] == [info.id, info.id]

    async def old_is_over() -> bool:
        return await keys.verify(old) is None

    await eventually(old_is_over)
    assert await keys.verify(new)
    assert (await keys.list())[0].old_until is None


async def test_a_second_rotation_ends_the_first_secret_and_one_without_overlap_the_second(keys: Keys) -> None:
    info, first = await keys.create("ci", frozenset({"run"}))
    _, second = await keys.rotate(info.id, overlap_s=60)
    _, third = await keys.rotate(info.id, overlap_s=60)
    assert [bool(await keys.verify(text)) for text in (first, second, third)] == [False, True, True]
    _, fourth = await keys.rotate(info.id, overlap_s=0)
    assert [bool(await keys.verify(text)) for text in (second, third, fourth)] == [False, False, True]


async def test_a_rotation_can_renew_an_expired_key_and_doesnt_revive_its_old_secret(keys: Keys) -> None:
    info, old = await keys.create("ci", frozenset({"run"}), expires_at=in_seconds(-1))
    _, new = await keys.rotate(info.id, overlap_s=60, expires_at=in_seconds(60))
    assert await keys.verify(new)
    assert await keys.verify(old) is None


async def test_a_revoked_key_and_one_that_isnt_there_cant_be_rotated(keys: Keys) -> None:
    info, _ = await keys.create("ci", frozenset({"run"}))
    await keys.revoke(info.id)
    with pytest.raises(KeyIsOver, match="was revoked"):
        await keys.rotate(info.id, overlap_s=60)
    with pytest.raises(UnknownKey):
        await keys.rotate("aaaaaaaa", overlap_s=60)


async def test_a_session_ends_with_the_secret_that_opened_it(database: Database, keys: Keys) -> None:
    info, old = await keys.create("ci", frozenset({"read"}))
    sessions = Sessions(database)
    before = await sessions.open(await known(keys, old), 60)
    _, new = await keys.rotate(info.id, overlap_s=0.4)
    with_old, with_new = [await sessions.open(await known(keys, text), 60) for text in (old, new)]
    assert all([await sessions.find(token) for token in (before, with_old, with_new)])

    async def have_ended() -> bool:
        return await sessions.find(before) is None and await sessions.find(with_old) is None

    await eventually(have_ended)
    assert await sessions.find(with_new)


async def test_the_last_use_of_a_key_is_written_down_once_a_minute(database: Database, keys: Keys) -> None:
    info, text = await keys.create("ci", frozenset({"run"}))
    assert info.last_used_at is None

    async def last_use() -> datetime | None:
        return (await keys.list())[0].last_used_at

    await keys.verify(text)
    await eventually(last_use)
    first = await last_use()
    await keys.verify(text)
    await database.execute("SELECT key_used($1)", info.id)
    assert await last_use() == first
    await database.execute("UPDATE api_keys SET last_used_at = last_used_at - interval '61 s'")
    await keys.verify(text)

    async def is_written_again() -> bool:
        used = await last_use()
        return first is not None and used is not None and used >= first

    await eventually(is_written_again)


async def test_a_rate_holds_for_all_gateways_together(database: Database) -> None:
    caller, other = (Caller(name, name, frozenset({"run"}), rate=5) for name in ("ci", "other"))
    gateways = [KeyPace(database), KeyPace(database)]
    results = await asyncio.gather(*(gateways[n % 2].take(caller) for n in range(12)), return_exceptions=True)
    refused = [result for result in results if result is not None]
    assert len(refused) == 7
    for error in refused:
        assert isinstance(error, TooManyRequests)
        assert 0 < (error.retry_after or 0) <= 12
    await gateways[0].take(other)
    # A fifth of a minute later, one more request is paid off.
    await database.execute("UPDATE key_pace SET paid_at = paid_at - interval '12 s' WHERE key_id = 'ci'")
    late = KeyPace(database)
    await late.take(caller)
    with pytest.raises(TooManyRequests):
        await late.take(caller)


async def test_a_key_without_a_rate_costs_no_statement_and_a_refused_one_neither(database: Database) -> None:
    watched = Watched(database)
    pace = KeyPace(watched)
    await pace.take(Caller("ci", "ci", frozenset({"run"})))
    assert not watched.statements
    slow = Caller("slow", "slow", frozenset({"run"}), rate=1)
    await pace.take(slow)
    for _ in range(5):
        with pytest.raises(TooManyRequests):
            await pace.take(slow)
    assert len(watched.statements) == 2


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def known(keys: Keys, text: str) -> Caller:
    caller = await keys.verify(text)
    assert caller is not None
    return caller
