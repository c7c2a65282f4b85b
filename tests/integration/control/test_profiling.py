"""Profiles of runs that real executors have executed, with a model that takes its time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from flowyard.control.profiling import profile_run, profile_runs
from flowyard.runs.profile import Profile
from flowyard.runs.run import Run
from flowyard.storage.profiles import Profiles
from support.executors import LEASE_S, Yard, open_yard, prompt_of
from support.wire.behaviour import Behaviour, Late, Status, Text
from support.wire.server import Request

WORK = """
flow: {name: work}
state:
  fields:
    topic: {type: str, required: true}
    topics: {type: "list[str]", required: true}
    a: str
    b: str
    poem: str
    poems: list
nodes:
  - {id: first, prompt: "first {topic}", outputs: [a]}
  - {id: flaky, prompt: "flaky {a}", outputs: [b], retry: {max_retries: 2, initial_delay: 0.4}}
  - {id: many, prompt: "many {item}", outputs: [poem]}
edges:
  - {from: START, to: first}
  - {from: first, to: flaky}
  - {from: flaky, parallel: {items_field: topics, target_node: many, collect_field: poems, max_concurrency: 4}}
  - {from: many, to: END}
config: {llm: MODEL}
"""
TOPICS = ["a", "b", "c", "d"]
SLEPT_S = {"first": 0.6, "flaky": 0.2, "many": 0.4}


class Model:
    """Answers each node after its time; `flaky` fails the first time. While `holds`, `first` never gets an answer."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.holds = False

    def __call__(self, request: Request) -> Behaviour:
        word = prompt_of(request).split()[0]
        self.calls[word] += 1
        if word == "flaky" and self.calls[word] == 1:
            return Status(503)
        return Late(Text(word), 60 if self.holds and word == "first" else SLEPT_S[word])


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
async def yard(database_url: str, nats_url: str, model: Model) -> AsyncIterator[Yard]:
    async with open_yard(database_url, nats_url, model) as opened:
        yield opened


async def profile_of(yard: Yard, run_id: UUID) -> tuple[Run, Profile]:
    run = await yard.ended(run_id)
    assert run.status == "succeeded", run.error
    assert run.finished_at is not None
    profile = await profile_run(Profiles(yard.database), run, run.finished_at)
    wall = run.finished_at - run.created_at
    assert abs(sum(profile.spent.values(), timedelta()) - wall) <= 0.01 * wall
    return run, profile


def near(time: timedelta, seconds: float) -> bool:
    """A loaded machine may take longer; nothing may take shorter."""
    return seconds - 0.02 <= time.total_seconds() <= seconds + 0.3


async def test_a_profile_reads_all_events_and_nothing_of_what_they_say(yard: Yard) -> None:
    await yard.executor("one")
    await yard.apply(WORK)
    run_id = await yard.submit("work", topic="x", topics=TOPICS)
    await yard.ended(run_id)
    read = await Profiles(yard.database).entries(run_id)
    entries = await yard.history.entries(run_id)
    assert [(one.seq, one.at, one.type) for one in read] == [(one.seq, one.at, one.type) for one in entries]
    assert any("outputs" in one.data for one in entries)
    assert not any(one.data.get("outputs") for one in read)


async def test_the_time_of_a_real_run_adds_up_and_its_models_took_what_they_slept(yard: Yard) -> None:
    await yard.executor("one")
    await yard.apply(WORK)
    run, profile = await profile_of(yard, await yard.submit("work", topic="x", topics=TOPICS))
    nodes = {node.node: node for node in profile.nodes}
    assert {name: node.steps for name, node in nodes.items()} == {"first": 1, "flaky": 1, "many": 4}
    for name, slept_s in SLEPT_S.items():
        assert near(nodes[name].model, slept_s), (name, nodes[name])
    assert near(profile.spent["model"], sum(SLEPT_S.values()))
    assert nodes["flaky"].retries == 1
    # The delay is shortened by up to half, by chance.
    assert 0.19 <= profile.spent["waiting"].total_seconds() <= 0.5
    # A loaded machine takes longer for its own work too, and still less than the models slept.
    own = profile.spent["code"] + profile.spent["commit"] + profile.spent["claim"]
    assert own < timedelta(seconds=sum(SLEPT_S.values()))
    assert profile.spent["tool"] == timedelta()
    [profiled] = await profile_runs(Profiles(yard.database), workflows=["work"], since=run.created_at, most=10)
    assert (profiled.run_id, profiled.profile) == (run.id, profile)


async def test_a_run_whose_executor_was_killed_waited_for_its_lease(yard: Yard, model: Model) -> None:
    first = await yard.executor("one")
    await yard.apply(WORK)
    model.holds = True
    run_id = await yard.submit("work", topic="x", topics=TOPICS)
    await yard.recorded(run_id, "step.started", "first")
    await asyncio.sleep(0.2)  # a time in which the run is worked on
    await first.kill()
    model.holds = False
    await yard.executor("two")
    _, profile = await profile_of(yard, run_id)
    assert profile.spent["waiting"].total_seconds() > 0.5 * LEASE_S
    assert near(profile.spent["model"], sum(SLEPT_S.values()))
    assert next(node.steps for node in profile.nodes if node.node == "first") == 1
