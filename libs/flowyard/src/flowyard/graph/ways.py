"""What follows a node: the next nodes, the new bookkeeping, and the events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from flowyard.errors.steps import EvaluationError
from flowyard.graph.state import LOOPS, State, Update
from flowyard.language.flow import Flow
from flowyard.language.values.types import type_of
from flowyard.language.workflow import END, Loop, Map, Next, Routes, Way, Workflow
from flowyard.runs.events import Event, LoopTurned, RouteTaken


@dataclass(frozen=True, slots=True)
class Onward:
    """`to`: the nodes that come next, END left out; `items`: those of a map, None where there is no map."""

    to: tuple[str, ...]
    update: Update = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    items: list[Any] | None = None


def nested_loops(workflow: Workflow, flow: Flow) -> dict[str, tuple[str, ...]]:
    """For each loop the loops inside its body: they start again with each of its turns."""
    loops = {source: way for source, way in workflow.ways.items() if isinstance(way, Loop)}
    return {
        outer: tuple(inner for inner in loops if inner != outer and _in_body(inner, outer, way, flow))
        for outer, way in loops.items()
    }


def _in_body(node: str, source: str, loop: Loop, flow: Flow) -> bool:
    return node in flow.forward_from(loop.to) and source in flow.forward_from(node)


def go_on(source: str, way: Way, state: State, inner_loops: Mapping[str, tuple[str, ...]]) -> Onward:
    """`state`: as it is after the node's own writes. Raises EvaluationError."""
    match way:
        case Next(to):
            return Onward(tuple(t for t in to if t != END))
        case Routes():
            return _route(source, way, state)
        case Loop():
            return _turn(source, way, state, inner_loops.get(source, ()))
        case Map():
            return Onward((way.target,), items=_items(way.items_field, state))
        case _:
            assert_never(way)


def _items(field: str, state: State) -> list[Any]:
    items = state.get(field)
    if items is None or isinstance(items, list):
        return items or []
    raise EvaluationError(f"'{field}' is {type_of(items)}, not a list")


def _route(source: str, way: Routes, state: State) -> Onward:
    for route in way.routes:
        if route.condition.holds(state.get, lambda node: turns_of(state, node)):
            return _onward(route.to, RouteTaken(source, route.to, route.condition.text))
    return _onward(way.default, RouteTaken(source, way.default, None))


def _onward(to: str, event: Event, update: Update | None = None) -> Onward:
    return Onward(() if to == END else (to,), update or {}, (event,))


def turns_of(state: State, node: str) -> int:
    """How many turns the loop of a node has made."""
    return int((state.get(LOOPS) or {}).get(node, 0))


def _turn(source: str, way: Loop, state: State, inner: tuple[str, ...]) -> Onward:
    turn = turns_of(state, source) + 1
    if way.until.holds(state.get, lambda node: turn if node == source else turns_of(state, node)):
        event = LoopTurned(source, turn, way.max_iterations, way.exit_to, "done")
    elif turn >= way.max_iterations:
        event = LoopTurned(source, turn, way.max_iterations, way.exit_to, "exhausted")
    else:
        event = LoopTurned(source, turn, way.max_iterations, way.to, "again")
        return _onward(way.to, event, {LOOPS: {**dict.fromkeys(inner, 0), source: turn}})
    return _onward(way.exit_to, event, {LOOPS: {source: turn}})
