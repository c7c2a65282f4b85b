"""A list in `from` together with routes, a loop, a map or a condition: branches meet, and then one choice is made."""

from __future__ import annotations

import pytest

from support.workflows import document, run

FORK = """
- {from: START, to: [a, b]}
- {from: b, to: b2}
"""


@pytest.mark.parametrize(
    "choice",
    [
        "- {from: [a, b2], routes: [{if: \"a == 'x' and b2 == 'x'\", to: c}, {default: d}]}",
        "- {from: [a, b2], condition: \"a == 'x' and b2 == 'x'\", to: c}\n- {from: [a, b2], to: d}",
    ],
    ids=["routes", "condition"],
)
@pytest.mark.parametrize(("reply", "chosen"), [("x", "c"), ("y", "d")])
async def test_a_join_chooses_once_and_sees_what_all_branches_wrote(choice: str, reply: str, chosen: str) -> None:
    text = document("a b b2 c d", f"{FORK}{choice}\n- {{from: c, to: END}}\n- {{from: d, to: END}}")
    outcome = await run(text, replies={"a": "x", "b": "x", "b2": reply, "c": "c", "d": "d"})
    assert outcome.path == ["a", "b", "b2", chosen]


async def test_a_join_may_loop_back_over_its_fork() -> None:
    text = document(
        "s a b c",
        """
        - {from: START, to: s}
        - {from: s, to: [a, b]}
        - {from: [a, b], loop: {to: s, until: "b == 'x'", max_iterations: 3, exit_to: c}}
        - {from: c, to: END}
        """,
    )
    outcome = await run(text, replies={"s": "s", "a": "a", "b": ["y", "x"], "c": "c"})
    assert outcome.path == ["s", "a", "b", "s", "a", "b", "c"]


async def test_a_join_may_go_on_with_a_map() -> None:
    text = document(
        "a b",
        """
        - {from: START, to: [a, b]}
        - {from: [a, b], parallel: {items_field: words, target_node: w, collect_field: found}}
        - {from: w, to: END}
        """,
        fields="words: {type: 'list[str]', default: [p, q]}\nfound: list\none: str",
        nodes="- {id: w, prompt: '{item}', outputs: [one]}",
    )
    outcome = await run(text, replies={"a": "a", "b": "b", "w": ["1", "2"]})
    assert outcome.result.outputs["found"] == ["1", "2"]


async def test_a_map_runs_over_the_list_as_its_own_branch_sees_it() -> None:
    """Another branch writes to the same list in the same moment; the items that were counted are those that run."""
    text = (
        document(
            "a",
            """
        - {from: START, to: [a, b]}
        - {from: b, parallel: {items_field: words, target_node: w, collect_field: found}}
        - {from: [a, w], to: END}
        """,
            fields="words: {type: 'list[str]', reduce: append}\nfound: list\none: str",
            nodes="- {id: b, prompt: b, outputs: [words]}\n- {id: a2, prompt: a, outputs: [words]}\n"
            "- {id: w, prompt: '{item}', outputs: [one]}",
        )
        .replace("to: [a, b]}", "to: [a, a2, b]}")
        .replace("from: [a, w]", "from: [a, a2, w]")
    )
    outcome = await run(text, replies={"a": "a", "a2": "other", "b": "mine", "w": "done"})
    assert outcome.prompts_of("w") == ["mine"]


async def test_after_an_item_has_failed_the_run_no_further_item_costs_anything() -> None:
    text = document(
        "a",
        """
        - {from: START, parallel: {items_field: words, target_node: w, collect_field: found, max_concurrency: 1}}
        - {from: w, to: END}
        """,
        fields="words: {type: 'list[str]', default: [p, q, r]}\nfound: list\none: str",
        nodes="- {id: w, prompt: '{item}', outputs: [one]}",
    ).replace("  - {id: a, prompt: 'do a', outputs: [a]}\n", "")
    outcome = await run(text, replies={"w": {"error": "model_refused"}})
    assert outcome.result.status == "failed"
    assert outcome.prompts_of("w") == ["p"]
