"""What steps write, and the state of a run, have limits in bytes: what exceeds them is told, and not written."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from flowyard.graph.run import RunResult
from flowyard.graph.sizes import Sizes
from flowyard.steps.context import SizeLimits
from support.recording import Paced, Recording, play, walk_of
from support.workflows import compiled, document

_MAP = document(
    "",
    """
    - {from: START, parallel: {items_field: items, target_node: work, collect_field: out, on_item_error: ERROR}}
    - {from: work, to: END}
    """,
    fields="items: {type: list, default: [1, 2, 3, 4]}\nout: list\nwritten: str",
    nodes="- {id: work, prompt: 'do {item}', outputs: [written], retry: 0}",
)


def played(
    text: str, replies: dict[str, Any], sizes: SizeLimits, recording: Recording | None = None, **about: Any
) -> RunResult:
    return asyncio.run(play(compiled(text), recording or Recording(), Paced(replies, 0), sizes=sizes, **about))


CHAIN = document("a b c")


def test_a_step_that_writes_too_much_fails_and_says_how_much_and_which_setting() -> None:
    result = played(CHAIN, {"a": "x" * 10, "b": "y" * 999, "c": "z"}, SizeLimits(outputs=1000))
    assert (result.status, result.error and result.error.code) == ("failed", "outputs_too_large")
    assert result.error is not None
    assert result.error.node == "b"
    said = "the outputs of b have 1,001 bytes as JSON, more than the limit of 1,000 (FLOWYARD_OUTPUTS_LIMIT)"
    assert result.error.message == said
    # What was written before is still there.
    assert list(result.outputs.values()) == ["x" * 10]


def test_a_step_may_write_just_as_much_as_is_permitted() -> None:
    result = played(CHAIN, {"a": "x", "b": "y" * 998, "c": "z"}, SizeLimits(outputs=1000))
    assert result.status == "succeeded", result.error


def test_a_step_that_writes_too_many_lists_fails_and_says_how_many() -> None:
    text = document(
        "", fields="xs: {type: list, default: []}\na: list", nodes="- {id: a, set: {a: {expr: 'xs + xs + xs'}}}"
    )
    result = played(text, {}, SizeLimits(), inputs={"xs": [[]] * 50_000})
    message = "the outputs of a have 150,001 lists and objects; at most 125,000 are allowed"
    assert result.error is not None
    assert (result.error.code, result.error.message) == ("too_large", message)


def test_a_state_that_grows_too_large_fails_the_step_that_makes_it_so() -> None:
    result = played(CHAIN, {"a": "x" * 400, "b": "y" * 400, "c": "z" * 400}, SizeLimits(state=1000))
    assert (result.error and result.error.code, result.error and result.error.node) == ("state_too_large", "c")
    assert result.error is not None
    assert "with the outputs of c, 402 bytes as JSON, the run's state would have 1,2" in result.error.message
    assert "more than the limit of 1,000 (FLOWYARD_STATE_LIMIT)" in result.error.message


@pytest.mark.parametrize(("handled", "status"), [("fail", "failed"), ("skip", "succeeded")])
def test_the_results_of_a_map_count_while_it_is_at_work(handled: str, status: str) -> None:
    replies = {"work": "x" * 300}
    result = played(_MAP.replace("ERROR", handled), replies, SizeLimits(state=1000))
    assert result.status == status
    if handled == "fail":
        assert (result.error and result.error.code) == "state_too_large"
    else:
        assert len(result.outputs["out"]) == 3


def test_what_was_recorded_before_counts_as_what_is_written_now() -> None:
    replies = {"a": "x" * 400, "b": "y" * 400, "c": "z" * 400}
    whole, limits = Recording(), SizeLimits(state=1000)
    assert played(CHAIN, replies, SizeLimits(), whole).status == "succeeded"
    rows = [step for step in whole.steps.values() if step.node in ("a", "b")]
    again = Recording({step.id: step for step in rows})
    result = played(CHAIN, replies, limits, again)
    assert (result.error and result.error.code, result.error and result.error.node) == ("state_too_large", "c")


def test_sizes_are_those_of_the_state() -> None:
    async def sizes_after() -> tuple[Sizes, dict[str, Any]]:
        walk = walk_of(compiled(CHAIN), Recording(), Paced({}, 0))
        await walk.sizes.measure(walk.marking, walk.pause)
        return walk.sizes, walk.marking.state()

    sizes, state = asyncio.run(sizes_after())
    assert sizes.fields == {name: len(json.dumps(value)) for name, value in state.items()}
