"""What the branches of a run see of each other, and how their writes come together where they meet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from flowyard.errors.steps import ModelRefused
from flowyard.graph.tasks import Together
from flowyard.llm.calls import ModelCall
from support.waiting import eventually
from support.workflows import Answering, Outcome, document, run

_TRAIL = "trail: {type: 'list[str]', reduce: append, default: []}"


def trail(names: str, edges: str, *, prompts: Mapping[str, str] | None = None) -> str:
    """A document whose nodes append their names to the field `trail`."""
    texts = {name: (prompts or {}).get(name, name) for name in names.split()}
    nodes = "\n".join(f"- {{id: {name}, prompt: '{text}', outputs: [trail]}}" for name, text in texts.items())
    return document("", edges, fields=_TRAIL, nodes=nodes)


async def run_in_order(text: str, order: Sequence[str]) -> Outcome:
    """The calls of these nodes are answered one after the other; those of others at once."""
    answered: list[str] = []
    changed = asyncio.Condition()

    async def answer(call: ModelCall) -> str:
        async with changed:
            if call.node in order:
                await changed.wait_for(lambda: answered == list(order[: order.index(call.node)]))
                answered.append(call.node)
                changed.notify_all()
        return call.node

    async with asyncio.timeout(10):
        outcome = await run(text, model=Answering(answer))
    assert outcome.result.status == "succeeded", outcome.result.error
    return outcome


THREE = """
- {from: START, to: s}
- {from: s, to: [a, b, c]}
- {from: [a, b, c], to: j}
- {from: j, to: END}
"""


async def test_writes_merge_in_the_order_of_the_branches_whichever_ends_first() -> None:
    for order in ("abc", "cba", "bca"):
        outcome = await run_in_order(trail("s a b c j", THREE), order)
        assert outcome.result.state["trail"] == ["s", "a", "b", "c", "j"]


async def test_the_order_is_that_in_which_the_document_names_the_branches() -> None:
    outcome = await run_in_order(trail("s a b c j", THREE.replace("[a, b, c]", "[c, a, b]")), "abc")
    assert outcome.result.state["trail"] == ["s", "c", "a", "b", "j"]


async def test_within_a_branch_writes_keep_their_order() -> None:
    edges = """
    - {from: START, to: [a1, b1]}
    - {from: a1, to: a2}
    - {from: b1, to: b2}
    - {from: [a2, b2], to: j}
    - {from: j, to: END}
    """
    outcome = await run_in_order(trail("a1 a2 b1 b2 j", edges), ["b1", "a1", "b2", "a2"])
    assert outcome.result.state["trail"] == ["a1", "a2", "b1", "b2", "j"]


async def test_branches_that_meet_take_the_place_of_the_first_of_them() -> None:
    """The first and the last of three branches meet before the second ends."""
    edges = """
    - {from: START, to: [a, b, c]}
    - {from: [a, c], to: j}
    - {from: [j, b], to: z}
    - {from: z, to: END}
    """
    outcome = await run_in_order(trail("a b c j z", edges), ["c", "a", "j", "b"])
    assert outcome.result.state["trail"] == ["a", "c", "j", "b", "z"]


async def test_what_was_written_before_branches_parted_is_merged_once_where_some_of_them_meet() -> None:
    edges = """
    - {from: START, to: [a, x]}
    - {from: a, to: [b, c]}
    - {from: [b, c], to: j}
    - {from: [j, x], to: z}
    - {from: z, to: END}
    """
    outcome = await run_in_order(trail("a b c j x z", edges, prompts={"j": "{trail}"}), ["b", "c", "j", "x"])
    assert outcome.prompts_of("j") == ['["a", "b", "c"]']
    assert outcome.result.state["trail"] == ["a", "b", "c", "j", "x", "z"]


async def test_neither_a_step_nor_a_join_sees_what_a_branch_beside_has_written() -> None:
    """`x` has written long before, but doesn't lead to them."""
    edges = """
    - {from: START, to: [x, a]}
    - {from: x, to: y}
    - {from: a, to: [b, c]}
    - {from: [b, c], to: j}
    - {from: [y, j], to: z}
    - {from: z, to: END}
    """
    text = trail("x y a b c j z", edges, prompts=dict.fromkeys("bjz", "{trail}"))
    outcome = await run_in_order(text, ["x", "a", "b", "c", "j", "y"])
    assert outcome.prompts_of("b") == ['["a"]']
    assert outcome.prompts_of("j") == ['["a", "b", "c"]']
    assert outcome.prompts_of("z") == ['["x", "y", "a", "b", "c", "j"]']


async def test_a_loop_in_one_branch_decides_by_what_its_own_branch_has_written() -> None:
    edges = """
    - {from: START, to: [x, a]}
    - {from: a, loop: {to: a, until: "len(trail) >= 2", max_iterations: 5, exit_to: z}}
    - {from: x, to: z}
    - {from: z, to: END}
    """
    outcome = await run_in_order(trail("x a z", edges), ["x"])
    assert outcome.result.state["trail"] == ["x", "a", "a", "z"]


async def test_a_join_waits_for_a_branch_that_stands_at_another_join() -> None:
    """`j` has both its branches when nothing but a third one leads to `z`'s other side."""
    edges = """
    - {from: START, to: [a, b, c, d]}
    - {from: [a, b], to: j}
    - {from: [c, d], to: k}
    - {from: [j, k], to: z}
    - {from: z, to: END}
    """
    outcome = await run_in_order(trail("a b c d j k z", edges), ["a", "c", "b", "j", "d", "k"])
    assert outcome.path.count("z") == 1
    assert outcome.result.state["trail"] == ["a", "b", "j", "c", "d", "k", "z"]


async def test_a_join_in_a_loop_does_not_wait_for_a_branch_that_only_the_next_turn_leads_there() -> None:
    """`p` is at work until `j` is done."""
    edges = """
    - {from: START, to: s}
    - {from: s, to: [a, b, p]}
    - {from: [a, b], to: j}
    - {from: [j, p], to: k}
    - {from: k, loop: {to: s, until: "iterations('k') >= 2", max_iterations: 2, exit_to: END}}
    """
    rounds = {"j": asyncio.Event()}

    async def answer(call: ModelCall) -> str:
        if call.node == "p":
            await rounds["j"].wait()
        if call.node == "j":
            rounds["j"].set()
        if call.node == "k":
            rounds["j"] = asyncio.Event()
        return call.node

    async with asyncio.timeout(10):
        outcome = await run(trail("s a b j p k", edges), model=Answering(answer))
    assert outcome.result.state["trail"] == [*"sabjpk", *"sabjpk"]


async def test_a_join_waits_for_a_branch_that_can_come_there_by_another_turn_of_its_loop() -> None:
    """`l` leads on to END, or back to `t`, which leads to the join."""
    edges = """
    - {from: START, to: [t, x]}
    - {from: t, routes: [{if: "iterations('l') >= 1", to: z}, {default: l}]}
    - {from: l, loop: {to: t, until: "iterations('l') >= 5", max_iterations: 5, exit_to: END}}
    - {from: x, to: z}
    - {from: z, to: END}
    """
    answered: list[str] = []

    async def answer(call: ModelCall) -> str:
        if call.node == "l":
            await eventually(lambda: "x" in answered)
            await asyncio.sleep(0.05)  # time for `z` to begin too early
        answered.append(call.node)
        return call.node

    outcome = await run(trail("t l x z", edges), model=Answering(answer))
    assert sorted(answered) == ["l", "t", "t", "x", "z"]
    assert outcome.result.state["trail"] == ["t", "l", "t", "x", "z"]


async def test_of_two_joins_that_wait_for_each_other_the_first_one_goes_on() -> None:
    """Each leads to the other, by a turn of a loop beside it."""
    edges = """
    - {from: START, to: [t, u, x, y]}
    - {from: t, routes: [{if: "len(trail) < 9", to: q}, {default: l}]}
    - {from: u, routes: [{if: "len(trail) < 9", to: p}, {default: m}]}
    - {from: x, to: p}
    - {from: y, to: q}
    - {from: p, to: l}
    - {from: q, to: m}
    - {from: l, loop: {to: t, until: "len(trail) > 0", max_iterations: 3, exit_to: END}}
    - {from: m, loop: {to: u, until: "len(trail) > 0", max_iterations: 3, exit_to: END}}
    """
    outcome = await run_in_order(trail("t u x y p q l m", edges), [])
    assert sorted(outcome.path) == sorted("tuxypqlm")


async def test_a_failed_run_has_what_its_branches_wrote_in_the_order_of_the_document() -> None:
    edges = """
    - {from: START, to: [a, b, c]}
    - {from: [a, b, c], to: z}
    - {from: z, to: END}
    """
    written: list[str] = []

    async def answer(call: ModelCall) -> str:
        before = {"c": [], "a": ["c"], "b": ["c", "a"]}[call.node]
        await eventually(lambda: written == before)
        if call.node == "b":
            await asyncio.sleep(0.01)  # time for the result of the step before
            raise ModelRefused("no", provider="p", model="m")
        written.append(call.node)
        return call.node

    outcome = await run(trail("a b c z", edges), model=Answering(answer))
    assert outcome.result.outputs == {"trail": ["a", "c"]}


async def test_a_branch_that_would_begin_while_the_run_fails_does_not_begin() -> None:
    together = Together()

    async def adding() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            together.add(failing())

    async def failing() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await together.run([adding(), failing()])
