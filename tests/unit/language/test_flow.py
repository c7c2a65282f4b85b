from __future__ import annotations

import pytest

from flowyard.language.flow import Flow
from flowyard.language.values.expressions import parse_expression
from flowyard.language.values.templates import parse_template
from flowyard.language.workflow import (
    END,
    START,
    Goto,
    Loop,
    Map,
    ModelSettings,
    Next,
    PromptNode,
    Route,
    Routes,
    Way,
)

TRUE = parse_expression("true")


def flow(ways: dict[str, Way], **gotos: str) -> Flow:
    """The flow of these ways; `gotos` are the nodes that go elsewhere on an error."""
    return Flow({name: node(name, gotos.get(name)) for name in ways if name != START}, ways)


def node(name: str, goto: str | None) -> PromptNode:
    on_error = Goto(goto) if goto else "fail"
    return PromptNode(name, parse_template("x"), (), ModelSettings("local", "m"), on_error=on_error)  # type: ignore[arg-type]


def fork() -> Flow:
    """a → (b → d | c) → e → END"""
    return flow(
        {
            START: Next(("a",)),
            "a": Next(("b", "c")),
            "b": Next(("d",)),
            "c": Next(("e",)),
            "d": Next(("e",)),
            "e": Next((END,)),
        }
    )


def loop() -> Flow:
    """a → b → a … → c → END"""
    return flow({START: Next(("a",)), "a": Next(("b",)), "b": Loop("a", TRUE, 3, "c"), "c": Next((END,))})


@pytest.mark.parametrize(
    ("a", "b", "together"),
    [("b", "c", True), ("d", "c", True), ("c", "d", True), ("b", "d", False), ("b", "e", False), ("a", "c", False)],
)
def test_nodes_are_parallel_in_different_branches_of_a_fork(a: str, b: str, *, together: bool) -> None:
    assert fork().parallel(a, b) is together


def test_routes_are_no_fork() -> None:
    routes = Routes((Route(TRUE, "b"),), "c")
    either = flow({START: Next(("a",)), "a": routes, "b": Next((END,)), "c": Next((END,))})
    assert not either.parallel("b", "c")


def test_a_branch_that_ends_is_no_branch() -> None:
    assert flow({START: Next(("a", END)), "a": Next((END,))}).forks == ()


def test_a_loop_counts_so_it_is_bounded() -> None:
    assert list(loop().unbounded()) == []


@pytest.mark.parametrize(
    ("ways", "gotos", "closing"),
    [
        ({START: Next(("a",)), "a": Next(("a",))}, {}, ("a", "a")),
        ({START: Next(("a",)), "a": Next(("b",)), "b": Routes((Route(TRUE, "a"),), END)}, {}, ("b", "a")),
        ({START: Next(("a",)), "a": Next(("b",)), "b": Next((END,))}, {"b": "a"}, ("b", "a")),
        ({START: Next(("a",)), "a": Loop("a", TRUE, 3, "b"), "b": Next(("a",))}, {}, ("b", "a")),
    ],
    ids=["itself", "a route", "an error", "around a loop"],
)
def test_a_cycle_that_nothing_counts_is_found(
    ways: dict[str, Way], gotos: dict[str, str], closing: tuple[str, str]
) -> None:
    assert list(flow(ways, **gotos).unbounded()) == [closing]


def test_going_forward_leaves_out_the_way_back_of_a_loop() -> None:
    assert loop().forward_from("b") == {"b", "c", END}
    assert loop().reached_from("b") == {"a", "b", "c", END}
    assert loop().forward_from("nobody") == frozenset()


def test_what_runs_before_a_node_counts_the_turns_of_a_loop() -> None:
    before = loop().comes_before()
    assert before["a"] == {START, "a", "b"}
    assert before["c"] == {START, "a", "b"}
    assert fork().comes_before()["d"] == {START, "a", "b"}
    assert fork().comes_before()["d."] == {START, "a", "b", "d"}


def test_only_nodes_with_a_way_to_the_end_reach_it() -> None:
    stuck = flow({START: Next(("a", "b")), "a": Next((END,)), "b": Map("c", "xs", "ys"), "c": Next(("b",))})
    assert stuck.reaching_end() == {START, "a", END}


def test_an_errors_way_out_counts_as_a_way() -> None:
    rescued = flow({START: Next(("a",)), "a": Next((END,)), "b": Next((END,))}, a="b")
    assert rescued.reached_from(START) == {START, "a", "b", END}
    assert list(rescued.sources_of("b")) == ["a"]
