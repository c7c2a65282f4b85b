from __future__ import annotations

import asyncio
import hashlib

import pytest

from flowyard.errors.requests import PathTaken, UnknownTrigger
from flowyard.storage.database import Database
from flowyard.storage.triggers import StoredTrigger, TriggerRow, Triggers
from flowyard.storage.workflows import Revision, Workflows


def hook(name: str, path: str, *, enabled: bool = True) -> TriggerRow:
    return TriggerRow(name, "webhook", enabled, path=path)


async def apply(database: Database, name: str, *triggers: TriggerRow) -> Revision:
    digest = hashlib.sha256(f"{name} {triggers}".encode()).hexdigest()
    revision, _ = await Workflows(database).apply(
        name, digest=digest, document="flow: {}", concurrency=None, priority=0, triggers=triggers
    )
    return revision


async def paths(database: Database) -> dict[str | None, tuple[str, int]]:
    return {trigger.path: (trigger.name, trigger.revision) for trigger in await Triggers(database).page()}


async def test_triggers_are_those_of_the_current_revision_and_go_with_it(database: Database) -> None:
    await apply(database, "a", hook("one", "p"), hook("two", "q"))
    assert await paths(database) == {"p": ("one", 1), "q": ("two", 1)}
    await apply(database, "a", hook("two", "q"), hook("three", "p"))
    assert await paths(database) == {"p": ("three", 2), "q": ("two", 2)}
    await Workflows(database).roll_back("a", 1, concurrency=None, priority=0, triggers=[hook("one", "p")])
    assert await paths(database) == {"p": ("one", 3)}
    await apply(database, "a")
    assert await paths(database) == {}


async def test_paths_can_be_exchanged_between_triggers(database: Database) -> None:
    await apply(database, "a", hook("one", "p"), hook("two", "q"))
    await apply(database, "a", hook("one", "q"), hook("two", "p"))
    assert await paths(database) == {"q": ("one", 2), "p": ("two", 2)}


async def test_a_deleted_workflow_gives_its_paths_up(database: Database) -> None:
    await apply(database, "a", hook("one", "p"))
    await Workflows(database).delete("a")
    await apply(database, "b", hook("one", "p"))
    found = await Triggers(database).by_path("p")
    assert found is not None
    assert found.workflow == "b"


async def test_a_path_of_another_workflow_is_refused_with_its_name_and_changes_nothing(database: Database) -> None:
    await apply(database, "a", hook("one", "p"))
    await apply(database, "b", hook("one", "q"))
    with pytest.raises(PathTaken, match="/hooks/p belongs to the workflow 'a'") as refused:
        await apply(database, "b", hook("one", "r"), hook("two", "p"))
    assert (refused.value.path, refused.value.workflow) == ("p", "a")
    assert await paths(database) == {"p": ("one", 1), "q": ("one", 1)}
    assert (await Workflows(database).current("b")).number == 1


async def test_of_many_workflows_that_want_a_path_at_once_one_gets_it(database: Database) -> None:
    names = [f"w{i}" for i in range(8)]
    results = await asyncio.gather(*(apply(database, name, hook("t", "p")) for name in names), return_exceptions=True)
    assert sum(isinstance(result, Revision) for result in results) == 1
    assert sum(isinstance(result, PathTaken) for result in results) == 7


async def test_a_paused_trigger_stays_paused_in_the_next_revision(database: Database) -> None:
    triggers = Triggers(database)
    await apply(database, "a", hook("one", "p"), hook("two", "q"))
    paused = await triggers.set_paused("a", "one", paused=True)
    assert await triggers.set_paused("a", "one", paused=True) == paused
    await apply(database, "a", hook("one", "p2"))
    later = await triggers.get("a", "one")
    assert (later.paused_at, later.created_at, later.is_live) == (paused.paused_at, paused.created_at, False)
    assert (await triggers.set_paused("a", "one", paused=False)).is_live


async def test_a_disabled_trigger_keeps_its_path_and_is_not_live(database: Database) -> None:
    await apply(database, "a", hook("one", "p", enabled=False))
    found = await Triggers(database).by_path("p")
    assert found is not None
    assert not found.is_live
    with pytest.raises(PathTaken):
        await apply(database, "b", hook("one", "p"))


async def test_a_page_goes_on_where_the_last_one_ended(database: Database) -> None:
    await apply(database, "a", hook("one", "p"), hook("two", "q"))
    await apply(database, "b", hook("one", "r"))
    triggers = Triggers(database)
    first = await triggers.page(limit=2)
    rest = await triggers.page(after=(first[-1].workflow, first[-1].name))
    assert [(t.workflow, t.name) for t in (*first, *rest)] == [("a", "one"), ("a", "two"), ("b", "one")]
    assert [t.workflow for t in await triggers.page(workflow="b")] == ["b"]


async def test_an_unknown_trigger_is_named_with_a_similar_one(database: Database) -> None:
    await apply(database, "a", hook("opened", "p"))
    for work in (Triggers(database).get("a", "open"), Triggers(database).set_paused("a", "open", paused=True)):
        with pytest.raises(UnknownTrigger, match=r"no trigger 'a/open' \(did you mean 'opened'\?\)"):
            await work


async def test_a_trigger_with_another_subject_begins_anew_and_stays_paused(database: Database) -> None:
    def listening(subject: str) -> TriggerRow:
        return TriggerRow("t", "nats", enabled=True, subject=subject)

    async def stored() -> StoredTrigger:
        return await Triggers(database).get("a", "t")

    await apply(database, "a", listening("x"))
    first = await stored()
    await Triggers(database).set_paused("a", "t", paused=True)
    await apply(database, "a", listening("x"), hook("two", "q"))
    assert (await stored()).created_at == first.created_at
    await apply(database, "a", listening("y"))
    again = await stored()
    assert again.created_at > first.created_at
    assert again.paused_at is not None
