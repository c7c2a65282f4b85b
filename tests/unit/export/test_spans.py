from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from flowyard.export.spans import MAX_TEXT, MAX_TEXTS, Span, ns_of, run_span_id, spans_of, trace_id
from flowyard.export.text import as_json
from flowyard.runs.events import (
    Failure,
    ModelReserved,
    RetryScheduled,
    RouteTaken,
    RunFinished,
    StepFailed,
    StepFinished,
    StepId,
    StepStarted,
)
from support.finished_runs import BEGIN, ORIGIN, RUN, called, finished, finished_run

THINK, WRITE = StepId("think", 1), StepId("write", 1)
DOCUMENT = """
flow: {name: test}
state:
  fields:
    topic: {type: str, required: true}
    plan: str
    poem: str
nodes:
  - {id: think, prompt: "think {topic}", outputs: [plan], llm: {temperature: 0.5, max_tokens: 50}}
  - {id: write, prompt: "write {plan}", outputs: [poem]}
config: {llm: {provider: openai, model: gpt, api_base: "http://models:8000/v1"}}
"""
MAP = """
flow: {name: test}
state: {fields: {topics: {type: "list[str]", required: true}, poems: list, poem: str, best: str}}
nodes:
  - {id: write, prompt: "write {item}", outputs: [poem]}
  - {id: choose, prompt: "choose {poems}", outputs: [best]}
edges:
  - {from: START, parallel: {items_field: topics, target_node: write, collect_field: poems, on_item_error: collect}}
  - {from: write, to: choose}
  - {from: choose, to: END}
config: {llm: {provider: openai, model: gpt}}
"""
ENDED = RunFinished("succeeded", 3.0, {"poem": "rain"})
MOMENTS = (
    (0.0, "run.queued"),
    (0.5, "run.claimed", {"attempt": 1, "executor": "one"}),
    (1.0, StepStarted(THINK)),
    (2.0, called(THINK)),
    (2.1, finished(THINK, plan="soft")),
    (2.2, StepStarted(WRITE)),
    (3.0, called(WRITE, seconds=0.5)),
    (3.1, finished(WRITE, poem="rain")),
    (3.2, ENDED),
)


def by_name(spans: list[Span]) -> dict[str, Span]:
    assert len({span.name for span in spans}) == len(spans)
    return {span.name: span for span in spans}


def seconds(span: Span) -> tuple[float, float]:
    return (span.start_ns - ns_of(BEGIN)) / 1e9, (span.end_ns - ns_of(BEGIN)) / 1e9


def texts(span: Span) -> tuple[Any, Any]:
    return tuple(json.loads(text) if text is not None else None for text in (span.inputs, span.outputs))  # type: ignore[return-value]


def test_a_run_is_a_tree_of_its_steps_and_their_calls() -> None:
    root, queue, call, think, other, write = spans_of(
        finished_run(*MOMENTS, document=DOCUMENT, inputs={"topic": "dawn"})
    )
    assert (queue.name, queue.parent_id, seconds(queue)) == ("queue", root.span_id, (0.0, 0.5))
    assert queue.attributes == {"flowyard.queue.reason": "submitted", "flowyard.executor": "one"}
    assert [span.name for span in (root, think, write)] == ["invoke_workflow test", "step think", "step write"]
    assert (root.parent_id, think.parent_id, write.parent_id) == (None, root.span_id, root.span_id)
    assert (call.parent_id, other.parent_id) == (think.span_id, write.span_id)
    assert [seconds(span) for span in (root, think, call, write)] == [(0.0, 3.2), (1.0, 2.1), (1.0, 2.0), (2.2, 3.1)]
    assert texts(root) == ({"topic": "dawn"}, {"poem": "rain"})
    assert texts(think) == ({"topic": "dawn"}, {"plan": "soft"})
    assert texts(write) == ({"plan": "soft"}, {"poem": "rain"})
    assert [event.name for event in root.events] == ["run.queued", "run.claimed", "run.succeeded"]


def test_the_trace_is_the_runs_id_and_spans_have_the_same_ids_each_time() -> None:
    assert trace_id(RUN) == str(RUN).replace("-", "")
    first, again = (spans_of(finished_run(*MOMENTS, document=DOCUMENT)) for _ in range(2))
    assert first == again
    assert len({span.span_id for span in first}) == len(first)
    assert all(len(bytes.fromhex(span.span_id)) == 8 for span in first)
    # What a run has done since doesn't change what is known of it already.
    longer = spans_of(finished_run(*MOMENTS[:-1], (3.2, StepStarted(THINK)), (4.0, finished(THINK)), (5.0, ENDED)))
    assert {span.span_id for span in first} < {span.span_id for span in longer}


def test_a_call_speaks_the_language_of_the_conventions() -> None:
    call = called(THINK, tokens_cached=4, first_token_s=0.2, retries=1)
    run = finished_run((0, StepStarted(THINK)), (2, call), (3, ENDED), document=DOCUMENT)
    [_, named, _] = spans_of(run)
    assert named.name == "chat gpt"
    assert named.attributes == {
        "flowyard.node": "think",
        "flowyard.visit": 1,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.response.time_to_first_chunk": 0.2,
        "server.address": "models",
        "server.port": 8000,
        "flowyard.provider": "openai",
        "flowyard.retries": 1,
        "flowyard.cost_usd": "0.1",
    }


def test_an_answer_is_named_as_it_names_itself() -> None:
    answer: dict[str, Any] = {"served_by": "gpt-2026-01-01", "reply_id": "chatcmpl-1", "finish_reason": "length"}
    calls = (
        called(THINK, **answer, streamed=True, asks_json=True),
        called(THINK, finish_reason="stop", asks_json=False),
    )
    [_, *spans] = spans_of(finished_run((0, StepStarted(THINK)), (2, calls[0]), (3, calls[1]), (4, ENDED)))
    first, second = [span.attributes for span in spans if span.role == "call"]
    names = ("response.model", "response.id", "response.finish_reasons", "request.stream", "output.type")
    assert [first.get(f"gen_ai.{name}") for name in names] == [
        "gpt-2026-01-01",
        "chatcmpl-1",
        ("length",),
        True,
        "json",
    ]
    assert [second.get(f"gen_ai.{name}") for name in names] == ["gpt", None, ("stop",), None, "text"]


def test_what_failed_has_an_exception_and_what_was_queued_to_the_end_a_span() -> None:
    error = Failure("timeout", "too slow", "think")
    run = finished_run(
        (0, "run.queued"), (1, "run.claimed", {"attempt": 1, "executor": "one"}), (1, StepStarted(THINK)),
        (2, called(THINK, error=error)), (2, StepFailed(THINK, 1.0, error, "fail")),
        (3, "run.queued", {"reason": "executor_lost"}), (5, RunFinished("failed", 3.0, {}, error)),
        status="failed", error=error,
    )  # fmt: skip
    spans = spans_of(run)
    failed = {span.role: span.events[-1] for span in spans if span.error is not None}
    assert failed.keys() == {"run", "step", "call"}
    for event in failed.values():
        assert (event.name, event.attributes["exception.message"]) == ("exception", "too slow")
        assert event.attributes["exception.type"] == "timeout"
    assert [seconds(span) for span in spans if span.role == "queue"] == [(0.0, 1.0), (3.0, 5.0)]


def test_what_is_unknown_is_left_out_and_never_zero() -> None:
    call = called(THINK, cost=None, tokens_in=None, tokens_out=None)
    run = finished_run((0, StepStarted(THINK)), (1, call), (2, finished(THINK, cost=None)), (3, ENDED))
    for span in spans_of(run):
        assert span.attributes["flowyard.cost"] == "unknown"
        assert not {"flowyard.cost_usd", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"} & set(
            span.attributes
        )
    root = spans_of(run)[0]
    assert "flowyard.tokens_in" not in root.attributes


@pytest.mark.parametrize("cost", ["0.0000001", "1234567890.123456789012345678", "0"])
def test_costs_are_exact_to_the_last_digit(cost: str) -> None:
    [root, call, _] = spans_of(finished_run((0, StepStarted(THINK)), (1, called(THINK, cost=cost)), (3, ENDED)))
    assert (root.attributes["flowyard.cost_usd"], call.attributes["flowyard.cost_usd"]) == (cost, cost)
    assert Decimal(str(call.attributes["flowyard.cost_usd"])) == Decimal(cost)


def test_prompts_and_replies_are_exported_only_where_they_were_logged() -> None:
    messages = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "think dawn"})
    logged, quiet = called(THINK, messages=messages, reply="soft"), called(WRITE)
    [_, quiet_span, logged_span, *_] = spans_of(
        finished_run((0, StepStarted(THINK)), (0, StepStarted(WRITE)), (1, quiet), (2, logged), (3, ENDED))
    )
    assert texts(quiet_span) == (None, None)
    assert not [name for name in quiet_span.attributes if "messages" in name or "instructions" in name]
    assert texts(logged_span) == ({"messages": list(messages)}, {"role": "assistant", "content": "soft"})
    input_messages = json.loads(str(logged_span.attributes["gen_ai.input.messages"]))
    assert input_messages == [{"role": "user", "parts": [{"type": "text", "content": "think dawn"}]}]
    rules = json.loads(str(logged_span.attributes["gen_ai.system_instructions"]))
    assert rules == [{"type": "text", "content": "be brief"}]
    [reply] = json.loads(str(logged_span.attributes["gen_ai.output.messages"]))
    assert reply["parts"] == [{"type": "text", "content": "soft"}]


def test_retries_are_events_of_their_step() -> None:
    error = Failure("rate_limited", "slow down", "think")
    run = finished_run(
        (0, StepStarted(THINK)),
        (1, called(THINK, error=error)),
        (1, RetryScheduled(THINK, 2, 0.5, error)),
        (2, called(THINK, retries=1)),
        (2, finished(THINK)),
        (3, ENDED),
    )
    [_, failed, answered, step] = spans_of(run)
    assert (failed.error, failed.attributes["error.type"]) == ("slow down", "rate_limited")
    assert (answered.error, step.error) == (None, None)
    [event] = step.events
    assert event.name == "step.retrying"
    assert (event.attributes["flowyard.attempt"], event.attributes["error.type"]) == (2, "rate_limited")


def test_a_failed_run_says_why_in_all_its_parts() -> None:
    error = Failure("provider_error", "no luck", "think")
    run = finished_run(
        (0, StepStarted(THINK)),
        (0, StepStarted(WRITE)),
        (1, StepFailed(THINK, 1.0, error, "fail")),
        (2, RunFinished("failed", 2.0, {}, error)),
        status="failed",
        error=error,
    )
    named = by_name(spans_of(run))
    root, think, write = (named[name] for name in ("invoke_workflow test", "step think", "step write"))
    assert [span.error for span in (root, think, write)] == ["no luck", "no luck", "failed"]
    assert [span.attributes["error.type"] for span in (root, think)] == ["provider_error"] * 2
    assert write.attributes["flowyard.step.cut_off"] == "failed"


def test_a_cancelled_run_isnt_shown_as_a_success() -> None:
    run = finished_run((0, StepStarted(THINK)), (1, RunFinished("cancelled", 1.0, {})), status="cancelled")
    assert [(span.error, span.attributes["error.type"]) for span in spans_of(run)] == [("cancelled", "cancelled")] * 2


@pytest.mark.parametrize(
    ("kind", "why"), [("run.queued", "executor_lost"), ("run.queued", "released"), ("run.failed", "executor_lost")]
)
def test_a_step_took_no_time_after_the_last_word_of_an_executor_that_was_lost(kind: str, why: str) -> None:
    run = finished_run((0, StepStarted(THINK)), (1, called(THINK)), (30, kind, {"reason": why}))
    [_, *spans] = spans_of(run)
    assert seconds(next(span for span in spans if span.role == "step")) == (0.0, 1.0)


def test_a_step_whose_executor_died_is_two_spans_and_the_lost_call_belongs_to_the_first() -> None:
    lost = called(THINK, seconds=0.0, cost=None, error=Failure("executor_lost", "it died", "think"))
    run = finished_run(
        (0, StepStarted(THINK)),
        (5, "run.queued", {"reason": "lease_expired"}),
        (6, "run.claimed", {"attempt": 2, "executor": "two"}),
        (6, lost),
        (6, StepStarted(THINK)),
        (7, called(THINK)),
        (7, finished(THINK)),
        (8, ENDED),
    )
    [_, first, queue, lost_call, call, second] = spans_of(run)
    assert seconds(queue) == (5.0, 6.0)
    assert [seconds(first), seconds(second)] == [(0.0, 5.0), (6.0, 7.0)]
    assert (first.error, second.error) == ("lease_expired", None)
    assert (lost_call.parent_id, call.parent_id) == (first.span_id, second.span_id)


def test_a_step_that_gives_its_slot_back_to_wait_has_not_failed() -> None:
    run = finished_run(
        (0, StepStarted(THINK)), (1, "run.waiting", {"reason": "retry"}), (40, StepStarted(THINK)),
        (41, finished(THINK)), (42, ENDED),
    )  # fmt: skip
    [_, first, second] = spans_of(run)
    assert (first.error, first.attributes["flowyard.step.cut_off"], seconds(second)) == (None, "waiting", (40.0, 41.0))


def test_each_item_of_a_map_is_given_its_item_and_what_comes_after_the_map_all_results() -> None:
    first, second, choose = StepId("write", 1, 0), StepId("write", 1, 1), StepId("choose", 1)
    run = finished_run(
        (0, StepStarted(first)),
        (0, StepStarted(second)),
        (1, StepFailed(second, 1.0, Failure("timeout", "slow"), "collect")),
        (2, finished(first, poem="one")),
        (3, StepStarted(choose)),
        (4, finished(choose, best="one")),
        (5, ENDED),
        document=MAP,
        inputs={"topics": ["a", "b"]},
    )
    named = by_name(spans_of(run))
    assert texts(named["step write[0]"]) == ({"item": "a"}, {"poem": "one"})
    assert texts(named["step write[1]"]) == ({"item": "b"}, None)
    assert texts(named["step choose"])[0] == {"poems": ["one", {"error": "timeout", "message": "slow"}]}
    assert named["step write[1]"].attributes["flowyard.item"] == 1


def test_of_a_fork_only_what_its_own_steps_wrote_is_known_and_its_origin_is_linked() -> None:
    run = finished_run(*MOMENTS[3:], document=DOCUMENT, inputs={"topic": "dawn"}, forked_from=ORIGIN)
    named = {span.name: span for span in spans_of(run)}
    assert named["invoke_workflow test"].linked_runs == (ORIGIN,)
    assert run_span_id(ORIGIN) != run_span_id(RUN)
    assert texts(named["step write"])[0] == {"plan": "soft"}


def test_the_way_of_a_run_is_exported_and_its_reservations_are_not() -> None:
    run = finished_run(
        (0, ModelReserved(THINK, "openai", "gpt", 100, None)), (1, RouteTaken("think", "write", "x > 1")), (2, ENDED)
    )
    [root] = spans_of(run)
    [route, _] = root.events
    assert (route.name, route.attributes["flowyard.to"]) == ("route.taken", "write")


def test_an_event_that_this_version_doesnt_know_hurts_nobody() -> None:
    [root] = spans_of(finished_run((0, "moon.risen", {"full": True, "names": ["a"]}), (1, ENDED)))
    assert root.events[0].attributes == {"flowyard.full": True}


def test_large_values_are_shortened_and_so_is_their_sum() -> None:
    happened: list[Any] = []
    for visit in range(1, 100):
        step = StepId("think", visit)
        happened += [(visit, StepStarted(step)), (visit + 0.5, finished(step, plan="x" * 2 * MAX_TEXT))]
    spans = spans_of(finished_run(*happened, (200, ENDED), inputs={"topic": "y" * 2 * MAX_TEXT}))
    sizes = [len(text) for span in spans for text in (span.inputs, span.outputs) if text is not None]
    assert isinstance(texts(spans[0])[0], str)
    assert max(sizes) <= MAX_TEXT + 10
    assert MAX_TEXTS <= sum(sizes) <= MAX_TEXTS + MAX_TEXT
    assert (spans[1].outputs is None, spans[-1].outputs) == (False, None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\0b", '"a\ufffdb"'),
        ("a\\u0000b", '"a\\\\u0000b"'),
        ("\\\0", '"\\\\\ufffd"'),
        ("\ud800x", '"\ufffdx"'),
        ("\ud83d\ude00", '"😀"'),
        ({"é": [1, None, True]}, '{"é": [1, null, true]}'),
    ],
)
def test_text_is_made_such_that_others_can_store_it(value: Any, shown: str) -> None:
    assert as_json(value, max_length=100) == shown


def test_steps_that_never_began_are_not_exported() -> None:
    [root] = spans_of(finished_run((0, StepFinished(THINK, 1.0, {}, 0, 0, 0, Decimal(0))), (1, ENDED)))
    assert root.role == "run"
