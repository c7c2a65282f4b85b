"""The life of runs on a real database, against a model of it: whatever happens, in whatever order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from flowyard.errors.requests import IllegalMove
from flowyard.errors.runs import ClaimLost
from flowyard.runs.claim import Claim
from flowyard.runs.entries import ENDINGS
from flowyard.runs.run import MOVES
from support.stored import Stored, commit_of, ending, open_stored

PICK: Final = st.integers(0, 11)
"""Which one of those there are, counted round."""
SETTINGS: Final = {
    "priority": st.integers(0, 1),
    "max_attempts": st.integers(1, 3),
    "timeout_s": st.sampled_from([None, 1000.0]),
}
EXECUTORS: Final = st.sampled_from(["one", "two", "three"])
OPEN: Final = ("queued", "running", "waiting")
_ROWS: Final = """
SELECT r.id, r.status, r.epoch, r.attempt, r.cancel_requested_at IS NOT NULL AS cancelled, c.executor,
    coalesce(c.last_seq, r.last_seq) AS last_seq, c.epoch AS held, c.run_id IS NOT NULL AS claimed
FROM runs r LEFT JOIN claims c ON c.run_id = r.id
"""
LEGAL: Final = {(state, to) for moves in MOVES.values() for state, to in moves.items()}
T = TypeVar("T")


@dataclass
class Model:
    """A run as it should be. `events`: the types of its events; `over`: its lease; `late`: its whole time."""

    priority: int
    max_attempts: int
    timed: bool
    order: int
    status: str = "queued"
    attempt: int = 0
    epoch: int = 0
    owner: str | None = None
    over: bool = False
    late: bool = False
    awake: bool = False
    cancelled: bool = False
    events: list[str] = field(default_factory=lambda: ["run.queued"])

    def move(self, status: str, *, retry: bool = False) -> None:
        """By anybody but its executor, or by its executor to give it back."""
        self.status, self.epoch = status, self.epoch + 1
        self.owner, self.over, self.awake = None, False, False
        self.events.append(f"run.{status}")
        if retry:
            self.attempt, self.late, self.cancelled = 0, False, False

    def due(self) -> str | None:
        lost = self.status == "running" and self.over
        if self.cancelled and (lost or self.status in ("queued", "waiting")):
            return "cancelled"
        if self.late and self.status in OPEN:
            return "failed"
        if lost:
            return "failed" if self.attempt >= self.max_attempts else "queued"
        return "queued" if self.status == "waiting" and self.awake else None


class Life(RuleBasedStateMachine):
    runner: asyncio.Runner
    stored: Stored

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[UUID, Model] = {}
        self.claims: list[Claim] = []
        self.epochs: dict[UUID, int] = {}
        self.statuses: dict[UUID, str] = {}
        self.clock = 0
        self.wait(self.stored.database.execute("DELETE FROM runs"))
        self.wait(self.stored.database.execute("DELETE FROM claims"))
        self.wait(self.stored.database.execute("DELETE FROM events"))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def sql(self, statement: str, run_id: UUID) -> None:
        self.wait(self.stored.database.execute(statement, run_id))

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def holds(self, claim: Claim) -> bool:
        run = self.runs[claim.run_id]
        return run.status == "running" and run.epoch == claim.epoch

    def a_run(self, pick: int) -> UUID:
        return list(self.runs)[pick % len(self.runs)]

    def a_claim(self, pick: int, *, stale: bool) -> Claim | None:
        claims = [claim for claim in self.claims if self.holds(claim) != stale]
        return claims[pick % len(claims)] if claims else None

    def changes_nothing(self, work: Coroutine[Any, Any, T]) -> T | BaseException:
        before = self.wait(self.stored.everything())
        try:
            return self.wait(work)
        except (ClaimLost, IllegalMove) as error:
            return error
        finally:
            assert self.wait(self.stored.everything()) == before

    # ---- what clients do

    @initialize(many=st.lists(st.fixed_dictionaries(SETTINGS), min_size=1, max_size=3))
    def begin(self, many: list[dict[str, Any]]) -> None:
        for about in many:
            self.add(**about)

    @precondition(lambda self: len(self.runs) < 6)
    @rule(about=st.fixed_dictionaries(SETTINGS))
    def submit(self, about: dict[str, Any]) -> None:
        self.add(**about)

    def add(self, priority: int, max_attempts: int, timeout_s: float | None) -> None:
        run_id = self.wait(self.stored.run(priority=priority, max_attempts=max_attempts, timeout_s=timeout_s))
        self.runs[run_id] = Model(priority, max_attempts, timeout_s is not None, self.tick())

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        run_id = self.a_run(pick)
        run = self.runs[run_id]
        if run.status not in OPEN:
            assert isinstance(self.changes_nothing(self.stored.moves.cancel(run_id)), IllegalMove)
            return
        moved = self.wait(self.stored.moves.cancel(run_id))
        run.cancelled = True
        due = run.due()
        if due is not None:
            run.move(due)
        assert (moved.status, moved.entry is None) == (run.status, due is None)

    @rule(pick=PICK)
    def retry(self, pick: int) -> None:
        run_id = self.a_run(pick)
        run = self.runs[run_id]
        if run.status != "failed":
            assert isinstance(self.changes_nothing(self.stored.moves.retry(run_id)), IllegalMove)
            return
        self.wait(self.stored.moves.retry(run_id))
        run.move("queued", retry=True)
        run.order = self.tick()

    # ---- what executors do

    @rule(executor=EXECUTORS, most=st.integers(1, 3))
    def claim(self, executor: str, most: int) -> None:
        claims = self.wait(self.stored.claims.take(executor, most))
        queued = {run_id: run for run_id, run in self.runs.items() if run.status == "queued"}
        # What was at work when two executors were lost comes first, and alone.
        alone = sorted((i for i in queued if queued[i].attempt >= 2), key=lambda run_id: queued[run_id].order)[:1]
        first = alone or sorted(queued, key=lambda run_id: (-queued[run_id].priority, queued[run_id].order))[:most]
        assert [claim.run_id for claim in claims] == first
        for claim in claims:
            run = self.runs[claim.run_id]
            run.status, run.owner = "running", executor
            run.attempt, run.epoch = run.attempt + 1, run.epoch + 1
            assert (claim.epoch, claim.attempt, claim.last_seq) == (run.epoch, run.attempt, len(run.events))
            assert claim.cancel_requested == run.cancelled
            assert (claim.left_s is not None) == run.timed
        self.claims += claims

    @rule(pick=PICK, status=st.sampled_from([None, "succeeded", "failed", "cancelled"]))
    def commit_late(self, pick: int, status: str | None) -> None:
        claim = self.a_claim(pick, stale=True)
        if claim is not None:
            seq = len(self.runs[claim.run_id].events) + 1
            commit = commit_of(claim, seq=seq) if status is None else ending(claim, status, seq=seq)
            assert isinstance(self.changes_nothing(self.stored.committer.commit(commit)), ClaimLost)

    @rule(pick=PICK)
    def commit(self, pick: int) -> None:
        claim = self.a_claim(pick, stale=False)
        if claim is None:
            return
        run = self.runs[claim.run_id]
        commit = commit_of(claim, seq=len(run.events) + 1)
        result = self.wait(self.stored.committer.commit(commit))
        assert result.cancel_requested == run.cancelled
        run.events.append("step.started")
        run.over = False

    @rule(pick=PICK, status=st.sampled_from(["succeeded", "failed", "cancelled"]))
    def finish(self, pick: int, status: str) -> None:
        claim = self.a_claim(pick, stale=False)
        if claim is None:
            return
        run = self.runs[claim.run_id]
        commit = ending(claim, status, seq=len(run.events) + 1)
        self.wait(self.stored.committer.commit(commit))
        run.status, run.owner, run.over = status, None, False
        run.events.append(f"run.{status}")

    @rule(pick=PICK, stale=st.booleans(), seconds=st.sampled_from([None, 1000.0]))
    def hand_back(self, pick: int, stale: bool, seconds: float | None) -> None:  # noqa: FBT001  # hypothesis' way
        claim = self.a_claim(pick, stale=stale)
        if claim is None:
            return
        run, status = self.runs[claim.run_id], "queued" if seconds is None else "waiting"
        work = self.stored.hand_back(claim, seconds, seq=len(run.events) + 1)
        if stale:
            assert isinstance(self.changes_nothing(work), ClaimLost)
            return
        self.wait(work)
        run.move(status)
        run.attempt -= 1
        run.order = self.tick()

    @rule(first=PICK, most=st.integers(0, 4))
    def renew(self, first: int, most: int) -> None:
        claims = list({claim.run_id: claim for claim in self.claims[first : first + most]}.values())
        renewed = self.wait(self.stored.claims.renew({claim.run_id: claim.epoch for claim in claims}))
        held = {claim.run_id for claim in claims if self.holds(claim)}
        assert renewed.held == held
        assert renewed.cancelled == {run_id for run_id in held if self.runs[run_id].cancelled}
        for run_id in held:
            self.runs[run_id].over = False

    @rule(executor=EXECUTORS)
    def restart(self, executor: str) -> None:
        mine = {run_id for run_id, run in self.runs.items() if run.owner == executor}
        assert set(self.wait(self.stored.claims.claimed_by(executor))) == mine
        for run_id in mine:
            run = self.runs[run_id]
            run.over = True
            due = run.due()
            moved = self.wait(self.stored.moves.release(run_id, executor))
            assert due is not None
            assert moved is not None
            assert moved.status == due
            run.move(due)
            run.order = self.tick()

    # ---- what time does

    @rule(pick=PICK)
    def time_passes(self, pick: int) -> None:
        """The lease of a run is over, or its sleep."""
        run_id = self.a_run(pick)
        run = self.runs[run_id]
        if run.status == "running":
            self.sql("UPDATE claims SET lease_until = now() - interval '1 s' WHERE run_id = $1", run_id)
            run.over = True
        elif run.status == "waiting":
            self.sql("UPDATE runs SET wake_at = now() - interval '1 s' WHERE id = $1", run_id)
            run.awake = True

    @rule(pick=PICK)
    def deadline_passes(self, pick: int) -> None:
        run_id = self.a_run(pick)
        run = self.runs[run_id]
        if run.timed and run.status in OPEN and (run.epoch or run.status != "queued"):
            self.sql("UPDATE runs SET deadline = now() - interval '10 s' WHERE id = $1", run_id)
            run.late = True

    @rule()
    def sweep(self) -> None:
        due = {run_id: to for run_id, run in self.runs.items() if (to := run.due()) is not None}
        moved = self.wait(self.stored.moves.sweep())
        assert {one.run_id: one.status for one in moved} == due
        for one in moved:
            run = self.runs[one.run_id]
            run.move(one.status)
            run.order = self.tick()

    # ---- what is always true

    @invariant()
    def the_database_is_as_the_model_says(self) -> None:
        rows = self.wait(self.stored.database.rows(_ROWS))
        assert {row["id"] for row in rows} == self.runs.keys()
        for row in rows:
            run = self.runs[row["id"]]
            assert (row["status"], row["attempt"], row["epoch"]) == (run.status, run.attempt, run.epoch)
            before = self.statuses.get(row["id"], "queued")
            assert row["status"] == before or (before, row["status"]) in LEGAL
            self.statuses[row["id"]] = row["status"]
            assert (row["cancelled"], row["executor"]) == (run.cancelled, run.owner)
            assert row["epoch"] >= self.epochs.get(row["id"], 0)
            self.epochs[row["id"]] = row["epoch"]
            if row["claimed"]:
                assert (row["held"], run.status in OPEN) == (run.epoch, True)

    @invariant()
    def events_have_no_gap_and_one_end(self) -> None:
        for row in self.wait(self.stored.database.rows(_ROWS)):
            run = self.runs[row["id"]]
            entries = self.wait(self.stored.history.entries(row["id"]))
            assert [entry.seq for entry in entries] == list(range(1, row["last_seq"] + 1))
            kinds = [entry.type for entry in entries]
            assert kinds == run.events
            assert (kinds[-1] in ENDINGS) == (run.status not in OPEN)
            # Every end but the last was followed by a retry, and by nothing else.
            assert all(after == "run.queued" for kind, after in pairwise(kinds) if kind in ENDINGS)

    @invariant()
    def no_run_is_orphaned(self) -> None:
        assert self.wait(self.stored.queue.orphaned()) == 0


@pytest.fixture
def life(database_url: str) -> Any:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> Stored:
            stored = await stack.enter_async_context(open_stored(database_url))
            await stored.workflow()
            return stored

        stored = runner.run(start())
        yield type("Life", (Life,), {"runner": runner, "stored": stored})
        runner.run(stack.aclose())


def test_whatever_happens_to_runs_they_move_as_the_model_says(life: type[Life]) -> None:
    run_machine(
        life,
        settings=settings(
            max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
