"""What the nodes of one workflow need to know about the whole. It is made once per compiled workflow.

A *place* is where a branch of a run can stand: START, a node, a join, or END. Where branches can meet, a branch waits
until no other branch can arrive any more; then those that have arrived continue as one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import assert_never

from flowyard.graph.state import State, Write, after_writes, reducers
from flowyard.graph.transitions import Decision, decide, nested_loops
from flowyard.language.flow import Flow
from flowyard.language.nodes import Goto
from flowyard.language.values.expressions import Expression
from flowyard.language.values.reducers import Reducer
from flowyard.language.workflow import END, START, Loop, Map, Next, Routes, Transition, Workflow
from flowyard.steps.reads import Reads


@dataclass(frozen=True)
class Plan:
    """One per compiled workflow."""

    workflow: Workflow

    @cached_property
    def flow(self) -> Flow:
        return Flow(self.workflow.nodes, self.workflow.transitions)

    @cached_property
    def merging(self) -> dict[str, Reducer]:
        return reducers(self.workflow)

    @cached_property
    def maps(self) -> dict[str, Map]:
        return dict(self.workflow.maps)

    @cached_property
    def reads(self) -> dict[str, Reads]:
        """Per place with a choice after it: what its conditions read."""
        conditions = {place: _conditions(transition) for place, transition in self.workflow.transitions.items()}
        return {place: Reads.of(some) for place, some in conditions.items() if some}

    @cached_property
    def inner_loops(self) -> dict[str, tuple[str, ...]]:
        return nested_loops(self.workflow, self.flow)

    @cached_property
    def meeting(self) -> dict[str, frozenset[str]]:
        """Per place where branches can meet: the places from which another branch may still arrive."""
        if not self.flow.forks:
            return {}
        sources: dict[str, set[str]] = {}
        for name in self.flow.names:
            for target in self.flow.forward[name]:
                sources.setdefault(target, set()).add(name)
        return {place: self._leading_to(place) for place, before in sources.items() if place != END and len(before) > 1}

    def _leading_to(self, place: str) -> frozenset[str]:
        """The places from which a path leads to `place` that a branch can take while another one waits there.

        A loop turns only after all branches inside it have met, so a loop around `place` isn't part of such a path.
        """
        before: dict[str, list[str]] = {}
        for name in self.flow.names:
            transition = self.workflow.transitions.get(name)
            is_around = isinstance(transition, Loop) and place in self.flow.loop_body(name)
            for target in self.flow.forward[name] if is_around else self.flow.successors[name]:
                before.setdefault(target, []).append(name)
        leading: set[str] = set()
        pending = list(before.get(place, ()))
        while pending:
            name = pending.pop()
            if name not in leading:
                leading.add(name)
                pending += before.get(name, ())
        return frozenset(leading)

    def decision(
        self, at: str, state: State, outputs: State, handled: str | None, now: Callable[[], datetime]
    ) -> Decision:
        """How a run continues after the place `at`. `state`: before `outputs` were written.

        `handled`: how the step's failure was handled, if it failed. `now`: see `decide`. Raises EvaluationError.
        """
        node = self.workflow.nodes.get(at)
        if handled == "goto" and node is not None and isinstance(node.on_error, Goto):
            return Decision((node.on_error.node,))
        transition = self.workflow.transitions[at]
        if outputs and not isinstance(transition, Next):
            # Only what the choice looks at: to merge a long list takes time.
            read = self.reads[at].names if at in self.reads else outputs.keys()
            seen = {name: value for name, value in outputs.items() if name in read}
            state = after_writes(state, [Write(seen)], self.merging)
        return decide(at, transition, state, self.inner_loops, now)

    @cached_property
    def order(self) -> dict[str, int]:
        """Places by their position along the forward edges: each place comes after those that lead to it."""
        return {place: i for i, place in enumerate(self.flow.forward_order)}

    @cached_property
    def lines(self) -> dict[str, str]:
        """Each place by the first place of its straight line: each but the first has one way to it, and no other."""
        lines: dict[str, str] = {}
        for place in self.flow.forward_order:
            [before, *others] = self.flow.sources_of(place) or [START]
            is_after = not others and before != START and self.workflow.transitions[before] == Next((place,))
            lines[place] = lines[before] if is_after else place
        return lines

    @property
    def chooses_at_start(self) -> bool:
        return not isinstance(self.workflow.transitions[START], Next)

    @cached_property
    def deciding(self) -> tuple[str, ...]:
        """The places where a branch continues without work: a START that chooses, and joins that do."""
        return (START, *self.workflow.joins) if self.chooses_at_start else self.workflow.joins


def _conditions(transition: Transition) -> list[Expression]:
    match transition:
        case Routes(routes):
            return [route.condition for route in routes]
        case Loop(until=until):
            return [until]
        case Next() | Map():
            return []
        case _:
            assert_never(transition)
