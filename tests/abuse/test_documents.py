"""Documents that are small and cost much: aliases that expand, and flows whose checks would take the square of time."""

from __future__ import annotations

import tracemalloc

import pytest

from flowyard.language.load import load_text
from support.campaigns import Campaigns
from support.holding import held_s

FEW_BYTES = 40_000_000
HEAD = """\
flow: {name: big}
state: {fields: {t: {type: any, required: true}, p: {type: list, reduce: append}, ok: {type: bool, default: false}}}
"""
LONG = "y" * 50_000
ALIASES = ", ".join(["*x"] * 400)


@pytest.mark.parametrize(
    ("what", "text", "line"),
    [
        ("a default", f"{HEAD}tests:\n  - {{name: a, inputs: {{t: [&x '{LONG}', {ALIASES}]}}}}\n", 4),
        (
            "prompts",
            f"{HEAD}nodes:\n  - {{id: n, outputs: [p], prompt: &x '{LONG}'}}\n"
            + "".join(f"  - {{id: n{i}, outputs: [p], prompt: *x}}\n" for i in range(400)),
            23,
        ),
        (
            "aliases of aliases",
            f"{HEAD}nodes:\n  - &a {{k: '{LONG}'}}\n  - &b [*a, *a, *a, *a, *a]\n  - &c [*b, *b, *b, *b, *b]\n",
            6,
        ),
        ("merged mappings", f"{HEAD}nodes:\n  - &x {{k: '{LONG}'}}\n" + "  - {<<: *x}\n" * 400, 23),
        ("keys", f"{HEAD}nodes:\n  - &x {{{LONG[:1000]}: 1}}\n" + "  - *x\n" * 1000, 1003),
    ],
)
def test_what_aliases_stand_for_counts_and_takes_no_memory(
    campaign: Campaigns, what: str, text: str, line: int
) -> None:
    with campaign("aliases that expand").attempt(what):
        tracemalloc.start()
        try:
            problems = load_text(text, "d.yaml").problems
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert [(p.code, p.position.line) for p in problems] == [("document-too-large", line)]
        assert "aliases counted" in problems[0].message
        assert peak < FEW_BYTES


def own_fields(count: int) -> str:
    fields = "".join(f"    f{i}: str\n" for i in range(count))
    nodes = "".join(f"  - {{id: n{i}, prompt: 'On {{t}}', outputs: [f{i}]}}\n" for i in range(count))
    return f"flow: {{name: big}}\nstate:\n  fields:\n    t: {{type: str, required: true}}\n{fields}nodes:\n{nodes}"


def branches(count: int) -> str:
    names = [f"n{i}" for i in range(count)]
    several = ", ".join(names[:-1])
    nodes = "".join(f"  - {{id: {name}, set: {{p: a}}}}\n" for name in names)
    fork = f"  - {{from: START, to: [{several}]}}\n  - {{from: [{several}], to: {names[-1]}}}\n"
    return f"{HEAD}nodes:\n{nodes}edges:\n{fork}  - {{from: {names[-1]}, to: END}}\n"


def nested_loops(count: int) -> str:
    nodes = "".join(f"  - {{id: n{i}, set: {{p: a}}}}\n" for i in range(count))
    half = count // 2
    edges = "".join(f"  - {{from: n{i}, to: n{i + 1}}}\n" for i in range(half))
    back = "".join(
        f"  - {{from: n{i}, loop: {{to: n{count - 1 - i}, condition_field: ok, max_iterations: 2, exit_to: "
        f"{f'n{i + 1}' if i < count - 1 else 'END'}}}}}\n"
        for i in range(half, count)
    )
    # The node in the middle begins the first loop, and has no other edge.
    edges = edges.removesuffix(f"  - {{from: n{half}, to: n{half + 1}}}\n")
    return f"{HEAD}nodes:\n{nodes}edges:\n  - {{from: START, to: n0}}\n{edges}{back}"


@pytest.mark.parametrize("shape", [own_fields, branches, nested_loops], ids=lambda shape: shape.__name__)
def test_a_document_is_checked_in_time_in_proportion_to_its_nodes(campaign: Campaigns, shape: object) -> None:
    assert callable(shape)
    small, large = shape(240), shape(960)
    assert [p for p in load_text(large, "d.yaml").problems if p.severity == "error"] == []
    with campaign("documents with many nodes").attempt(getattr(shape, "__name__", shape)):
        quick = held_s(lambda: load_text(small, "d.yaml"))
        slow = held_s(lambda: load_text(large, "d.yaml"))
        # Four times as many nodes: the square would be 16.
        assert slow < 10 * quick, f"{quick:.3f} s, {slow:.3f} s"
        assert slow < 1.5
