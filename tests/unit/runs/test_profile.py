"""Where a run's time went: every case of it, and that nothing of it is lost or counted twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from flowyard.runs.entries import decode_all
from flowyard.runs.profile import CATEGORIES, Profile, profile_of
from flowyard.runs.run import Entry

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
Recorded = tuple[float, str, dict[str, Any]]
A, B = ({"node": node, "visit": 1} for node in "ab")


def item(index: int) -> dict[str, Any]:
    return {**A, "item": index}


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def profile(*recorded: Recorded, end: float) -> Profile:
    entries = [
        Entry(seq, at(seconds), kind, {**USUAL.get(kind, {}), **data})
        for seq, (seconds, kind, data) in enumerate(recorded, 1)
    ]
    result = profile_of(decode_all(entries), BEGAN, at(end))
    assert_adds_up(result, end)
    return result


def assert_adds_up(result: Profile, end: float) -> None:
    assert set(result.spent) == set(CATEGORIES)
    assert min(result.spent.values()) >= timedelta()
    assert sum(result.spent.values(), timedelta()) == result.wall == timedelta(seconds=max(end, 0))
    assert result.at_work <= result.wall
    for node in result.nodes:
        assert timedelta() <= node.model <= node.busy <= result.at_work
        assert 0 <= node.share <= 1
    assert [node.busy for node in result.nodes] == sorted((node.busy for node in result.nodes), reverse=True)


def spent(result: Profile) -> dict[str, float]:
    """What isn't zero, in seconds."""
    return {name: time.total_seconds() for name, time in result.spent.items() if time}


def nodes(result: Profile) -> dict[str, tuple[float, float, int, int]]:
    return {n.node: (n.busy.total_seconds(), n.model.total_seconds(), n.steps, n.retries) for n in result.nodes}


def called(seconds: float, step: dict[str, Any], duration_s: float, **more: Any) -> Recorded:
    return seconds, "model.called", {**step, "duration_s": duration_s, **more}


def started(seconds: float, step: dict[str, Any], **more: Any) -> Recorded:
    return seconds, "step.started", {**step, **more}


def finished(seconds: float, step: dict[str, Any]) -> Recorded:
    return seconds, "step.finished", step


def claimed(seconds: float) -> Recorded:
    return seconds, "run.claimed", {"attempt": 1, "executor": "e"}


def succeeded(seconds: float) -> Recorded:
    return seconds, "run.succeeded", {"duration_s": 1.0, "outputs": {}}


QUEUED: Recorded = (0, "run.queued", {})
BROKEN = {"code": "rate_limited", "message": "slow down"}
UNKNOWN = {"tokens_in": None, "tokens_out": None, "cost_usd": None}
USUAL: dict[str, dict[str, Any]] = {
    "model.called": {"provider": "p", "model": "m", **UNKNOWN},
    "step.finished": {"duration_s": 1.0, "outputs": {}, "calls": 1, **UNKNOWN},
    "step.failed": {"duration_s": 1.0, "error": BROKEN, "handled": "fail"},
    "step.retrying": {"attempt": 2, "error": BROKEN},
    "route.taken": {"node": "a", "to": "b"},
}
"""What else an entry has than what a test says."""


def test_each_instant_goes_to_what_the_run_did_then() -> None:
    result = profile(
        QUEUED,
        claimed(2),
        started(3, A),
        called(8, A, 4),
        (8.5, "tool.called", {**A, "tool": "time.now", "duration_s": 0.25}),
        finished(9, A),
        started(11, B, commit_s=1.5),
        called(12, B, 1),
        finished(12, B),
        succeeded(13),
        end=14,
    )
    assert spent(result) == {"queued": 2, "claim": 1, "model": 5, "tool": 0.25, "code": 3.25, "commit": 2.5}
    assert nodes(result) == {"a": (6, 4, 1, 0), "b": (1, 1, 1, 0)}
    assert result.at_work == timedelta(seconds=12)


def test_a_model_at_work_counts_more_than_another_step_that_waits_for_its_commit() -> None:
    result = profile(
        QUEUED,
        claimed(0),
        started(0, A),
        started(4, B, commit_s=3),
        called(6, A, 6),
        finished(6, A),
        finished(6, B),
        succeeded(6),
        end=6,
    )
    assert spent(result) == {"model": 6}


def test_the_first_step_is_claimed_for_without_the_commit_before_it() -> None:
    result = profile(QUEUED, claimed(1), started(3, A, commit_s=0.5), finished(4, A), succeeded(4), end=4)
    assert spent(result) == {"queued": 1, "claim": 1.5, "commit": 0.5, "code": 1}


def test_a_run_without_steps_was_queued_and_claimed() -> None:
    assert spent(profile(QUEUED, end=3)) == {"queued": 3}
    assert spent(profile(QUEUED, claimed(1), end=3)) == {"queued": 1, "claim": 2}
    cancelled = profile(QUEUED, (2, "run.cancelled", {"reason": "cancelled"}), end=2)
    assert (spent(cancelled), cancelled.nodes, cancelled.bottleneck()) == ({"queued": 2}, [], None)
    ended = profile(QUEUED, claimed(1), (3, "run.failed", {"duration_s": 2.0}), end=4)
    assert spent(ended) == {"queued": 1, "claim": 2, "commit": 1}
    assert spent(profile(end=0)) == {}


def test_parallel_items_are_counted_once() -> None:
    result = profile(
        QUEUED,
        claimed(0),
        started(0, item(0)),
        started(0, item(1)),
        called(4, item(0), 4),
        finished(4, item(0)),
        started(4, item(2)),
        called(6, item(1), 5),
        finished(6, item(1)),
        called(8, item(2), 3),
        finished(9, item(2)),
        succeeded(10),
        end=10,
    )
    assert spent(result) == {"model": 8, "code": 2}
    assert nodes(result) == {"a": (9, 8, 3, 0)}
    assert result.nodes[0].share == 0.9


def test_a_step_that_waits_for_its_next_try_waits_unless_something_else_is_at_work() -> None:
    retrying = {**A, "attempt": 2, "delay_s": 4.0, "error": BROKEN}
    alone = profile(
        QUEUED,
        claimed(0),
        started(0, A),
        called(1, A, 1, error=BROKEN),
        (1, "step.retrying", retrying),
        called(7, A, 2),
        finished(7, A),
        succeeded(7),
        end=7,
    )
    assert spent(alone) == {"model": 3, "waiting": 4}
    assert nodes(alone) == {"a": (7, 3, 1, 1)}
    beside = profile(
        QUEUED,
        claimed(0),
        started(0, A),
        (1, "step.retrying", retrying),
        started(2, B),
        finished(4, B),
        finished(5, A),
        succeeded(5),
        end=5,
    )
    assert spent(beside) == {"code": 3, "waiting": 2}


def test_a_wait_that_is_cut_short_ends_with_its_step() -> None:
    retrying = {**A, "attempt": 2, "delay_s": 100.0, "error": BROKEN}
    result = profile(
        QUEUED, claimed(0), started(0, A), (1, "step.retrying", retrying), (3, "run.cancelled", {"outputs": {}}), end=3
    )
    assert spent(result) == {"code": 1, "waiting": 2}


def test_fallbacks_follow_each_other_as_one_time_at_the_models() -> None:
    result = profile(
        QUEUED,
        claimed(0),
        started(0, A),
        called(2, A, 2, error=BROKEN),
        called(5, A, 3),
        finished(5, A),
        succeeded(5),
        end=5,
    )
    assert spent(result) == {"model": 5}
    assert nodes(result) == {"a": (5, 5, 1, 0)}


def test_a_run_that_gave_up_its_slot_waits_and_is_queued_again() -> None:
    result = profile(
        QUEUED,
        claimed(0),
        started(0, A),
        called(1, A, 1, error=BROKEN),
        (1, "step.retrying", {**A, "attempt": 2, "delay_s": 60.0, "error": BROKEN}),
        (1, "run.waiting", {"reason": "retry", "seconds": 60.0, "node": "a"}),
        (61, "run.queued", {"reason": "woken"}),
        claimed(62),
        started(63, A),
        called(65, A, 2),
        finished(65, A),
        succeeded(65),
        end=65,
    )
    assert spent(result) == {"model": 3, "waiting": 60, "queued": 1, "claim": 1}
    assert nodes(result) == {"a": (3, 3, 1, 1)}
    assert result.at_work == timedelta(seconds=4)


def test_the_time_that_a_lost_executor_held_a_run_is_waited_for() -> None:
    for reason in ("executor_lost", "released"):
        result = profile(
            QUEUED,
            claimed(1),
            started(2, A),
            (20, "run.queued", {"reason": reason, "attempt": 1}),
            claimed(21),
            started(22, A),
            called(25, A, 3),
            finished(25, A),
            succeeded(25),
            end=25,
        )
        assert spent(result) == {"queued": 2, "claim": 2, "waiting": 18, "model": 3}
        assert nodes(result) == {"a": (3, 3, 1, 0)}
        assert result.at_work == timedelta(seconds=5)


def test_a_run_that_others_ended_waited_for_its_executor() -> None:
    for kind, reason in (
        ("run.failed", "executor_lost"),
        ("run.failed", "run_timeout"),
        ("run.cancelled", "cancelled"),
    ):
        result = profile(QUEUED, claimed(1), started(1, A), (9, kind, {"reason": reason, "duration_s": 8.0}), end=9)
        assert spent(result) == {"queued": 1, "waiting": 8}


def test_a_lost_executor_that_had_written_nothing_was_waited_for() -> None:
    lost = (9, "run.queued", {"reason": "executor_lost", "attempt": 1})
    assert spent(profile(QUEUED, lost, claimed(10), end=12)) == {"waiting": 9, "queued": 1, "claim": 2}


def test_a_run_that_was_drained_is_queued_at_once() -> None:
    result = profile(
        QUEUED,
        claimed(0),
        started(0, A),
        finished(2, A),
        (3, "run.queued", {"reason": "drained"}),
        claimed(5),
        started(6, B),
        finished(7, B),
        succeeded(7),
        end=7,
    )
    assert spent(result) == {"code": 4, "queued": 2, "claim": 1}


def test_a_failed_run_waited_for_whoever_retried_it() -> None:
    result = profile(
        QUEUED,
        claimed(0),
        started(0, A),
        called(2, A, 2, error=BROKEN),
        (2, "step.failed", A),
        (2, "run.failed", {"duration_s": 2.0, "error": BROKEN, "outputs": {}}),
        (102, "run.queued", {"reason": "retried"}),
        claimed(103),
        started(103, A),
        called(104, A, 1),
        finished(104, A),
        succeeded(104),
        end=105,
    )
    assert spent(result) == {"model": 3, "waiting": 100, "queued": 1, "commit": 1}
    assert nodes(result) == {"a": (3, 3, 1, 0)}


def test_an_open_step_without_a_reply_waits_for_its_model() -> None:
    asking = [QUEUED, claimed(0), started(1, A)]
    assert spent(profile(*asking, end=9)) == {"claim": 1, "model": 8}
    assert spent(profile(*asking, called(4, A, 3), end=9)) == {"claim": 1, "model": 3, "code": 5}
    assert spent(profile(*asking, called(4, A, 3, error=BROKEN), end=9)) == {"claim": 1, "model": 8}
    resting: Recorded = (4, "step.retrying", {**A, "attempt": 2, "delay_s": 3.0, "error": BROKEN})
    result = profile(*asking, called(4, A, 3, error=BROKEN), resting, end=9)
    assert spent(result) == {"claim": 1, "model": 5, "waiting": 3}
    assert spent(profile(*asking, resting, end=6)) == {"claim": 1, "code": 3, "waiting": 2}


def test_a_call_is_not_longer_than_its_step_whatever_the_clocks_say() -> None:
    result = profile(QUEUED, claimed(1), started(2, A), called(3, A, 1.004), finished(3, A), succeeded(3), end=3)
    assert spent(result) == {"queued": 1, "claim": 1, "model": 1}


def test_clocks_that_differ_make_no_time_negative() -> None:
    result = profile(
        (0.005, "run.queued", {}),
        claimed(0.001),
        started(0.002, A),
        (0.003, "run.queued", {"reason": "drained"}),
        claimed(0.001),
        started(1, A),
        called(2.004, A, 1),
        finished(2.003, A),
        succeeded(2.002),
        end=2.001,
    )
    assert result.spent["queued"] == timedelta(milliseconds=5)
    profile(QUEUED, claimed(1), end=-1)


def test_a_bottleneck_has_strictly_more_than_the_threshold_of_the_time_at_work() -> None:
    result = profile(
        QUEUED, claimed(10), started(10, A), finished(15, A), started(15, B), finished(17, B), succeeded(20), end=20
    )
    assert result.nodes[0].share == 0.5
    assert result.bottleneck() is None
    below, above = result.bottleneck(0.49), result.bottleneck(0.1)
    assert below is not None
    assert above is not None
    assert (below.node, above.node) == ("a", "a")
    assert result.bottleneck(1.0) is None


def test_entries_that_others_may_add_some_day_change_nothing() -> None:
    result = profile(QUEUED, claimed(0), (1, "route.taken", {"node": "a", "to": "b"}), (2, "new.one", {}), end=3)
    assert spent(result) == {"claim": 3}
    result = profile(QUEUED, claimed(0), (1, "run.waiting", {}), (2, "new.one", {}), (5, "run.queued", {}), end=5)
    assert spent(result) == {"claim": 1, "waiting": 4}


STEPS = st.builds(
    lambda node, item: {"node": node, "visit": 1} | ({} if item is None else {"item": item}),
    st.sampled_from("ab"),
    st.sampled_from([None, 0, 1]),
)
SECONDS = st.floats(0, 30)
ENTRIES = st.one_of(
    st.sampled_from(
        [
            ("run.claimed", {"attempt": 1, "executor": "e"}),
            ("run.waiting", {"reason": "retry"}),
            ("run.queued", {"reason": "drained"}),
            ("run.queued", {"reason": "executor_lost"}),
            ("run.queued", {"reason": "retried"}),
            ("run.failed", {"outputs": {}}),
            ("run.failed", {"reason": "run_timeout"}),
            ("run.succeeded", {"outputs": {}}),
            ("route.taken", {}),
        ]
    ),
    st.tuples(st.sampled_from(["step.finished", "step.failed"]), STEPS),
    st.builds(lambda step, s: ("step.started", {**step, "commit_s": s}), STEPS, SECONDS),
    st.builds(lambda step, s: ("step.retrying", {**step, "delay_s": s}), STEPS, SECONDS),
    st.builds(
        lambda step, s, error: ("model.called", {**step, "duration_s": s, **error}),
        *(STEPS, SECONDS, st.sampled_from([{}, {"error": BROKEN}])),
    ),
    st.builds(lambda step, s: ("tool.called", {**step, "tool": "time.now", "duration_s": s}), STEPS, SECONDS),
)


@given(st.lists(st.tuples(st.floats(-2, 20), ENTRIES), max_size=40), st.floats(-1, 120))
@example([(0.0, ("step.started", A)), (5.0, ("run.queued", {"reason": "executor_lost"}))], 3.0)
def test_whatever_events_a_run_has_its_times_add_up_to_its_wall_time(
    recorded: Sequence[tuple[float, tuple[str, dict[str, Any]]]], end: float
) -> None:
    """The first number is the time since the entry before: sometimes below zero."""
    now, entries = 0.0, []
    for since, (kind, data) in recorded:
        now += since
        entries.append((now, kind, data))
    profile(*entries, end=end)
