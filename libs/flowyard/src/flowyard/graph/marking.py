"""Where the branches of a run stand, what each of them sees, and how they continue. Pure.

The same code continues a run while it executes and when its recorded steps are replayed. A branch sees what was written
before it on its own paths, never what a branch beside it writes. Where branches meet, their writes are merged in the
order of the branches in the document, whichever of them ended first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from flowyard.graph.plan import Plan
from flowyard.graph.results import Results
from flowyard.graph.state import LOOPS, State, Write, after_writes, initial_state
from flowyard.graph.transitions import Decision, straight_on
from flowyard.language.workflow import END, START, Next

Changes: TypeAlias = Callable[[str, int], Mapping[str, Any]]
"""The fields that a fork of a run changes before a node's visit."""


def no_changes(_node: str, _visit: int) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Written:
    """One write, linked to those before it on the same path. Branches share what was written before they parted."""

    write: Write
    before: Written | None


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of a run, at a place. `visit`: how often the place was visited, with this time.

    `state`: what it sees; `written`: its writes since there were several branches; `path`: its position among them, in
    the order of the document.
    """

    at: str
    visit: int
    path: tuple[int, ...]
    state: State
    written: Written | None = None

    def with_write(self, write: Write, plan: Plan, *, alone: bool) -> Branch:
        """`alone`: there is no other branch, so that nothing has to be merged later."""
        written = None if alone else Written(write, self.written)
        return Branch(self.at, self.visit, self.path, after_writes(self.state, [write], plan.merging), written)

    def moved(self, at: str, visit: int, path: tuple[int, ...]) -> Branch:
        return Branch(at, visit, path, self.state, self.written)


class Marking:
    """All branches of one run. `ready` are those that can continue at the beginning."""

    def __init__(self, plan: Plan, inputs: Mapping[str, Any], changes: Changes = no_changes) -> None:
        self.plan = plan
        self.at_work: dict[tuple[str, int], Branch] = {}
        """Those that stand at a place where something is to be done: a step, a map, or a decision."""
        self.waiting: dict[str, list[Branch]] = {}
        """Those that wait where they meet others or have ended, by place."""
        self.results: dict[tuple[str, int], Results] = {}
        """Of the maps at work."""
        self.visits: dict[str, int] = {}
        """By place: how often it was visited."""
        self.written: set[str] = set()
        """The fields that nodes have written."""
        self.base: State = initial_state(plan.workflow, inputs)
        """What all branches see: each one's state is this, followed by its writes."""
        self._changes = changes
        start = Branch(START, 1, (), self.base)
        self.at_work[START, 1] = start
        transition = plan.workflow.transitions[START]
        self.ready = self.advance(start, straight_on(transition.to), None) if isinstance(transition, Next) else [start]

    @property
    def is_over(self) -> bool:
        """Whether each branch has come to END."""
        return not self.at_work and self.waiting.keys() <= {END}

    def state(self) -> dict[str, Any]:
        """The fields with everything that was written so far, in the order in which it would be merged now."""
        merged = self._merged(self._branches())
        return {name: merged.get(name) for name in self.plan.workflow.fields}

    def forget(self) -> Iterator[str]:
        """Drops all values, field by field. The marking is of no use afterwards."""
        self.results.clear()
        states: list[Any] = [self.base]
        for branch in self._branches():
            states += branch.state, *(write.values for write in _in_order([branch]))
        for name in self.plan.workflow.fields:
            for state in states:
                state.pop(name, None)
            yield name

    def results_of(self, branch: Branch) -> Results:
        """Of the map where a branch stands."""
        return self.results.setdefault((branch.at, branch.visit), Results())

    def outputs(self, state: State | None = None) -> dict[str, Any]:
        """The run's outputs: the fields that `result` names, or those that nodes have written. `state`: if known."""
        state, result = self.state() if state is None else state, self.plan.workflow.result
        return {name: state[name] for name in result or (name for name in state if name in self.written)}

    def advance(self, branch: Branch, decision: Decision, outputs: Mapping[str, Any] | None) -> list[Branch]:
        """Ends the work of `branch`, with what it wrote, and moves it as `decision` says. Returns the next branches."""
        del self.at_work[branch.at, branch.visit]
        self.results.pop((branch.at, branch.visit), None)
        alone = not self.at_work and not self.waiting
        for values in (outputs, {LOOPS: decision.turns} if decision.turns else None):
            if values:
                branch = branch.with_write(Write(values), self.plan, alone=alone)
        if outputs:
            self.written.update(outputs)
        if alone:
            self.base = branch.state
        if len(decision.to) == 1:
            to = decision.to[0]
            if alone and to != END:
                return [self._begin(to, [branch])]
            self.waiting.setdefault(to, []).append(branch)
        else:
            for number, place in enumerate(decision.to):
                arrived = branch.moved(place, 0, (*branch.path, number))
                self.waiting.setdefault(place, []).append(arrived)
        return list(self._released())

    def _released(self) -> Iterator[Branch]:
        """Moves branches that needn't wait any longer to work. A meeting that nobody else can reach becomes one."""
        while places := [place for place in self.waiting if place != END and not self._must_wait(place)]:
            for place in places:
                yield self._begin(place, self.waiting.pop(place))
        if not self.at_work and (stuck := self.waiting.keys() - {END}):
            # Two meetings that lead to each other, around loops: the one that comes first in the document's direction.
            place = min(stuck, key=lambda place: (self.plan.order.get(place, 0), place))
            yield self._begin(place, self.waiting.pop(place))

    def _must_wait(self, place: str) -> bool:
        before = self.plan.meeting.get(place)
        if not before:
            return False
        return any(at in before for at, _ in self.at_work) or any(
            other in before for other in self.waiting if other != place
        )

    def _begin(self, place: str, arrived: list[Branch]) -> Branch:
        visit = self.visits.get(place, 0) + 1
        self.visits[place] = visit
        alone = not self.at_work and not self.waiting
        branch = self._met(arrived, alone=alone).moved(place, visit, self._path(arrived, alone=alone))
        changes = self._changes(place, visit)
        if changes:
            branch = branch.with_write(Write(changes, replaces=True), self.plan, alone=alone)
            if alone:
                self.base = branch.state
        self.at_work[place, visit] = branch
        return branch

    def _met(self, arrived: list[Branch], *, alone: bool) -> Branch:
        """One branch in the place of those that have met."""
        first = arrived[0]
        if len(arrived) == 1 and not alone:
            return first
        state = first.state if len(arrived) == 1 else self._merged(arrived)
        written: Written | None = None
        if alone:
            self.base = state
        else:
            for write in _in_order(arrived):
                written = Written(write, written)
        return Branch(first.at, first.visit, first.path, state, written)

    def _path(self, arrived: list[Branch], *, alone: bool) -> tuple[int, ...]:
        if alone or len(arrived) == 1:
            return () if alone else arrived[0].path
        return _shortened(min(branch.path for branch in arrived), [other.path for other in self._branches()])

    def _branches(self) -> list[Branch]:
        return [*self.at_work.values(), *(branch for waiting in self.waiting.values() for branch in waiting)]

    def _merged(self, branches: Iterable[Branch]) -> State:
        return after_writes(self.base, _in_order(branches), self.plan.merging)


def _in_order(branches: Iterable[Branch]) -> list[Write]:
    """Their writes, each once: branch by branch in the order of the document, and in each as they were made."""
    writes: dict[int, Write] = {}
    for branch in sorted(branches, key=lambda branch: branch.path):
        own: list[Write] = []
        written = branch.written
        while written is not None:
            own.append(written.write)
            written = written.before
        for write in reversed(own):
            writes.setdefault(id(write), write)
    return list(writes.values())


def _shortened(path: tuple[int, ...], others: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The shortest beginning of a path that no other path has: it has the same place among them."""
    for length in range(len(path)):
        if not any(other[:length] == path[:length] for other in others):
            return path[:length]
    return path
