"""A new version finds the runs of an older one."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice
from typing import Final
from uuid import UUID

import pytest

from flowyard.runs.entries import ENDINGS
from flowyard.storage.packing import packed
from flowyard.storage.schema import VERSION, Migrated, migrate
from support import release_before
from support.executors import Yard, open_yard
from support.servers import Postgres, create_database, drop_database, execute
from support.shapes import NESTED, STEPS
from support.upgrade import DUMP, EXPECTED_PROMPTS, OUTPUTS, counted_prompts, reply
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Hang, Held, Text
from support.wire.ollama import ollama_server
from support.wire.server import Request
from support.workflows import document

# Processes start, die, and leave leases that have to end.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def old_database_url(postgres: Postgres) -> Iterator[str]:
    name = create_database(postgres)
    yield postgres.url_of(name).get_secret_value()
    drop_database(postgres, name)


async def test_runs_that_waited_when_the_version_changed_are_finished_without_a_repeated_call(
    old_database_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await execute(old_database_url, DUMP.read_text())
    assert await migrate(old_database_url) == Migrated("0001", VERSION)
    async with ollama_server(reply) as model:
        monkeypatch.setenv("OLLAMA_API_BASE", model.url)
        async with open_yard(old_database_url, nats_url) as yard:
            await yard.executor("new")
            runs = {run_id: await yard.ended(UUID(run_id), within_s=30) for run_id in OUTPUTS}
            assert await yard.queue.orphaned() == 0
    assert {run_id: (run.status, run.outputs) for run_id, run in runs.items()} == {
        run_id: ("succeeded", outputs) for run_id, outputs in OUTPUTS.items()
    }
    assert counted_prompts(model) == EXPECTED_PROMPTS


# ---- beside the release before


@pytest.fixture(scope="module")
def installed_before(tmp_path_factory: pytest.TempPathFactory) -> str | None:
    """With which Python imports the release before. Built and compiled once."""
    return release_before.install(tmp_path_factory.mktemp("before")) if release_before.is_known() else None


@pytest.fixture
def python_path(installed_before: str | None, capsys: pytest.CaptureFixture[str]) -> str:
    if installed_before is None:
        reason = (
            f"NOT TESTED: an upgrade from the release before, since this clone has no commit {release_before.COMMIT}"
        )
        with capsys.disabled():
            sys.stderr.write(f"\n{reason}\n")
        pytest.skip(reason)
    return installed_before


_CHAIN: Final = document("a b c d e f")
_BRANCHES: Final = document(
    "a b1 b2 c1 c2 z",
    """
    - {from: START, to: a}
    - {from: a, to: [b1, c1, d]}
    - {from: b1, to: b2}
    - {from: c1, routes: [{if: "c1 == 'c1'", to: c2}, {default: z}]}
    - {from: [b2, c2, d], to: z}
    - {from: z, to: END}
    """,
    fields="notes: {type: 'list[str]', reduce: append, default: []}",
    nodes="- {id: d, prompt: d, outputs: [notes]}",
)
_MAP: Final = document(
    "a z",
    """
    - {from: START, to: a}
    - {from: a, parallel: {items_field: items, target_node: work, collect_field: all}}
    - {from: work, to: z}
    - {from: z, to: END}
    """,
    fields="items: {type: 'list[str]', default: [p, q, r, s]}\neach: str\nall: 'list[str]'",
    nodes="- {id: work, prompt: 'work on {item}', outputs: [each]}",
)
_LOOP: Final = document(
    "a b z",
    """
    - {from: START, routes: [{if: "flag", to: a}, {default: z}]}
    - {from: a, to: b}
    - {from: b, loop: {to: a, until: "iterations('b') >= 3", max_iterations: 5, exit_to: z}}
    - {from: z, to: END}
    """,
    fields="flag: {type: bool, default: true}",
)
_SHAPES: Final = {"chain": _CHAIN, "branches": _BRANCHES, "map": _MAP, "loop": _LOOP, "nested": NESTED}
_STEPS: Final = {"chain": 6, "branches": 7, "map": 6, "loop": 7, "nested": STEPS[NESTED]}
_EXPECTED: Final = {
    "chain": {name: name for name in "abcdef"},
    "branches": {**{name: name for name in ("a", "b1", "b2", "c1", "c2", "z")}, "notes": ["d"]},
    "map": {"a": "a", "all": ["work"] * 4, "z": "z"},
    "loop": {name: name for name in "abz"},
    "nested": {**{name: name for name in "sabcdkjz"}, "all": ["work"] * 3},
}


class HalfwayModel:
    """Answers the first calls of each run, as many as differ from run to run, and the others once `goes_on` is set.

    `keys`: of all calls so far, by run.
    """

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.keys: defaultdict[UUID, list[str]] = defaultdict(list)

    def behave(self, request: Request) -> Behaviour:
        key = request.headers["idempotency-key"]
        run_id, node = key.split(":")[:2]
        keys = self.keys[UUID(run_id)]
        keys.append(key)
        return Text(node) if len(keys) <= 1 + len(self.keys) % 3 else Held(Text(node), self.goes_on)


def _documents(url: str) -> dict[str, str]:
    """Each shape, with and without a budget."""
    llm = f"{{provider: hosted_vllm, model: m, max_tokens: 20, api_base: '{url}'}}"
    texts = {}
    for shape, text in _SHAPES.items():
        named = text.replace("{name: test}", f"{{name: {shape}}}").replace("{provider: scripted}", llm)
        texts[shape] = named
        budget = "\n  budget: {model_calls: 100, tokens: 100000}"
        texts[f"{shape}-budget"] = named.replace(f"{{name: {shape}}}", f"{{name: {shape}-budget}}") + budget
    return texts


async def _ended(yard: Yard) -> dict[UUID, set[tuple[str, int, int]]]:
    """By run, the steps that have ended. In columns that both schemas have."""
    rows = await yard.database.rows("SELECT run_id, node, visit, item FROM steps WHERE status = 'succeeded'")
    ended: defaultdict[UUID, set[tuple[str, int, int]]] = defaultdict(set)
    for row in rows:
        ended[row["run_id"]].add((row["node"], row["visit"], row["item"]))
    return ended


def _step_of(key: str) -> tuple[str, int, int]:
    _, node, visit, *item = key.split(":")
    return node, int(visit), int(item[0]) if item else -1


@pytest.mark.slow
@pytest.mark.parametrize(("count", "killed"), [(60, True), (10, False)], ids=["killed", "alive"])
async def test_runs_that_the_release_before_is_at_work_on_are_finished(
    count: int, *, killed: bool, old_database_url: str, nats_url: str, python_path: str
) -> None:
    """By this one, or, if its executors are still alive, by these. Nothing is lost, nothing is repeated."""
    model = HalfwayModel()
    async with open_yard(old_database_url, nats_url, model.behave) as yard:
        documents = _documents(yard.model.url)
        names = list(islice(cycle(documents), count))
        orders = [{"document": documents[name], "workflow": name, "inputs": {}} for name in names]
        runs = dict(zip(await release_before.submit(old_database_url, orders, python_path), names, strict=True))
        # On a slow machine, no run may lose its lease.
        begin = partial(yard.executor, python_path=python_path, slots="32", lease_s="60")
        old = await asyncio.gather(begin("old-1"), begin("old-2"))

        async def are_halfway() -> bool:
            """Each run waits in calls that are on disk, behind steps that have ended."""
            ended = await _ended(yard)
            for run_id in runs:
                begun = sum(entry.type == "step.started" for entry in await yard.entries(run_id))
                open_calls = len(model.keys[run_id]) - len(ended[run_id])
                if not (begun == len(model.keys[run_id]) > 1 and ended[run_id] and open_calls > 0):
                    return False
            return True

        await eventually(are_halfway, 40)
        if killed:
            await asyncio.gather(*(executor.kill() for executor in old))
            await yard.database.execute("UPDATE claims SET lease_until = now() - interval '1 s'")
        ended = await _ended(yard)
        open_calls = {id_: {key for key in model.keys[id_] if _step_of(key) not in ended[id_]} for id_ in runs}
        assert await migrate(old_database_url) == Migrated(release_before.SCHEMA, VERSION)
        model.goes_on.set()
        await yard.executor("new", slots="64", lease_s="60")
        for run_id, name in runs.items():
            shape = name.removesuffix("-budget")
            run = await yard.ended(run_id, within_s=60)
            assert (run.status, run.outputs) == ("succeeded", _EXPECTED[shape]), (name, run.error)
            keys = Counter(model.keys[run_id])
            assert len(keys) == _STEPS[shape], name
            repeated = open_calls[run_id] if killed else set()
            assert keys == Counter([*keys, *repeated]), name
            assert run.spending.calls == len(await yard.history.calls(run_id)) == keys.total(), name
            entries = await yard.entries(run_id)
            assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1)), name
            assert [entry.type for entry in entries if entry.type in ENDINGS] == ["run.succeeded"], name
        assert await yard.queue.orphaned() == 0


_EVENTS: Final = "INSERT INTO events VALUES ($1, $2, $3::text::json)"


@pytest.mark.slow
@pytest.mark.parametrize("finished_by", ["this", pytest.param("the one before", marks=pytest.mark.long)])
async def test_a_call_of_a_lost_executor_counts_once_if_the_release_before_takes_its_run(
    finished_by: str, old_database_url: str, nats_url: str, python_path: str
) -> None:
    """It sweeps the run, but knows no rows of open calls, and no sums of what is spent."""
    keys: list[str] = []

    def behave(request: Request) -> Behaviour:
        keys.append(request.headers["idempotency-key"].split(":")[1])
        return Hang() if keys == ["a", "b"] else Text(keys[-1])

    async with open_yard(old_database_url, nats_url, behave) as yard:
        await release_before.submit(old_database_url, [], python_path)
        if finished_by == "the one before":
            # It doesn't start with a newer schema.
            await yard.executor("before", python_path=python_path, sweep_s="60", lease_s="60")
        await migrate(old_database_url)
        text = document("a b c", config="budget: {model_calls: 3}")
        run_id = await yard.submit(await yard.apply(text.replace("{provider: scripted}", "MODEL")))
        lost = await yard.executor("lost", sweep_s="60", lease_s="60")
        await yard.recorded(run_id, "model.reserved", "b")
        # Its call has reached the model, which answers the next one.
        await eventually(lambda: keys == ["a", "b"])
        await lost.kill()
        await yard.expire(run_id)
        assert await release_before.sweep(old_database_url, python_path) == [run_id]
        if finished_by == "this":
            await yard.executor("next", lease_s="60")
        else:
            # It claims only runs by the older rules, whose events are stored with all their data.
            entries = await yard.entries(run_id)
            await yard.database.execute("DELETE FROM events")
            await yard.database.execute(_EVENTS, run_id, entries[-1].seq, packed(entries))
            await yard.database.execute("UPDATE runs SET engine = 0")
        run = await yard.ended(run_id, within_s=60)
        assert (run.status, run.error and run.error.code) == ("failed", "budget_exceeded")
        assert keys == ["a", "b", "b"]
        assert [call.error for call in await yard.history.calls(run_id)] == [None, "executor_lost", None]
        assert await yard.database.value("SELECT count(*) FROM step_parts") == 3
        assert sum(entry.type == "model.called" for entry in await yard.entries(run_id)) == 3
