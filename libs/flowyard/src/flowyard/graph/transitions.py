"""Decides how a run continues after a node, and makes the event of that decision. The decision is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, assert_never

from flowyard.errors.steps import EvaluationError
from flowyard.graph.state import LOOPS, State
from flowyard.language.flow import Flow
from flowyard.language.values.expression_values import ExpressionContext
from flowyard.language.values.types import type_of
from flowyard.language.workflow import END, Loop, Map, Next, Routes, Transition, Workflow
from flowyard.runs.events import LoopTurned, RouteTaken

_NOW: Final = "now"


@dataclass(frozen=True, slots=True)
class Decision:
    """How a run continues. `to`: the next places; several are executed in parallel.

    `turns`: the new numbers of turns, of the loops whose number changes; `event`: the route or the loop's turn, if any.
    `now`: the time that it depends on; None: on none.
    """

    to: tuple[str, ...]
    turns: Mapping[str, int] = field(default_factory=dict)
    event: RouteTaken | LoopTurned | None = None
    now: datetime | None = None

    @property
    def data(self) -> list[Any]:
        """The part that is recorded, and that a replay compares: the places, then the facts of a route or a loop."""
        match self.event:
            case None:
                return list(self.to)
            case RouteTaken():
                return [*self.to, {"if": self.event.condition, **self._time}]
            case LoopTurned():
                return [*self.to, {"turn": self.event.turn, "outcome": self.event.outcome, **self._time}]
            case _:
                assert_never(self.event)

    @property
    def _time(self) -> dict[str, str]:
        return {_NOW: self.now.isoformat()} if self.now is not None else {}


def recorded_time(data: Sequence[Any]) -> datetime | None:
    """The time that a recorded decision depends on; None: on none."""
    facts = data[-1] if data and isinstance(data[-1], dict) else {}
    return datetime.fromisoformat(facts[_NOW]) if _NOW in facts else None


def nested_loops(workflow: Workflow, flow: Flow) -> dict[str, tuple[str, ...]]:
    """For each loop the loops inside its body: they start again with each of its turns."""
    loops = {source: loop for source, loop in workflow.transitions.items() if isinstance(loop, Loop)}
    return {
        outer: tuple(inner for inner in loops if inner != outer and _in_body(inner, outer, loop, flow))
        for outer, loop in loops.items()
    }


def _in_body(node: str, source: str, loop: Loop, flow: Flow) -> bool:
    return flow.leads_to(loop.to, node) and flow.leads_to(node, source)


def decide(
    source: str,
    transition: Transition,
    state: State,
    inner_loops: Mapping[str, tuple[str, ...]],
    now: Callable[[], datetime],
) -> Decision:
    """`state`: as it is after the node's own writes. `now`: the time that counts. Raises EvaluationError."""
    seen: list[datetime] = []

    def ask() -> datetime:
        if not seen:
            seen.append(now())
        return seen[0]

    decision = _decided(source, transition, state, inner_loops, ask)
    return replace(decision, now=seen[0]) if seen else decision


def _decided(
    source: str,
    transition: Transition,
    state: State,
    inner_loops: Mapping[str, tuple[str, ...]],
    now: Callable[[], datetime],
) -> Decision:
    match transition:
        case Next(to):
            return straight_on(to)
        case Routes():
            return _route(source, transition, state, now)
        case Loop():
            return _turn(source, transition, state, inner_loops.get(source, ()), now)
        case Map():
            items_of(transition, state)
            return Decision((transition.target,))
        case _:
            assert_never(transition)


def straight_on(to: Iterable[str]) -> Decision:
    """Without a condition. END ends a branch only if nothing else comes next."""
    return Decision(tuple(dict.fromkeys(place for place in to if place != END)) or (END,))


def items_of(map_: Map, state: State) -> list[Any]:
    """Raises EvaluationError for a field that holds no list. Null is an empty list."""
    items = state.get(map_.items_field)
    if items is None or isinstance(items, list):
        return items or []
    raise EvaluationError(f"'{map_.items_field}' is {type_of(items)}, not a list")


def _route(source: str, routes: Routes, state: State, now: Callable[[], datetime]) -> Decision:
    around = ExpressionContext(partial(turns_of, state), now)
    for route in routes.routes:
        if route.condition.holds(state.get, around):
            return Decision((route.to,), event=RouteTaken(source, route.to, route.condition.text))
    return Decision((routes.default,), event=RouteTaken(source, routes.default, None))


def turns_of(state: State, node: str) -> int:
    """How many turns the loop of a node has made."""
    return int((state.get(LOOPS) or {}).get(node, 0))


def _turn(source: str, loop: Loop, state: State, inner: tuple[str, ...], now: Callable[[], datetime]) -> Decision:
    turn = turns_of(state, source) + 1
    around = ExpressionContext(lambda node: turn if node == source else turns_of(state, node), now)
    if loop.until.holds(state.get, around):
        event = LoopTurned(source, turn, loop.max_iterations, loop.exit_to, "done")
    elif turn >= loop.max_iterations:
        event = LoopTurned(source, turn, loop.max_iterations, loop.exit_to, "exhausted")
    else:
        event = LoopTurned(source, turn, loop.max_iterations, loop.to, "again")
        return Decision((loop.to,), {**dict.fromkeys(inner, 0), source: turn}, event)
    return Decision((loop.exit_to,), {source: turn}, event)
