"""The checker of campaigns notices what must not happen, and takes what may. The campaigns themselves: `make chaos`."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from chaos.campaign.checker import Violation, check_run, check_stream, lost_claims, without_interrupted
from chaos.campaign.havoc import SERVERS, plan
from chaos.campaign.histories import Event, History
from chaos.campaign.model import Asked
from chaos.campaign.shapes import SHAPES, Expected, reply_to

RUN = "0193"
WELL: Mapping[str, Any] = {"status": "succeeded", "error": None}


@dataclass
class Story:
    """A run as it is told by the API and by the model's log; `expected` says how it must be."""

    expected: Expected
    run: dict[str, Any]
    events: list[tuple[float, str, dict[str, Any]]]
    steps: list[dict[str, Any]]
    calls: list[dict[str, Any]]
    asked: list[Asked]
    seen: dict[str, float] = field(default_factory=dict)

    @property
    def history(self) -> History:
        events = [Event(seq, at, kind, data) for seq, (at, kind, data) in enumerate(self.events, 1)]
        return History({**self.run, "spending": {"calls": len(self.calls)}}, events, self.steps, self.calls)

    def kinds(self) -> set[str]:
        return {violation.kind for violation in check_run(RUN, self.expected, self.history, self.asked, self.seen)}

    def place(self, kind: str, node: str) -> int:
        """Of the event."""
        return next(n for n, (_, each, data) in enumerate(self.events) if (each, data.get("node")) == (kind, node))


def well(shape: str, word: str = "w1") -> Story:
    """A run to which nothing happened: a step each second, a call half a second before its end."""
    expected = next(each for each in SHAPES if each.name == shape).expected(word)
    story = Story(expected, {**WELL, "outputs": dict(expected.outputs)}, [], [], [], [])
    story.events += [(0.0, "run.queued", {}), (0.0, "run.claimed", {"attempt": 1, "executor": "executor-1"})]
    for number, (name, call) in enumerate(expected.calls.items(), 1):
        node, _, rest = name.partition(":")
        visit, _, item = rest.partition(".")
        step = {"node": node, "visit": int(visit), "item": int(item) if item else None}
        story.asked.append(Asked(number - 0.5, f"{RUN}:{name}", call.prompt))
        story.events.append((number - 0.6, "step.started", step))
        story.events.append((float(number), "step.finished", {**step, "outputs": {"x": reply_to(call.prompt)}}))
        story.steps.append({**step, "kind": "step", "status": "succeeded"})
        story.calls.append({**step, "error": None})
    story.events.append((99.0, "run.succeeded", {}))
    return story


def lose_executor(story: Story) -> Story:
    """It dies in the second step, whose call it has made; another one executes the step again."""
    at = story.place("step.finished", "second")
    started = story.events[at - 1]
    story.events[at:at] = [
        (1.6, "run.queued", {"reason": "executor_lost"}),
        (1.7, "run.claimed", {"attempt": 2, "executor": "executor-2"}),
        started,
    ]
    story.asked.insert(2, replace(story.asked[1], at=1.8))
    return story


@pytest.mark.parametrize("shape", [shape.name for shape in SHAPES])
def test_a_run_to_which_nothing_happened_is_well(shape: str) -> None:
    for number in range(20):
        assert well(shape, f"w{number}").kinds() == set()


def test_a_step_may_call_again_if_its_executor_is_lost_before_the_commit() -> None:
    story = lose_executor(well("chain"))
    assert story.kinds() == set()
    story.calls.append({"node": "second", "visit": 1, "item": None, "error": "executor_lost"})
    assert story.kinds() == set()
    [lost] = lost_claims(story.history.events)
    assert (lost.executor, lost.reason, lost.lost_at, lost.again_at) == ("executor-1", "executor_lost", 1.6, 1.7)


def test_an_executor_may_be_lost_before_it_has_written_that_it_has_the_run() -> None:
    story = well("chain")
    story.events.insert(1, (0.0, "run.queued", {"reason": "executor_lost"}))
    assert story.kinds() == set()


def fails(story: Story) -> None:
    story.run["status"] = "failed"


def lacks_a_step(story: Story) -> None:
    story.steps.pop()


def loses_an_event(story: Story) -> None:
    del story.events[story.place("step.finished", "second")]


def ends_a_step_twice(story: Story) -> None:
    at = story.place("step.finished", "first")
    story.events.insert(at, story.events[at])


def begins_a_finished_step(story: Story) -> None:
    at = story.place("step.started", "first")
    story.events.insert(at + 2, story.events[at])


def does_not_wait_for_a_result(story: Story) -> None:
    at = story.place("step.finished", "first")
    story.events[at], story.events[at + 1] = story.events[at + 1], story.events[at]


def goes_on_after_its_end(story: Story) -> None:
    story.events.append((100.0, "step.started", {"node": "third", "visit": 1}))


def is_queued_twice(story: Story) -> None:
    story.events.insert(0, story.events[0])


def goes_on_without_a_claim(story: Story) -> None:
    lose_executor(story)
    del story.events[story.place("step.finished", "second") - 2]


def calls_after_the_commit(story: Story) -> None:
    story.asked.append(replace(story.asked[-1], at=10.0))


def calls_after_a_client_has_seen_the_commit(story: Story) -> None:
    lose_executor(story)
    story.seen["second:1"] = 1.79


def calls_after_the_next_step_has(story: Story) -> None:
    lose_executor(story)
    story.asked.append(replace(story.asked[0], at=1.55))


def calls_before_the_step_before(story: Story) -> None:
    story.asked[1] = replace(story.asked[1], at=0.4)


def calls_for_a_step_too_many(story: Story) -> None:
    story.asked.append(replace(story.asked[-1], key=f"{RUN}:fourth:1"))


def calls_without_a_key(story: Story) -> None:
    story.asked[1] = replace(story.asked[1], key="-")


def calls_under_the_key_of_another_step(story: Story) -> None:
    story.asked[1] = replace(story.asked[1], prompt=story.asked[2].prompt)


def has_another_output(story: Story) -> None:
    story.run["outputs"]["three"] = "third-0"


def records_another_result(story: Story) -> None:
    story.events[story.place("step.finished", "second")][2]["outputs"] = {"x": "second-0"}


def forgets_a_call(story: Story) -> None:
    story.calls.pop()


def forgets_a_repeated_call_without_a_lost_executor(story: Story) -> None:
    story.asked.insert(1, story.asked[0])


def invents_a_call(story: Story) -> None:
    story.calls.append({**story.calls[0], "error": "provider_error"})


@pytest.mark.parametrize(
    ("breaks", "kind"),
    [
        (fails, "lost"),
        (lacks_a_step, "lost"),
        (loses_an_event, "lost"),
        (ends_a_step_twice, "repeated"),
        (begins_a_finished_step, "repeated"),
        (calls_after_the_commit, "repeated"),
        (calls_after_a_client_has_seen_the_commit, "repeated"),
        (calls_after_the_next_step_has, "repeated"),
        (calls_for_a_step_too_many, "repeated"),
        (does_not_wait_for_a_result, "out of order"),
        (goes_on_after_its_end, "out of order"),
        (is_queued_twice, "out of order"),
        (goes_on_without_a_claim, "out of order"),
        (calls_before_the_step_before, "out of order"),
        (has_another_output, "wrong result"),
        (records_another_result, "wrong result"),
        (calls_without_a_key, "wrong key"),
        (calls_under_the_key_of_another_step, "wrong key"),
        (forgets_a_call, "wrong ledger"),
        (forgets_a_repeated_call_without_a_lost_executor, "wrong ledger"),
        (invents_a_call, "wrong ledger"),
    ],
)
def test_the_checker_notices_a_run_that(breaks: Callable[[Story], None], kind: str) -> None:
    story = well("chain")
    breaks(story)
    assert kind in story.kinds()


def test_the_checker_notices_a_run_that_the_api_does_not_know() -> None:
    assert [problem.kind for problem in check_run(RUN, well("chain").expected, None, [], {})] == ["lost"]


def test_the_checker_notices_events_with_a_gap() -> None:
    story = well("chain")
    history = story.history
    gap = [replace(event, seq=event.seq + (event.seq > 3)) for event in history.events]
    problems = check_run(RUN, story.expected, replace(history, events=gap), story.asked, {})
    assert [problem.kind for problem in problems] == ["out of order"]


def test_the_checker_notices_a_stream_with_a_gap_or_an_event_twice() -> None:
    history = well("chain").history
    whole = [event.seq for event in history.events]
    assert check_stream(RUN, history, whole) == []
    for streamed in (whole[:-1], [*whole[:3], *whole[2:]], [*whole[:3], *whole[4:]]):
        assert [problem.kind for problem in check_stream(RUN, history, streamed)] == ["out of order"]


def test_the_checker_notices_branches_that_are_not_merged_in_the_order_of_the_document() -> None:
    story = well("fork")
    left, more, right = story.run["outputs"]["notes"]
    story.run["outputs"]["notes"] = [right, left, more]
    assert story.kinds() == {"wrong result"}


def test_a_call_that_a_freeze_has_interrupted_is_taken_and_two_are_not() -> None:
    late = [Violation("repeated", RUN, "late", at) for at in (5.01, 7.01)]
    other = Violation("repeated", RUN, "not a call")
    assert without_interrupted([late[0], other], [5.0, 7.0]) == ([other], 1)
    assert without_interrupted(late, [5.0]) == ([late[1]], 1)
    kept, interrupted = without_interrupted(late, [5.0, 7.0])
    assert (len(kept), interrupted) == (2, 0)


def test_a_plan_follows_from_its_seed_and_has_all_that_it_is_to_have() -> None:
    executors = ["executor-1", "executor-2", "executor-3"]

    def planned(seed: int) -> Any:
        rng = random.Random(seed)
        return plan(rng, seconds=200, executors=executors, kills=40, freezes=60, each_server=3, lease_s=2)

    blows = planned(1)
    assert blows == planned(1) != planned(2)
    assert [blow.at_s for blow in blows] == sorted(blow.at_s for blow in blows)
    kills = [blow.process for blow in blows if blow.kind == "kill"]
    assert {name: kills.count(name) for name in SERVERS} == dict.fromkeys(SERVERS, 3)
    also_killed = [blow.also for blow in blows if blow.also]
    assert sum(kills.count(name) for name in executors) + len(also_killed) == 40
    # Each executor is killed, and each is frozen, for longer than its lease.
    freezes = [blow for blow in blows if blow.kind == "freeze"]
    assert {blow.process for blow in freezes} == set(executors) <= set(kills)
    assert len(freezes) == 60
    assert min(blow.lasts_s for blow in freezes) > 2
    # Long enough after a start to have runs again.
    for name in executors:
        times = [blow.at_s for blow in blows if (blow.kind, blow.process) == ("kill", name)]
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 8
