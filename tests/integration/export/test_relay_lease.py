"""One process publishes events at a time."""

from __future__ import annotations

from flowyard.storage.database import Database
from flowyard.storage.public_events import PublicEvents


async def test_while_one_process_holds_the_lease_no_other_publishes(database: Database) -> None:
    one, two = (PublicEvents(database, name, lease_s=60) for name in ("one", "two"))
    assert await one.hold() is not None
    assert await two.hold() is None
    assert await one.hold() is not None
    await database.execute("UPDATE event_relays SET lease_until = now() - interval '1 s'")
    assert await two.hold() is not None
    assert (await one.hold(), await one.advance(1)) == (None, False)
