"""What follows a node: the next nodes, the new bookkeeping, and the events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from flowyard.errors.steps import EvaluationError
from flowyard.graph.state import LOOPS, State, Update
from flowyard.language.flow import Flow
from flowyard.language.values.types import type_of
from flowyard.language.workflow import END, Loop, Map, Next, Routes, Transition, Workflow
from flowyard.runs.events import Event, LoopTurned, RouteTaken


@dataclass(frozen=True, slots=True)
class NextSteps:
    """`to`: the nodes that come next, END left out; `items`: those of a map, None where there is no map."""

    to: tuple[str, ...]
    update: Update = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    items: list[Any] | None = None


def nested_loops(workflow: Workflow, flow: Flow) -> dict[str, tuple[str, ...]]:
    """For each loop the loops inside its body: they start again with each of its turns."""
    loops = {source: loop for source, loop in workflow.transitions.items() if isinstance(loop, Loop)}
    return {
        outer: tuple(inner for inner in loops if inner != outer and _in_body(inner, outer, loop, flow))
        for outer, loop in loops.items()
    }


def _in_body(node: str, source: str, loop: Loop, flow: Flow) -> bool:
    return node in flow.forward_from(loop.to) and source in flow.forward_from(node)


def next_steps(
    source: str, transition: Transition, state: State, inner_loops: Mapping[str, tuple[str, ...]]
) -> NextSteps:
    """`state`: as it is after the node's own writes. Raises EvaluationError."""
    match transition:
        case Next(to):
            return NextSteps(tuple(t for t in to if t != END))
        case Routes():
            return _route(source, transition, state)
        case Loop():
            return _turn(source, transition, state, inner_loops.get(source, ()))
        case Map():
            return NextSteps((transition.target,), items=_items(transition.items_field, state))
        case _:
            assert_never(transition)


def _items(field: str, state: State) -> list[Any]:
    items = state.get(field)
    if items is None or isinstance(items, list):
        return items or []
    raise EvaluationError(f"'{field}' is {type_of(items)}, not a list")


def _route(source: str, routes: Routes, state: State) -> NextSteps:
    for route in routes.routes:
        if route.condition.holds(state.get, lambda node: turns_of(state, node)):
            return _continue_at(route.to, RouteTaken(source, route.to, route.condition.text))
    return _continue_at(routes.default, RouteTaken(source, routes.default, None))


def _continue_at(to: str, event: Event, update: Update | None = None) -> NextSteps:
    return NextSteps(() if to == END else (to,), update or {}, (event,))


def turns_of(state: State, node: str) -> int:
    """How many turns the loop of a node has made."""
    return int((state.get(LOOPS) or {}).get(node, 0))


def _turn(source: str, loop: Loop, state: State, inner: tuple[str, ...]) -> NextSteps:
    turn = turns_of(state, source) + 1
    if loop.until.holds(state.get, lambda node: turn if node == source else turns_of(state, node)):
        event = LoopTurned(source, turn, loop.max_iterations, loop.exit_to, "done")
    elif turn >= loop.max_iterations:
        event = LoopTurned(source, turn, loop.max_iterations, loop.exit_to, "exhausted")
    else:
        event = LoopTurned(source, turn, loop.max_iterations, loop.to, "again")
        return _continue_at(loop.to, event, {LOOPS: {**dict.fromkeys(inner, 0), source: turn}})
    return _continue_at(loop.exit_to, event, {LOOPS: {source: turn}})
