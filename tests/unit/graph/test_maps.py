"""A node once per item of a list, and the results in the order of the items."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from typing import Any

import pytest

from flowyard.errors.steps import ProviderError
from flowyard.graph.maps import MOST_AT_ONCE
from flowyard.graph.results import digest_of
from flowyard.llm.calls import ModelCall
from flowyard.runs.events import StepFailed, StepFinished, StepStarted
from support.waiting import eventually
from support.workflows import Answering, document, run

_FIELDS = "items: {type: list, required: true}\nout: list\none: str"
_WORK = "- {id: work, prompt: 'do {item}', outputs: [one], retry: 0}"


def _map(options: str = "", *, after: str = "END", names: str = "", edges: str = "") -> str:
    return document(
        names,
        f"""
        - {{from: START, parallel: {{items_field: items, target_node: work, collect_field: out{options}}}}}
        - {{from: work, to: {after}}}
        {edges}
        """,
        fields=_FIELDS,
        nodes=_WORK,
    )


async def _echo(call: ModelCall) -> str:
    return call.messages[-1].text.removeprefix("do ")


async def test_results_come_in_the_order_of_the_items_although_later_ones_finish_first() -> None:
    finished: list[str] = []
    order = ["10", "3", "2", "1"]

    async def last_first(call: ModelCall) -> str:
        item = await _echo(call)
        await eventually(lambda: finished == order[: order.index(item)])
        finished.append(item)
        return item

    outcome = await run(_map(), {"items": [1, 2, 3, 10]}, model=Answering(last_first))
    assert finished == order
    assert outcome.result.outputs == {"out": ["1", "2", "3", "10"]}


async def test_more_than_ten_results_are_ordered_by_number() -> None:
    items = [str(i) for i in range(25)]
    outcome = await run(_map(), {"items": items}, model=Answering(_echo))
    assert outcome.result.outputs["out"] == items
    assert [event.step.item for event in outcome.of(StepStarted)] == list(range(25))


async def test_an_empty_list_goes_straight_on() -> None:
    outcome = await run(_map(after="z", names="z", edges="- {from: z, to: END}"), {"items": []})
    assert outcome.path == ["z"]
    assert outcome.result.outputs == {"z": "z", "out": []}


async def test_a_list_that_was_never_written_is_an_empty_one() -> None:
    text = document(
        "a",
        """
        - {from: START, to: a}
        - {from: a, parallel: {items_field: items, target_node: work, collect_field: out}}
        - {from: work, to: END}
        """,
        fields="items: {type: 'list | null', default: null}\nout: list\none: str",
        nodes=_WORK,
    )
    assert (await run(text)).path == ["a"]


async def test_what_is_no_list_fails_the_run() -> None:
    outcome = await run(_map().replace("items: {type: list", "items: {type: any"), {"items": "abc"})
    assert outcome.result.error is not None
    assert outcome.result.error.code == "expression_error"
    assert "not a list" in outcome.result.error.message


@pytest.mark.parametrize("most", [1, 3])
async def test_max_concurrency_is_reached_and_never_exceeded(most: int) -> None:
    active = peak = 0

    async def counting(call: ModelCall) -> str:
        nonlocal active, peak
        active += 1
        peak = max(peak, active)
        await eventually(lambda: peak >= most)
        await asyncio.sleep(0)
        active -= 1
        return "x"

    outcome = await run(_map(f", max_concurrency: {most}"), {"items": list(range(10))}, model=Answering(counting))
    assert peak == most
    assert len(outcome.result.outputs["out"]) == 10


async def test_without_max_concurrency_all_items_run_at_once() -> None:
    together = asyncio.Barrier(8)

    async def meeting(call: ModelCall) -> str:
        await together.wait()
        return "x"

    async with asyncio.timeout(5):
        await run(_map(), {"items": list(range(8))}, model=Answering(meeting))


async def _fails_at_two(call: ModelCall) -> str:
    item = await _echo(call)
    if item == "2":
        raise ProviderError("down", provider="p", model="m")
    return item


async def test_a_long_list_is_worked_on_by_a_bounded_number_of_workers() -> None:
    """Also where the document sets no limit."""
    at_work, most, all_at_work = 0, 0, asyncio.Event()

    async def answer(call: ModelCall) -> str:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        if at_work == MOST_AT_ONCE:
            all_at_work.set()
        await all_at_work.wait()
        await asyncio.sleep(0.01)  # a worker too many would begin in this time
        at_work -= 1
        return await _echo(call)

    items = [str(i) for i in range(MOST_AT_ONCE + 50)]
    outcome = await run(_map(), {"items": items}, model=Answering(answer))
    assert outcome.result.outputs["out"] == items
    assert most == MOST_AT_ONCE


async def test_a_failed_item_fails_the_run_by_default() -> None:
    outcome = await run(_map(), {"items": [1, 2, 3]}, model=Answering(_fails_at_two))
    assert outcome.result.error is not None
    assert (outcome.result.error.code, outcome.result.error.node) == ("provider_error", "work")


async def test_a_failed_item_can_be_skipped() -> None:
    outcome = await run(_map(", on_item_error: skip"), {"items": [1, 2, 3]}, model=Answering(_fails_at_two))
    assert outcome.result.outputs == {"out": ["1", "3"]}
    assert [(str(e.step), e.handled) for e in outcome.of(StepFailed)] == [("work[1]", "skip")]


async def test_a_failed_item_can_be_collected_as_its_error() -> None:
    outcome = await run(_map(", on_item_error: collect"), {"items": [1, 2, 3]}, model=Answering(_fails_at_two))
    error = {"error": "provider_error", "message": "p/m: down"}
    assert outcome.result.outputs == {"out": ["1", error, "3"]}


@pytest.mark.parametrize("limit", ["min_items: 3", "max_items: 1"])
@pytest.mark.parametrize(("kind", "outputs"), [("list[str]", "one"), ("list[str]", "out"), ("list[str] | null", "out")])
async def test_what_a_map_collected_has_the_limits_of_its_field(limit: str, kind: str, outputs: str) -> None:
    text = _map(", on_item_error: skip").replace("out: list", f"out: {{type: '{kind}', {limit}}}")
    text = text.replace("outputs: [one]", f"outputs: [{outputs}]")
    outcome = await run(text, {"items": [1, 2, 3]}, model=Answering(_fails_at_two))
    assert outcome.result.error is not None
    assert (outcome.result.error.code, outcome.result.error.node) == ("invalid_output", "work")
    least_or_most = "at least 3" if "min" in limit else "at most 1"
    assert outcome.result.error.message == f"out: must have {least_or_most} items, not 2"
    assert len(outcome.of(StepFinished)) == 2


async def test_what_a_map_collected_has_the_type_of_its_field() -> None:
    text = _map().replace("out: list", "out: list[int]").replace("one: str", "one: any")
    outcome = await run(text, {"items": ["a", "b"]}, {"work": ["1", '"two"']})
    assert outcome.result.error is not None
    assert outcome.result.error.message == "out[1]: expected int, got str 'two'"
    outcome = await run(text, {"items": ["a", "b"]}, {"work": ["1", "2"]})
    assert outcome.result.outputs == {"out": [1, 2]}


async def test_several_outputs_of_an_item_are_collected_as_one_object() -> None:
    text = _map().replace("outputs: [one]", "outputs: [one, two]").replace("one: str", "one: str\n    two: int")
    outcome = await run(text, {"items": ["a", "b"]}, {"work": [{"one": "x", "two": 1}, {"one": "y", "two": 2}]})
    assert outcome.result.outputs == {"out": [{"one": "x", "two": 1}, {"one": "y", "two": 2}]}
    assert outcome.result.state["one"] is None


async def test_an_item_may_be_an_object_that_the_prompt_steps_into() -> None:
    text = _map(", item: who").replace("do {item}", "do {who.name}")
    outcome = await run(text, {"items": [{"name": "Ada"}, {"name": "Alan"}]})
    assert outcome.prompts_of("work") == ["do Ada", "do Alan"]


async def test_a_map_inside_a_loop_starts_an_empty_list_in_each_turn() -> None:
    text = document(
        "j",
        """
        - {from: START, to: plan}
        - {from: plan, parallel: {items_field: items, target_node: work, collect_field: out}}
        - {from: work, to: j}
        - {from: j, loop: {to: plan, until: "j == 'ok'", max_iterations: 3}}
        """,
        fields="items: list[str]\nout: list[str]\none: str",
        nodes=f"- {{id: plan, prompt: 'plan', outputs: [items]}}\n{_WORK}",
    )
    outcome = await run(text, replies={"plan": [["a", "b"], [], ["c"]], "work": ["A", "B", "C"]})
    assert [str(e.step) for e in outcome.of(StepStarted) if e.step.node == "work"] == [
        "work[0]",
        "work[1]",
        "work#3[0]",
    ]
    assert outcome.result.outputs["out"] == ["C"]


async def test_a_map_in_one_branch_of_a_fork_joins_with_the_other() -> None:
    text = document(
        "s a a2 a3 j",
        """
        - {from: START, to: s}
        - {from: s, to: [a, plan]}
        - {from: a, to: a2}
        - {from: a2, to: a3}
        - {from: plan, parallel: {items_field: items, target_node: work, collect_field: out, max_concurrency: 2}}
        - {from: [work, a3], to: j}
        - {from: j, to: END}
        """,
        fields="items: list[str]\nout: list[str]\none: str",
        nodes=f"- {{id: plan, prompt: 'plan', outputs: [items]}}\n{_WORK}",
    )
    outcome = await run(text, replies={"plan": ["one reply per call: a list"]})
    assert outcome.result.error is not None  # a text is no list[str]
    outcome = await run(text, replies={"plan": '["x", "y", "z"]'})
    assert Counter(outcome.path) == Counter(["s", "a", "plan", "a2", "work", "work", "work", "a3", "j"])
    assert outcome.path[-1] == "j"


async def test_two_maps_side_by_side_keep_their_results_apart() -> None:
    text = (
        document(
            "s j",
            """
        - {from: START, to: [pa, pb]}
        - {from: pa, parallel: {items_field: xs, target_node: wa, collect_field: outa}}
        - {from: pb, parallel: {items_field: ys, target_node: wb, collect_field: outb}}
        - {from: [wa, wb], to: j}
        - {from: j, to: END}
        """,
            fields="xs: list[str]\nys: list[str]\nouta: list[str]\noutb: list[str]\none: str",
            nodes="""
        - {id: pa, prompt: 'plan', outputs: [xs]}
        - {id: pb, prompt: 'plan', outputs: [ys]}
        - {id: wa, prompt: '{item}', outputs: [one]}
        - {id: wb, prompt: '{item}', outputs: [one]}
        """,
        )
        .replace("    s: str\n", "")
        .replace("  - {id: s, prompt: 'do s', outputs: [s]}\n", "")
    )
    outcome = await run(text, replies={"pa": '["1", "2"]', "pb": '["3"]', "wa": ["a1", "a2"], "wb": ["b3"]})
    assert outcome.result.outputs["outa"] == ["a1", "a2"]
    assert outcome.result.outputs["outb"] == ["b3"]
    assert outcome.path[-1] == "j"


async def test_a_map_can_go_on_by_routes_over_what_it_collected() -> None:
    text = document(
        "z",
        """
        - {from: START, parallel: {items_field: items, target_node: work, collect_field: out}}
        - {from: work, routes: [{if: "len(out) > 1 and contains(out, 'work')", to: z}, {default: END}]}
        - {from: z, to: END}
        """,
        fields=_FIELDS,
        nodes=_WORK,
    )
    assert (await run(text, {"items": [1, 2]})).path == ["work", "work", "z"]
    assert (await run(text, {"items": [1]})).path == ["work"]


async def test_a_map_can_extend_what_is_there() -> None:
    text = _map().replace("out: list", "out: {type: list, reduce: extend, default: [zero]}")
    outcome = await run(text, {"items": ["one"]}, model=Answering(_echo))
    assert outcome.result.outputs == {"out": ["zero", "one"]}


async def test_what_one_map_collects_the_next_one_can_go_through() -> None:
    text = document(
        "",
        """
        - {from: START, parallel: {items_field: items, target_node: work, collect_field: out}}
        - {from: work, parallel: {items_field: out, target_node: again, collect_field: end}}
        - {from: again, to: END}
        """,
        fields=f"{_FIELDS}\nend: list",
        nodes=f"{_WORK}\n- {{id: again, prompt: 're {{item}}', outputs: [one]}}",
    )
    outcome = await run(text, {"items": ["a", "b"]}, {"work": ["A", "B"], "again": ["x", "y"]})
    assert outcome.prompts_of("again") == ["re A", "re B"]
    assert outcome.result.outputs == {"out": ["A", "B"], "end": ["x", "y"]}


async def test_a_map_can_go_on_in_several_branches() -> None:
    edges = "- {from: [a, b], to: j}\n        - {from: j, to: END}"
    outcome = await run(_map(after="[a, b]", names="a b j", edges=edges), {"items": [1, 2]})
    assert outcome.path == ["work", "work", "a", "b", "j"]


@pytest.mark.parametrize("items", [[{"b": 1, "a": {"d": None, "c": "é"}}] * 40, [[{"b": [1], "a": 2.5}] * 30_000] * 3])
async def test_the_digest_of_items_is_that_of_their_json_however_large_they_are(items: list[Any]) -> None:
    """Runs of earlier releases have recorded it."""
    by_some = (json.dumps(items[start : start + 32], sort_keys=True) for start in range(0, len(items), 32))

    async def pause() -> None:
        pass

    assert await digest_of(items, pause) == hashlib.sha256("".join(by_some).encode()).hexdigest()
