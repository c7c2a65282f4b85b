"""What of a run is kept when it is run again with another revision, or with other inputs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

from flowyard.errors.steps import ProviderError
from flowyard.graph.fit import Fit, fit
from flowyard.language.inputs import valid_inputs
from support.blocks import Block, Writer, blocks
from support.recording import Paced, Recording, play
from support.workflows import compiled, document, load

TEXT = document(
    "",
    """
    - {from: START, to: s}
    - {from: s, to: [a, b]}
    - {from: a, to: a2}
    - {from: b, routes: [{if: "len(b) > 100", to: c}, {default: j}]}
    - {from: [a2, c], to: j}
    - {from: j, to: END}
    """,
    fields="""
    topic: {type: str, default: rain}
    mood: {type: str, default: dark}
    s: str
    a: str
    a2: str
    b: str
    c: str
    j: str
    """,
    nodes="""
    - {id: s, prompt: 'on {topic}', outputs: [s]}
    - {id: a, prompt: 'a after {s}', outputs: [a]}
    - {id: a2, prompt: 'a2 after {a}', outputs: [a2]}
    - {id: b, prompt: 'b in {mood}', outputs: [b]}
    - {id: c, prompt: 'c', outputs: [c]}
    - {id: j, prompt: 'j', outputs: [j]}
    """,
)

CHOOSING = TEXT.replace(
    "{from: START, to: s}", "{from: START, routes: [{if: \"topic == 'rain'\", to: s}, {default: j}]}"
)


async def fitted(new: str, inputs: dict[str, Any] | None = None, text: str = TEXT) -> tuple[set[str], set[str]]:
    """The steps that are kept, and those at which the new run leaves the old one."""
    recording = Recording()
    await play(compiled(text), recording, Paced({}, 1))
    old, workflow = load(text), load(new)
    result = fit((old, valid_inputs(old, {})), (workflow, valid_inputs(workflow, inputs or {})), dict(recording.steps))
    kept = {str(step.id) for step in result.kept if step.kind == "step"}
    return kept, {str(step) for step in result.leaves_at}


@pytest.mark.parametrize(
    ("change", "inputs", "kept", "leaves_at"),
    [
        (("", ""), {}, "s a a2 b j", ""),
        (("a2 after {a}", "a2 now after {a}"), {}, "s a b", "a2"),
        (("'a after {s}'", "'a, then {s}'"), {}, "s b", "a"),
        (("", ""), {"mood": "light"}, "s a a2", "b"),
        (("", ""), {"topic": "snow"}, "", "s"),
        (("len(b) > 100", "len(b) > 0"), {}, "s a a2 b", "c"),
        (("{id: a,", "{id: a, description: hm, timeout: 9, retry: 1, on_error: continue,"), {}, "s a a2 b j", ""),
        (("\n    a: str", "\n    a: 'str | null'"), {}, "s b", "a"),
        (("\n    a: str", "\n    a: {type: str, pattern: '.*'}"), {}, "s b", "a"),
        (("\n    a: str", "\n    a: {type: str, enum: [a, b]}"), {}, "s b", "a"),
        (("llm: {provider: scripted}", "llm: {provider: scripted, temperature: 0.5}"), {}, "", "s"),
    ],
)
async def test_what_does_the_same_with_the_same_values_is_kept(
    change: tuple[str, str], inputs: dict[str, Any], kept: str, leaves_at: str
) -> None:
    assert not change[0] or change[0] in TEXT
    new = TEXT.replace(*change) if change[0] else TEXT
    assert await fitted(new, inputs) == (set(kept.split()), set(leaves_at.split()))


async def test_a_map_is_kept_with_its_items_only_over_the_same_items() -> None:
    text = document(
        "",
        """
        - {from: START, parallel: {items_field: items, target_node: work, collect_field: all}}
        - {from: work, to: z}
        - {from: z, to: END}
        """,
        fields="items: {type: 'list[str]', default: [p, q]}\nall: 'list[str]'\nx: str\nz: str",
        nodes="- {id: work, prompt: '{item}', outputs: [x]}\n- {id: z, prompt: 'z', outputs: [z]}",
    )
    assert await fitted(text, text=text) == ({"work[0]", "work[1]", "z"}, set())
    assert await fitted(text, {"items": ["p", "r"]}, text=text) == (set(), {"work"})
    assert await fitted(text.replace("'z'", "'other'"), text=text) == ({"work[0]", "work[1]"}, {"z"})


async def test_a_choice_that_the_new_revision_makes_before_kept_steps_is_recorded_for_their_replay() -> None:
    """Also one that an older version made and didn't record."""
    old, new, recording = load(TEXT), load(CHOOSING), Recording()
    await play(compiled(TEXT), recording, Paced({}, 1))
    steps_alone = {id_: step for id_, step in recording.steps.items() if step.kind == "step"}
    for workflow, record in [(old, recording.steps), (new, steps_alone)]:
        result = fit((workflow, valid_inputs(workflow, {})), (new, valid_inputs(new, {})), record)
        model = Paced({}, 2)
        again = await play(compiled(CHOOSING), Recording({step.id: step for step in result.kept}), model)
        assert (again.status, model.calls) == ("succeeded", [])


def test_of_a_run_that_has_done_nothing_nothing_is_kept() -> None:
    new = load(CHOOSING)
    inputs = valid_inputs(new, {})
    assert fit((new, inputs), (new, inputs), {}).kept == ()


@given(blocks)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_of_the_same_workflow_everything_is_kept_and_can_be_replayed(block: Block) -> None:
    writer = Writer()
    text = json.dumps(writer.document(block))
    assume(writer.expected.total() < 100)
    failure = ProviderError("down", provider="p", model="m")
    replies = {node: failure if isinstance(reply, dict) else reply for node, reply in writer.replies.items()}
    recording, graph = Recording(), compiled(text)
    asyncio.run(play(graph, recording, Paced(replies, 1)))
    workflow = load(text)
    inputs = valid_inputs(workflow, {})
    result: Fit = fit((workflow, inputs), (workflow, inputs), recording.steps)
    assert result.leaves_at == ()
    assert {step.id: step for step in result.kept} == recording.steps
    model = Paced(replies, 2)
    again = asyncio.run(play(graph, Recording({step.id: step for step in result.kept}), model))
    assert (again.status, model.calls) == ("succeeded", [])
