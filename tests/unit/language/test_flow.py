from __future__ import annotations

import random
from itertools import combinations

import pytest

from flowyard.language.flow import Flow, targets
from flowyard.language.nodes import Goto, ModelSettings, PromptNode
from flowyard.language.values.expressions import parse_expression
from flowyard.language.values.templates import parse_template
from flowyard.language.workflow import END, START, Loop, Map, Next, Route, Routes, Transition

TRUE = parse_expression("true")


def flow(transitions: dict[str, Transition], **gotos: str) -> Flow:
    """The flow of these transitions; `gotos` are the nodes that go elsewhere on an error."""
    return Flow({name: node(name, gotos.get(name)) for name in transitions if name != START}, transitions)


def node(name: str, goto: str | None) -> PromptNode:
    return PromptNode(
        id=name,
        prompt=parse_template("x"),
        settings=ModelSettings("local", "m"),
        on_error=Goto(goto) if goto else "fail",
    )


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
    assert (b in fork().parallel_to(a)) is together


def test_routes_are_no_fork() -> None:
    routes = Routes((Route(TRUE, "b"),), "c")
    either = flow({START: Next(("a",)), "a": routes, "b": Next((END,)), "c": Next((END,))})
    assert "c" not in either.parallel_to("b")


def test_a_branch_that_ends_is_no_branch() -> None:
    assert flow({START: Next(("a", END)), "a": Next((END,))}).forks == ()


def test_a_loop_counts_so_it_is_bounded() -> None:
    assert list(loop().unbounded_cycles()) == []


@pytest.mark.parametrize(
    ("transitions", "gotos", "closing"),
    [
        ({START: Next(("a",)), "a": Next(("a",))}, {}, ("a", "a")),
        ({START: Next(("a",)), "a": Next(("b",)), "b": Routes((Route(TRUE, "a"),), END)}, {}, ("b", "a")),
        ({START: Next(("a",)), "a": Next(("b",)), "b": Next((END,))}, {"b": "a"}, ("b", "a")),
        ({START: Next(("a",)), "a": Loop("a", TRUE, 3, "b"), "b": Next(("a",))}, {}, ("b", "a")),
    ],
    ids=["itself", "a route", "an error", "around a loop"],
)
def test_a_cycle_that_nothing_counts_is_found(
    transitions: dict[str, Transition], gotos: dict[str, str], closing: tuple[str, str]
) -> None:
    assert list(flow(transitions, **gotos).unbounded_cycles()) == [closing]


def test_going_forward_leaves_out_the_way_back_of_a_loop() -> None:
    assert [name for name in loop().names if loop().leads_to("b", name)] == ["b", "c"]
    assert loop().reached_from("b") == {"a", "b", "c", END}
    assert not loop().leads_to("nobody", "a")


def before(flow: Flow, name: str) -> set[str]:
    return {earlier for earlier in flow.names if flow.may_follow([earlier], name)}


def test_what_runs_before_a_node_counts_the_turns_of_a_loop() -> None:
    assert before(loop(), "a") == {START, "a", "b"}
    assert before(loop(), "c") == {START, "a", "b"}
    assert before(fork(), "d") == {START, "a", "b"}


def test_only_nodes_with_a_way_to_the_end_reach_it() -> None:
    stuck = flow({START: Next(("a", "b")), "a": Next((END,)), "b": Map("c", "xs", "ys"), "c": Next(("b",))})
    assert stuck.reaching_end() == {START, "a", END}


def test_an_errors_goto_counts_as_a_transition() -> None:
    rescued = flow({START: Next(("a",)), "a": Next((END,)), "b": Next((END,))}, a="b")
    assert rescued.reached_from(START) == {START, "a", "b", END}
    assert list(rescued.sources_of("b")) == ["a"]


def test_behind_a_join_there_is_one_branch() -> None:
    choice = Routes((Route(TRUE, "x"),), "y")
    transitions: dict[str, Transition] = {START: Next(("l", "r")), "l": Next(("j",)), "r": Next(("j",)), "j": choice}
    joined = flow({**transitions, "x": Next((END,)), "y": Next((END,))})
    assert joined.parallel_to("x") == frozenset()
    assert joined.parallel_to("l") == {"r"}


def test_a_branch_that_chose_another_way_is_not_waited_for() -> None:
    """START → (a → d | c), (b → c): while a's branch is at d, b's is at c."""
    choice = Routes((Route(TRUE, "d"),), "c")
    transitions: dict[str, Transition] = {START: Next(("a", "b")), "a": choice, "b": Next(("c",))}
    assert flow({**transitions, "c": Next((END,)), "d": Next((END,))}).parallel_to("c") == {"d"}


def test_a_failed_node_has_written_nothing_where_its_error_leads() -> None:
    rescued = flow({START: Next(("a",)), "a": Next(("c",)), "b": Next(("c",)), "c": Next((END,))}, a="b")
    assert before(rescued, "b") == {START}
    assert before(rescued, "c") == {START, "a", "b"}


def test_the_body_of_a_loop_is_what_runs_again() -> None:
    assert loop().loop_body("b") == {"a", "b"}
    assert loop().loop_body("a") == frozenset()


def any_flow(seed: int) -> Flow:
    chance = random.Random(seed)
    names = [START, *(f"n{i}" for i in range(chance.randint(3, 8)))]
    after: dict[str, list[str]] = {name: [] for name in names}
    for i, name in enumerate(names[1:], 1):
        for source in chance.sample(names[:i], min(i, chance.randint(1, 3))):
            after[source].append(name)
    transitions: dict[str, Transition] = {}
    for name, to in after.items():
        choice = Routes(tuple(Route(TRUE, target) for target in to[1:]), to[0] if to else END)
        transitions[name] = choice if chance.random() < 0.45 else Next(tuple(to) or (END,))
    return flow(transitions)


def running_together(whole: Flow) -> set[frozenset[str]]:
    """The same, found by going through every state that a run can be in: the places of its branches."""
    pairs: set[frozenset[str]] = set()
    seen: set[frozenset[str]] = set()
    pending = [frozenset(), *_next_places(whole.transitions[START])]
    while pending:
        places = pending.pop()
        if places not in seen:
            seen.add(places)
            ready = [n for n in places if not any(whole.leads_to(other, n) for other in places - {n})]
            pairs |= {frozenset(pair) for pair in combinations(ready, 2)}
            pending += [places - {name} | after for name in ready for after in _next_places(whole.transitions[name])]
    return pairs


def _next_places(transition: Transition) -> list[frozenset[str]]:
    choices = [transition.to] if isinstance(transition, Next) else [(to,) for to in targets(transition)]
    return [frozenset(to) - {END} for to in choices]


@pytest.mark.parametrize("seed", range(200))
def test_the_nodes_parallel_to_a_node_are_those_that_a_run_can_be_at_as_well(seed: int) -> None:
    whole = any_flow(seed)
    assert {frozenset((a, b)) for a in whole.names for b in whole.parallel_to(a)} == running_together(whole)
