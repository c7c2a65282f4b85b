"""Failed steps: retries, fallbacks, on_error, timeouts, cancellation."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from flowyard.errors.steps import MissingApiKey, ModelTimeout, RateLimited
from flowyard.graph.run import RunResult, run_workflow
from flowyard.llm.calls import ModelCall
from flowyard.runs.events import Event, ModelCalled, RetryScheduled, RunFinished, StepFailed, StepFinished, StepStarted
from flowyard.runs.summary import RunSummary
from support.workflows import Answering, Hanging, Outcome, compiled, document, run

_LIMITED = {"error": "rate_limited"}


def _one(options: str = "", *, config: str = "") -> str:
    return document("", fields="a: str", nodes=f"- {{id: a, prompt: 'go', outputs: [a]{options}}}", config=config)


def _error(outcome: Outcome) -> tuple[str, str | None]:
    assert outcome.result.error is not None, outcome.result
    return outcome.result.error.code, outcome.result.error.node


async def test_a_step_is_tried_again_with_growing_delays() -> None:
    outcome = await run(_one(), replies={"a": [_LIMITED, {"error": "timeout"}, {"error": "provider_error"}, "ok"]})
    assert outcome.result.outputs == {"a": "ok"}
    assert outcome.sleeps == [1.0, 2.0, 4.0]
    assert [(e.attempt, e.delay_s, e.error.code) for e in outcome.of(RetryScheduled)] == [
        (2, 1.0, "rate_limited"),
        (3, 2.0, "timeout"),
        (4, 4.0, "provider_error"),
    ]
    (finished,) = outcome.of(StepFinished)
    assert finished.calls == 4


async def test_jitter_shortens_a_delay_by_up_to_half() -> None:
    outcome = await run(_one(), replies={"a": [_LIMITED, "ok"]}, chance=0.5)
    assert outcome.sleeps == [0.75]


async def test_after_the_last_retry_the_step_fails() -> None:
    outcome = await run(_one(", retry: 2"), replies={"a": _LIMITED})
    assert _error(outcome) == ("rate_limited", "a")
    assert len(outcome.calls) == 3
    (failed,) = outcome.of(StepFailed)
    assert failed.handled == "fail"


async def test_an_error_that_no_retry_can_help_is_not_tried_again() -> None:
    outcome = await run(_one(), replies={"a": {"error": "model_refused"}})
    assert _error(outcome) == ("model_refused", "a")
    assert len(outcome.calls) == 1


async def test_only_the_named_errors_are_tried_again() -> None:
    text = _one(", retry: {max_retries: 5, errors: [timeout]}")
    assert len((await run(text, replies={"a": _LIMITED})).calls) == 1
    assert len((await run(text, replies={"a": {"error": "timeout"}})).calls) == 6


async def test_retry_after_is_waited_for() -> None:
    async def limited(call: ModelCall) -> str:
        raise RateLimited("slow down", provider="p", model="m", retry_after=17.0)

    outcome = await run(_one(", retry: 1"), model=Answering(limited))
    assert outcome.sleeps == [17.0]


def _branches(on_error: str) -> str:
    """`s` forks to `a` and to `b`, which fails; they meet in `j`. `rescue` comes last, and after no failure."""
    return document(
        "s a j rescue",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b]}
        - {from: b, to: b2}
        - {from: [a, b2], to: j}
        - {from: j, routes: [{if: "j == 'help'", to: rescue}, {default: END}]}
        - {from: rescue, to: END}
        """,
        fields="b: str\nb2: str",
        nodes=f"""
        - {{id: b, prompt: 'go', outputs: [b], retry: 0, on_error: {on_error}}}
        - {{id: b2, prompt: 'after [{{b}}]', outputs: [b2]}}
        """,
    )


async def test_on_error_continue_goes_on_with_null_and_the_join_runs_once() -> None:
    outcome = await run(_branches("continue"), replies={"b": _LIMITED})
    assert outcome.result.status == "succeeded"
    assert outcome.path == ["s", "a", "b", "b2", "j"]
    assert outcome.prompts_of("b2") == ["after []"]
    assert [e.handled for e in outcome.of(StepFailed)] == ["continue"]


async def test_on_error_goto_takes_the_branch_elsewhere_and_the_join_does_not_wait_for_it() -> None:
    outcome = await run(_branches("{goto: rescue}"), replies={"b": _LIMITED})
    assert outcome.result.status == "succeeded"
    # `rescue` waits for `j`, which may lead to it as well.
    assert outcome.path == ["s", "a", "b", "j", "rescue"]
    assert [e.handled for e in outcome.of(StepFailed)] == ["goto"]
    assert "rescue" not in (await run(_branches("{goto: rescue}"))).path


async def test_on_error_goto_may_lead_to_the_join_itself() -> None:
    outcome = await run(
        document(
            "s a j",
            """
            - {from: START, to: s}
            - {from: s, to: [a, b]}
            - {from: b, to: b2}
            - {from: [a, b2], to: j}
            - {from: j, to: END}
            """,
            fields="b: str\nb2: str",
            nodes="""
            - {id: b, prompt: 'go', outputs: [b], retry: 0, on_error: {goto: j}}
            - {id: b2, prompt: 'more', outputs: [b2]}
            """,
        ),
        replies={"b": _LIMITED},
    )
    assert outcome.path == ["s", "a", "b", "j"]


async def test_a_failure_in_one_branch_aborts_the_calls_of_the_others() -> None:
    hanging = Hanging()

    async def answer(call: ModelCall) -> str:
        if call.node == "a":
            await hanging.reply(call)
        await hanging.called.wait()
        raise ModelTimeout("late", provider="p", model="m")

    text = document(
        "a",
        "- {from: START, to: [a, b]}\n- {from: [a, b], to: END}",
        fields="b: str",
        nodes="- {id: b, prompt: 'go', outputs: [b], retry: 0}",
    )
    outcome = await run(text, model=Answering(answer))
    assert _error(outcome) == ("timeout", "b")
    assert hanging.aborted == ["a"]
    assert isinstance(outcome.events[-1], RunFinished)


async def test_a_missing_key_is_a_failed_run_and_no_traceback() -> None:
    async def keyless(call: ModelCall) -> str:
        raise MissingApiKey(provider="openai", model="m", variable="OPENAI_API_KEY")

    outcome = await run(_one(), model=Answering(keyless))
    assert _error(outcome) == ("missing_api_key", "a")
    assert isinstance(outcome.events[-1], RunFinished)
    assert len(outcome.calls) == 1


async def test_a_value_that_is_not_there_fails_the_step() -> None:
    text = document(
        "", fields="a: str\nwho: {type: any, required: true}", nodes="- {id: a, prompt: 'for {who.name}', outputs: [a]}"
    )
    outcome = await run(text, {"who": {}})
    assert _error(outcome) == ("expression_error", "a")
    assert outcome.calls == []


async def test_a_failed_run_keeps_what_was_written_before() -> None:
    outcome = await run(document("a b c"), replies={"c": {"error": "model_refused"}})
    assert outcome.result.outputs == {"a": "a", "b": "b"}
    assert outcome.of(RunFinished)[0].outputs == {"a": "a", "b": "b"}


async def test_a_step_that_is_over_its_timeout_fails_and_its_call_is_aborted() -> None:
    hanging = Hanging()
    async with asyncio.timeout(5):
        outcome = await run(_one(", timeout: 0.02, retry: 3"), model=hanging)
    assert _error(outcome) == ("timeout", "a")
    assert hanging.aborted == ["a"]
    assert outcome.of(RetryScheduled) == []
    (call,) = outcome.of(ModelCalled)
    assert call.error is not None
    assert (call.error.code, call.tokens_in, call.cost_usd) == ("timeout", None, Decimal(0))


async def test_a_timed_out_step_may_be_handled() -> None:
    text = _one(", timeout: 0.02, on_error: continue")
    assert (await run(text, model=Hanging())).result.status == "succeeded"


async def test_the_timeout_of_a_step_includes_its_retries() -> None:
    async def limited(call: ModelCall) -> str:
        await asyncio.sleep(0.01)  # a call takes its time
        raise RateLimited("slow down", provider="p", model="m")

    async with asyncio.timeout(5):
        outcome = await run(
            _one(", timeout: 0.05, retry: {max_retries: 50, initial_delay: 0}"), model=Answering(limited)
        )
    assert _error(outcome) == ("timeout", "a")
    assert 1 < len(outcome.calls) < 8


async def test_a_step_fails_at_once_if_its_next_try_would_only_begin_after_its_timeout() -> None:
    async def limited(call: ModelCall) -> str:
        raise RateLimited("slow down", provider="p", model="m", retry_after=60)

    outcome = await run(_one(", timeout: 4, retry: 3"), model=Answering(limited))
    assert _error(outcome) == ("timeout", "a")
    assert (len(outcome.calls), outcome.sleeps, outcome.of(RetryScheduled)) == (1, [], [])


async def test_a_timeout_error_of_something_else_is_not_taken_for_the_steps_own() -> None:
    async def broken(call: ModelCall) -> str:
        raise TimeoutError("a bug in a model")

    with pytest.raises(TimeoutError, match="a bug in a model"):
        await run(_one(", timeout: 60"), model=Answering(broken))


async def test_a_run_that_is_over_its_timeout_stops_and_its_calls_are_aborted() -> None:
    hanging = Hanging()
    text = document(
        "a b c",
        "- {from: START, to: a}\n- {from: a, to: [b, c]}\n- {from: [b, c], to: END}",
        config="execution: {timeout: 0.5}",
    )

    async def answer(call: ModelCall) -> str:
        if call.node != "a":
            await hanging.reply(call)
        return "ok"

    async with asyncio.timeout(5):
        outcome = await run(text, model=Answering(answer))
    assert outcome.result.error is not None
    assert outcome.result.error.code == "run_timeout"
    assert outcome.result.outputs == {"a": "ok"}
    assert sorted(hanging.aborted) == ["b", "c"]
    assert isinstance(outcome.events[-1], RunFinished)


async def _cancelled(text: str, hanging: Hanging) -> list[Event]:
    events: list[Event] = []
    task: asyncio.Task[RunResult] = asyncio.create_task(
        run_workflow(compiled(text), {}, run_id="r", model=hanging, emit=events.append)
    )
    await hanging.called.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return events


@pytest.mark.parametrize("options", ["", ", timeout: 60", ", on_error: continue"])
async def test_cancelling_a_run_aborts_the_model_call_in_flight(options: str) -> None:
    hanging = Hanging()
    events = await _cancelled(_one(options), hanging)
    assert hanging.aborted == ["a"]
    assert isinstance(events[-1], RunFinished)
    assert events[-1].status == "cancelled"


async def test_cancelling_a_run_aborts_every_branch() -> None:
    hanging = Hanging(calls=2)
    await _cancelled(document("a b", "- {from: START, to: [a, b]}\n- {from: [a, b], to: END}"), hanging)
    assert sorted(hanging.aborted) == ["a", "b"]


async def test_cancelling_a_run_ends_the_wait_for_a_retry() -> None:
    waiting = asyncio.Event()

    async def limited(call: ModelCall) -> str:
        raise RateLimited("slow down", provider="p", model="m", retry_after=500)

    async def sleep(seconds: float) -> None:
        waiting.set()
        await asyncio.sleep(seconds)

    events: list[Event] = []
    run_of_it = run_workflow(
        compiled(_one()), {}, run_id="r", model=Answering(limited), emit=events.append, sleep=sleep
    )
    task = asyncio.create_task(run_of_it)
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert isinstance(events[-1], RunFinished)


async def test_no_task_is_left_behind_by_runs_that_fail_or_time_out() -> None:
    before = asyncio.all_tasks()
    await run(_one(", timeout: 0.01"), model=Hanging())
    await run(_one(config="execution: {timeout: 0.01}"), model=Hanging())
    assert asyncio.all_tasks() == before


async def test_the_summary_of_a_retried_run_adds_up() -> None:
    outcome = await run(document("a b"), replies={"a": [_LIMITED, "ok"]})
    summary = RunSummary()
    for at, event in enumerate(outcome.events):
        summary.add(event, float(at))
    assert summary.path == ["a", "b"]
    assert summary.nodes["a"].retries == 1
    assert summary.totals.calls == 3
    assert summary.totals.cost_usd == Decimal(0)
    assert len(outcome.of(StepStarted)) == 2
