"""No run spends past its budget, whatever its shape: what can't be paid isn't called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from flowyard.errors.steps import ModelRefused, ProviderError
from flowyard.graph.run import run_workflow
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, ModelReply, OnToken, Usage
from flowyard.llm.models import open_models
from flowyard.llm.terms import FREE, Price, Terms
from flowyard.runs.events import Event, ModelCalled, ModelReserved, StepFailed, StepStarted
from flowyard.steps.budget_gate import TermsOf
from flowyard.steps.token_bounds import SHORTEST_REPLY, prompt_bound
from support.wire.anthropic import anthropic_server
from support.wire.behaviour import Behaviour, CutStream, Text
from support.wire.openai import openai_server
from support.workflows import Answering, Outcome, compiled, document, run

CENT = Decimal("0.01")
ITEMS = [f"{n:02}" for n in range(50)]
BOUND = len("do 00") + 8 + 64
"""Of the prompt of an item."""


async def priced(call: ModelCall, prompt: int) -> Terms:
    """A cent per token of the reply; prompts are free."""
    del call, prompt
    return Terms(Price(Decimal(0), CENT))


async def unpriced(call: ModelCall, prompt: int) -> Terms:
    del call, prompt
    return Terms(None)


def using(tokens: int | None, usd: str | None = None) -> Callable[[ModelCall], Any]:
    async def answer(call: ModelCall) -> ModelReply:
        await asyncio.sleep(0.001)  # a call takes its time
        usage = Usage(0, tokens) if tokens is not None else Usage()
        return ModelReply(call.node, usage, Decimal(usd) if usd is not None else None)

    return answer


def many(budget: str, *, node: str = "", parallel: str = "", llm: str = "provider: openai, model: m") -> str:
    """A map over a list."""
    return document(
        "",
        f"""
        - {{from: START, parallel: {{items_field: items, target_node: work, collect_field: out{parallel}}}}}
        - {{from: work, to: END}}
        """,
        fields="items: {type: list, required: true}\nout: list\none: str",
        nodes=f"- {{id: work, prompt: 'do {{item}}', outputs: [one], llm: {{{llm}}}{node}}}",
        config=f"budget: {budget}",
    )


def one(budget: str, *, node: str = "", llm: str = "provider: openai, model: m", after: str = "") -> str:
    text = f"- {{id: a, prompt: go, outputs: [a], llm: {{{llm}}}{node}}}\n{after}"
    return document("", fields="a: str\nb: str", nodes=text, config=f"budget: {budget}")


async def fifty(budget: str, answer: Callable[[ModelCall], Any], terms: TermsOf = unpriced, **more: str) -> Outcome:
    return await run(many(budget, **more), {"items": ITEMS}, model=Answering(answer), terms=terms)


def ended_by_its_budget(outcome: Outcome) -> str:
    """Why, and it is recorded once."""
    assert outcome.result.status == "failed"
    assert outcome.result.error is not None
    assert outcome.result.error.code == "budget_exceeded"
    assert [event.handled for event in outcome.of(StepFailed)] == ["fail"]
    return outcome.result.error.message


# ---- many at once


async def test_fifty_items_make_as_many_calls_as_are_allowed() -> None:
    outcome = await fifty("{model_calls: 10}", using(5))
    assert "the run's limit of 10 model calls" in ended_by_its_budget(outcome)
    assert len(outcome.calls) == 10


async def test_fifty_items_that_are_allowed_fifty_calls_make_them() -> None:
    outcome = await fifty("{model_calls: 50}", using(5))
    assert (outcome.result.status, len(outcome.calls)) == ("succeeded", 50)


@pytest.mark.parametrize("parallel", ["", ", max_concurrency: 3"])
async def test_fifty_items_make_no_more_calls_than_their_tokens_allow(parallel: str) -> None:
    full = using(BOUND + 20)
    limits = f"{{tokens: {10 * (BOUND + 20)}}}"
    outcome = await fifty(limits, full, llm="provider: openai, model: m, max_tokens: 20", parallel=parallel)
    assert "tokens doesn't allow another call" in ended_by_its_budget(outcome)
    assert len(outcome.calls) == 10


async def test_fifty_items_make_no_more_calls_than_their_money_allows() -> None:
    outcome = await fifty("{usd: 2.00}", using(20, "0.20"), priced, llm="provider: openai, model: m, max_tokens: 20")
    assert "2.00 US dollars doesn't allow another call: it needs 0.20, and 0.00 is left" in ended_by_its_budget(outcome)
    assert len(outcome.calls) == 10


async def test_what_a_call_needs_is_named_and_not_what_it_could_take() -> None:
    needed = len("go") + 8 + 64 + SHORTEST_REPLY
    outcome = await run(one("{tokens: 50}"), model=Answering(using(5)), terms=unpriced)
    assert f"the run's limit of 50 tokens doesn't allow another call: it needs {needed}, and 50 is left" in (
        ended_by_its_budget(outcome)
    )
    assert outcome.calls == []


async def test_calls_that_come_out_cheaper_than_reserved_leave_room_for_others() -> None:
    """Each may take half of the budget, and takes a hundredth of it."""
    outcome = await fifty("{usd: 10}", using(10, "0.10"), priced, llm="provider: openai, model: m, max_tokens: 500")
    assert (outcome.result.status, len(outcome.calls)) == ("succeeded", 50)


async def test_calls_of_which_nobody_says_what_they_took_count_as_they_were_reserved() -> None:
    outcome = await fifty(
        f"{{tokens: {10 * (BOUND + 20)}}}", using(None), llm="provider: openai, model: m, max_tokens: 20"
    )
    ended_by_its_budget(outcome)
    assert len(outcome.calls) == 10


async def test_branches_share_one_budget() -> None:
    text = document(
        "a b c d",
        """
        - {from: START, to: [a, b, c, d]}
        - {from: [a, b, c, d], to: END}
        """,
        config="budget: {model_calls: 3}",
    )
    outcome = await run(text, model=Answering(using(1)))
    ended_by_its_budget(outcome)
    assert len(outcome.calls) == 3
    assert len(outcome.result.outputs) == 3


# ---- nothing swallows it


@pytest.mark.parametrize("handling", ["on_error: continue", "on_error: {goto: b}"])
async def test_no_handling_of_errors_goes_on_past_a_budget(handling: str) -> None:
    text = document(
        "b",
        """
        - {from: START, to: z}
        - {from: z, to: a}
        - {from: a, to: b}
        - {from: b, to: END}
        """,
        fields="a: str\nz: str",
        nodes=f"- {{id: z, prompt: go, outputs: [z]}}\n- {{id: a, prompt: go, outputs: [a], {handling}}}",
        config="budget: {model_calls: 1}",
    )
    outcome = await run(text)
    ended_by_its_budget(outcome)
    assert outcome.path == ["z", "a"]


@pytest.mark.parametrize("how", ["skip", "collect"])
async def test_no_handling_of_items_goes_on_past_a_budget(how: str) -> None:
    outcome = await fifty("{model_calls: 10}", using(5), parallel=f", on_item_error: {how}")
    ended_by_its_budget(outcome)
    assert (len(outcome.calls), outcome.result.outputs) == (10, {})


async def test_retries_and_corrections_are_paid_for() -> None:
    async def wrong(call: ModelCall) -> str:
        return ""

    outcome = await run(one("{model_calls: 3}", node=", retry: 9"), model=Answering(wrong))
    ended_by_its_budget(outcome)
    assert len(outcome.calls) == 3


async def test_fallbacks_are_paid_for() -> None:
    async def down(call: ModelCall) -> str:
        raise ProviderError("down", provider=call.settings.provider, model=call.settings.model)

    llm = "provider: openai, model: m, fallbacks: [{provider: openai, model: n}, {provider: openai, model: o}]"
    outcome = await run(one("{model_calls: 2}", llm=llm), model=Answering(down))
    ended_by_its_budget(outcome)
    assert [call.settings.model for call in outcome.calls] == ["m", "n"]


# ---- what is sent


async def sent(budget: str, terms: TermsOf = unpriced, llm: str = "", tokens: int = 1, after: str = "") -> Outcome:
    settings = f"provider: openai, model: m{llm}"
    return await run(one(budget, llm=settings, after=after), model=Answering(using(tokens)), terms=terms)


async def test_a_reply_has_a_bound_as_soon_as_its_length_is_limited() -> None:
    for budget, terms, bound in [
        ("{tokens: 100000}", unpriced, 4096),
        ("{usd: 100}", priced, 4096),
        ("{model_calls: 5}", unpriced, None),
    ]:
        outcome = await sent(budget, terms)
        assert [call.settings.max_tokens for call in outcome.calls] == [bound], budget


async def test_a_model_with_short_replies_gets_a_limit_that_it_has() -> None:
    async def short(call: ModelCall, prompt: int) -> Terms:
        return Terms(None, longest=300)

    assert (await sent("{tokens: 100000}", short)).calls[0].settings.max_tokens == 300


async def test_a_reply_shrinks_to_what_is_left() -> None:
    prompt = prompt_bound(ModelCall("a", ModelSettings("openai", "m"), (ChatMessage("user", "go"),)))
    outcome = await sent(f"{{tokens: {prompt + 100}}}")
    assert (outcome.result.status, outcome.calls[0].settings.max_tokens) == ("succeeded", 100)
    outcome = await sent("{usd: 1.239}", priced)
    assert (outcome.result.status, outcome.calls[0].settings.max_tokens) == ("succeeded", 123)
    outcome = await sent(f"{{tokens: {prompt + SHORTEST_REPLY - 1}}}")
    ended_by_its_budget(outcome)
    assert outcome.calls == []


async def test_a_reply_whose_length_the_document_says_does_not_shrink() -> None:
    limits = ", extra: {max_completion_tokens: 500}", ", extra: {extra_body: {max_tokens: 500}}"
    for said in (", max_tokens: 500", *limits, ", max_tokens: 5, extra: {generationConfig: {maxOutputTokens: 500}}"):
        outcome = await sent("{tokens: 400}", llm=said)
        ended_by_its_budget(outcome)
        assert outcome.calls == []
        assert (await sent("{tokens: 1400}", llm=said)).result.status == "succeeded"


async def test_several_replies_to_one_call_are_reserved_as_several() -> None:
    outcome = await sent("{tokens: 10000}", llm=", max_tokens: 1000, extra: {n: 9}")
    assert outcome.result.status == "succeeded"
    for extra in ("n: 10", "extra_body: {n: 10}"):
        ended_by_its_budget(await sent("{tokens: 10000}", llm=f", max_tokens: 1000, extra: {{{extra}}}"))


async def test_free_models_keep_a_limit_on_money_and_are_called_as_ever() -> None:
    async def free(call: ModelCall, prompt: int) -> Terms:
        return Terms(FREE)

    outcome = await sent("{usd: 0.01}", free)
    assert (outcome.result.status, outcome.calls[0].settings.max_tokens) == ("succeeded", None)


async def test_without_a_price_no_call_is_made_under_a_limit_on_money() -> None:
    outcome = await sent("{usd: 100, tokens: 100000}")
    assert "the price of openai/m isn't known" in ended_by_its_budget(outcome)
    assert outcome.calls == []


async def test_canned_replies_cost_nothing() -> None:
    """A document's tests need not reckon with its budget, but for the number of calls."""
    outcome = await run(one("{usd: 0.01, tokens: 10}"))
    assert outcome.result.status == "succeeded"
    ended_by_its_budget(await run(one("{model_calls: 1}", after="- {id: b, prompt: go, outputs: [b]}")))


# ---- what is recorded


async def test_a_reservation_is_recorded_before_each_call() -> None:
    outcome = await sent("{tokens: 10000}", llm=", max_tokens: 100")
    [reserved], [called] = outcome.of(ModelReserved), outcome.of(ModelCalled)
    assert (reserved.provider, reserved.model, reserved.usd) == ("openai", "m", None)
    assert reserved.tokens == prompt_bound(outcome.calls[0]) + 100
    assert outcome.events.index(reserved) < outcome.events.index(called)
    [started] = outcome.of(StepStarted)
    assert (started.provider, started.model, started.reserves) == ("openai", "m", True)


async def test_without_a_budget_nothing_is_reserved() -> None:
    outcome = await run(document("a b"))
    assert outcome.of(ModelReserved) == []
    assert [started.reserves for started in outcome.of(StepStarted)] == [False, False]


class Hanging:
    """Never answers the first, and answers the others at once."""

    def __init__(self) -> None:
        self.calls = 0

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        self.calls += 1
        if self.calls == 1:
            await asyncio.Event().wait()
        return ModelReply("done", Usage(0, 1), None)


async def test_a_call_that_was_cut_off_counts_as_it_was_reserved() -> None:
    text = one(
        f"{{tokens: {2 * 100 + 2 * 74}}}",
        llm="provider: openai, model: m, max_tokens: 100",
        node=", timeout: 0.05, on_error: continue",
        after="- {id: b, prompt: go, outputs: [b], llm: {provider: openai, model: m, max_tokens: 101}}",
    )
    outcome = await run(text, model=Hanging(), terms=unpriced)
    assert "it needs 175, and 174 is left" in (outcome.result.error.message if outcome.result.error else "")
    assert len(outcome.calls) == 1


async def test_a_refused_call_has_taken_nothing_but_itself() -> None:
    async def refusing(call: ModelCall) -> str:
        if call.node == "a":
            raise ModelRefused("no", provider="openai", model="m")
        return "b"

    text = one("{tokens: 200}", node=", on_error: continue", after="- {id: b, prompt: go, outputs: [b]}")
    outcome = await run(text, model=Answering(refusing), terms=unpriced)
    assert (outcome.result.status, outcome.result.outputs) == ("succeeded", {"b": "b"})


# ---- on the wire


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_fifty_items_of_a_priced_model_cost_no_more_than_allowed(*, stream: bool) -> None:
    """$1 and $5 per million tokens: 200 out of 1,000 tokens of prompts and 1,000 of a reply at most."""
    llm = "provider: anthropic, model: claude-haiku-4-5, max_tokens: 1000, api_base: '{url}'"
    async with anthropic_server([Text("done", 50, 1000)]) as server, open_models({}) as models:
        text = many("{usd: 0.0520}", llm=llm.replace("{url}", server.url))
        outcome = await run(text, {"items": ITEMS}, model=models, terms=models.terms, stream=stream)
        ended_by_its_budget(outcome)
        spent = sum(call.cost_usd or 0 for call in outcome.of(ModelCalled))
        assert Decimal("0.0450") < spent <= Decimal("0.0520")
        assert len(server.requests) == 10


async def test_a_stream_that_breaks_counts_as_it_was_reserved() -> None:
    def breaking(_: Any) -> Behaviour:
        return CutStream(after=2)

    async with openai_server(breaking) as server, open_models({}) as models:
        llm = f"provider: hosted_vllm, model: m, max_tokens: 100, api_base: '{server.url}'"
        text = many(f"{{tokens: {10 * (BOUND + 100)}}}", llm=llm, node=", retry: 0", parallel=", on_item_error: skip")
        outcome = await run(text, {"items": ITEMS}, model=models, terms=models.terms, stream=True)
        assert outcome.result.error is not None
        assert outcome.result.error.code == "budget_exceeded"
        assert len(server.requests) == 10


async def test_waiting_for_what_others_leave_over_is_no_time_of_the_step() -> None:
    """Three calls fit side by side, so that the last ones wait for longer than a step may take."""

    async def answer(_: ModelCall) -> ModelReply:
        await asyncio.sleep(0.05)  # a third of the time that the step has
        return ModelReply("done", Usage(10, 5, 0), Decimal(0))

    async def free(_: ModelCall, __: int) -> Terms:
        return Terms(FREE)

    node = "- {id: each, prompt: '{item}', outputs: [texts], timeout: 0.15, retry: 0, llm: {max_tokens: 1000}}"
    edges = """
    - {from: START, parallel: {items_field: items, target_node: each, collect_field: texts, on_item_error: skip}}
    - {from: each, to: END}
    """
    fields = "items: {type: 'list[int]', required: true}\ntexts: list[str]"
    text = document("", edges, fields=fields, nodes=node, config="budget: {tokens: 3500}")
    outcome = await run(text, {"items": list(range(24))}, model=Answering(answer), terms=free)
    assert outcome.result.outputs == {"texts": ["done"] * 24}


async def test_a_call_that_a_bug_ends_is_reported_and_holds_up_no_other() -> None:
    async def answer(_: ModelCall) -> str:
        raise RuntimeError("a bug")

    events: list[Event] = []
    node = "- {id: a, prompt: a, outputs: [a], llm: {provider: openai, model: m}}"
    graph = compiled(document("", fields="a: str", nodes=node, config="budget: {model_calls: 5}"))
    with pytest.raises(RuntimeError):
        await run_workflow(graph, {}, run_id="r", model=Answering(answer), emit=events.append)
    (call,) = [event for event in events if isinstance(event, ModelCalled)]
    assert call.error is not None
    assert (call.error.code, call.cost_usd) == ("internal_error", None)
