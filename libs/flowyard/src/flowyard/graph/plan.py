"""What the nodes of one workflow need to know about the whole, and how each hands the run on.

Where branches of a fork meet, LangGraph would run the meeting node once per superstep in which a branch arrives. So the
branches are counted (`~tokens`): a meeting node that is triggered while another branch can still reach it waits, and
runs once when none can. This holds for branches of different lengths, for routes inside a branch, for failed nodes that
go elsewhere, and it can't get stuck: a branch that ends elsewhere is a branch that can't arrive any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from langgraph.types import Command, Send

from flowyard.graph.state import LOOPS, RESULTS, TOKENS, VISITS, State, Update, initial_state, reducers
from flowyard.graph.ways import Onward, nested_loops
from flowyard.language.flow import Flow
from flowyard.language.nodes import Goto
from flowyard.language.values.reducers import Reducer
from flowyard.language.workflow import END, START, Loop, Map, Next, Workflow

ENTRY: Final = "~start"
"""Stands in the graph for a START that chooses."""


def collector(target: str) -> str:
    """The place in the graph where the results of a map are put together."""
    return f"{target}~collect"


@dataclass(frozen=True)
class Plan:
    """One per compiled workflow."""

    workflow: Workflow

    @cached_property
    def flow(self) -> Flow:
        return Flow(self.workflow.nodes, self.workflow.ways)

    @cached_property
    def merging(self) -> dict[str, Reducer]:
        return reducers(self.workflow)

    @cached_property
    def maps(self) -> dict[str, Map]:
        return dict(self.workflow.maps)

    @cached_property
    def inner_loops(self) -> dict[str, tuple[str, ...]]:
        return nested_loops(self.workflow, self.flow)

    @cached_property
    def meeting(self) -> dict[str, frozenset[str]]:
        """Per node where branches may meet: the places in the graph from which another branch may still arrive."""
        if not self.flow.forks:
            return {}
        sources: dict[str, set[str]] = {}
        for name in self.flow.names:
            for target in self.flow.forward[name]:
                sources.setdefault(target, set()).add(name)
        return {
            node: frozenset(self.place(n) for n in self.flow.names if n != node and node in self.flow.forward_from(n))
            for node, before in sources.items()
            if node != END and len(before) > 1
        }

    @cached_property
    def repeated(self) -> frozenset[str]:
        """The nodes that can run more than once."""
        return frozenset(
            n for n in self.workflow.nodes if any(n in self.flow.reached_from(t) for t in self.flow.successors[n])
        )

    @cached_property
    def bookkeeping(self) -> tuple[str, ...]:
        """The engine's own channels that this workflow needs."""
        loops = any(isinstance(way, Loop) for way in self.workflow.ways.values())
        needed = {TOKENS: self.meeting, LOOPS: loops, VISITS: self.repeated or self.maps, RESULTS: self.maps}
        return tuple(channel for channel, because in needed.items() if because)

    def place(self, node: str) -> str:
        """Where a branch that is at `node` stands in the graph: for a map, before its results are collected."""
        return collector(node) if node in self.maps else node

    def fixed(self, node: str) -> str | None:
        """What comes after a node, if that never depends on anything."""
        way = self.workflow.ways[node]
        work = self.workflow.nodes.get(node)
        jumps = work is not None and isinstance(work.on_error, Goto)
        return way.to[0] if isinstance(way, Next) and len(way.to) == 1 and not jumps and not self.meeting else None

    def command(self, source: str, onward: Onward, update: Update, state: State) -> Any:
        """What LangGraph gets from the place `source`: its writes, and where the run continues."""
        if self.meeting:
            left = (state.get(TOKENS) or {}).get(source, 0)
            arrived = {self.place(node): 1 for node in onward.to}
            update = {**update, TOKENS: {**arrived, source: arrived.get(source, 0) - left}}
        return Command(update={**update, **onward.update}, goto=_targets(onward))

    def start(self, inputs: dict[str, Any]) -> Update:
        """The state that a run begins with."""
        state = initial_state(self.workflow, inputs)
        if self.meeting:
            way = self.workflow.ways[START]
            ahead = [n for n in way.to if n != END] if isinstance(way, Next) else [ENTRY]
            state[TOKENS] = dict.fromkeys(ahead, 1)
        return state


def _targets(onward: Onward) -> list[Any]:
    if onward.items is None:
        return list(onward.to)
    target = onward.to[0]
    # The item itself travels: by the time of its task another branch may have written to the list.
    return [Send(target, {"index": i, "item": item}) for i, item in enumerate(onward.items)] or [collector(target)]
