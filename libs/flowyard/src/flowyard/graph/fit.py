"""Which recorded steps of a run still fit if it is run again with another revision of its workflow, or other inputs.

A step fits if it would do the same again: its node does the same work, with the same values of all that it reads. What
follows a step that doesn't fit is dropped with it; branches beside it keep their steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeAlias

from flowyard.errors.base import FlowyardError
from flowyard.graph.marking import Branch, Changes, Marking, no_changes
from flowyard.graph.plan import Plan
from flowyard.graph.results import collected, item_result
from flowyard.graph.state import LOOPS
from flowyard.graph.transitions import items_of, recorded_time
from flowyard.language.nodes import Node, RetryPolicy
from flowyard.language.values.expression_values import NOWHERE
from flowyard.language.workflow import Workflow
from flowyard.runs.events import StepId
from flowyard.runs.run import Step

Keep: TypeAlias = Callable[[Branch, Step], bool]
"""Whether a recorded step is kept at the place where a branch stands."""
_CHANGES_NOTHING: Final[Mapping[str, Any]] = {
    "name": None,
    "description": None,
    "retry": RetryPolicy(),
    "timeout": None,
    "on_error": "fail",
    "log_prompts": True,
}
"""What a node says that doesn't change what its step comes to, with a value that stands for any."""


@dataclass(frozen=True, slots=True)
class Fit:
    """`kept`: the rows that fit, with the decisions of the new workflow; `leaves_at`: the steps that are executed."""

    kept: tuple[Step, ...]
    leaves_at: tuple[StepId, ...]


def fit(
    old: tuple[Workflow, Mapping[str, Any]],
    new: tuple[Workflow, Mapping[str, Any]],
    record: Mapping[StepId, Step],
    changes: Changes = no_changes,
) -> Fit:
    """`old`, `new`: each a workflow and the inputs of its run; `record`: all rows of the old run.

    `changes`: of the state, if the old run is a fork.
    """
    before = _Fold(Plan(old[0]), Marking(Plan(old[0]), old[1], changes), record)
    before.run(lambda _branch, _step: True)
    after = _Fold(Plan(new[0]), Marking(Plan(new[0]), new[1], changes), record)

    def fits(branch: Branch, step: Step) -> bool:
        seen = before.seen.get(StepId(branch.at, branch.visit))
        return seen is not None and _does_same(before.plan, seen, after.plan, branch, step)

    after.run(fits)
    keeps_work = any(step.kind != "decision" for step in after.rows)
    return Fit(tuple(after.rows) if keeps_work else (), tuple(after.stopped))


class _Fold:
    """Folds a record without recording anything. `seen`: the branch at each place that was reached."""

    def __init__(self, plan: Plan, marking: Marking, record: Mapping[StepId, Step]) -> None:
        self.plan = plan
        self.seen: dict[StepId, Branch] = {}
        self.rows: list[Step] = []
        self.stopped: list[StepId] = []
        self._marking = marking
        self._record = record

    def run(self, keep: Keep) -> None:
        """Goes on past the steps that are recorded and kept, and stops at all others."""
        ready = list(self._marking.ready)
        while ready:
            branch = ready.pop(0)
            place = StepId(branch.at, branch.visit)
            self.seen[place] = branch
            try:
                ready += self._pass(branch, place, keep)
            except FlowyardError:
                # A choice that can't be made: the run would fail here, as it may have before.
                self.stopped.append(place)

    def _pass(self, branch: Branch, place: StepId, keep: Keep) -> list[Branch]:
        step = self._record.get(place)
        rows = self._items(branch)
        if branch.at not in self.plan.deciding and (
            step is None or not _is_over(step) or not all(map(_is_over, rows)) or not keep(branch, step)
        ):
            self.stopped.append(place)
            return []
        outputs = self._outputs(branch, step, rows)
        handled = step.handled if step is not None else None
        at = recorded_time(step.next or ()) if step is not None else None
        # A choice that depends on a time which isn't recorded is made anew.
        now = NOWHERE.now if at is None else lambda: at
        decision = self.plan.decision(branch.at, branch.state, outputs, handled, now)
        if self._record:
            self.rows += [(step or self._new_choice(place))._replace(next=decision.data), *rows]
        return self._marking.advance(branch, decision, outputs)

    def _new_choice(self, place: StepId) -> Step:
        """The row of a choice that the old run didn't have, or whose rules didn't record it."""
        at = min(step.started_at for step in self._record.values())
        return Step(node=place.node, visit=place.visit, kind="decision", status="succeeded", seq=0, started_at=at)

    def _items(self, branch: Branch) -> list[Step]:
        """The recorded items of a map; fewer than it has where one isn't recorded."""
        map_ = self.plan.maps.get(branch.at)
        ids = [StepId(branch.at, branch.visit, i) for i in range(len(items_of(map_, branch.state)))] if map_ else []
        return [self._record[id_] for id_ in ids if id_ in self._record]

    def _outputs(self, branch: Branch, step: Step | None, rows: list[Step]) -> dict[str, Any]:
        map_ = self.plan.maps.get(branch.at)
        if map_ is not None:
            return collected(map_, (item_result(map_, row.outputs, row.error) for row in rows))
        return dict(step.outputs or {}) if step is not None else {}


def _is_over(step: Step) -> bool:
    """Whether it has ended, and not with the run."""
    return step.status == "succeeded" or (step.status == "failed" and step.handled != "fail")


def _does_same(old: Plan, seen: Branch, new: Plan, branch: Branch, step: Step) -> bool:
    before, after = old.workflow.nodes.get(branch.at), new.workflow.nodes.get(branch.at)
    if before is None or after is None or _work(before) != _work(after):
        return False
    if step.status == "failed" and before.on_error != after.on_error:
        return False
    map_ = new.maps.get(branch.at)
    if old.maps.get(branch.at) != map_:
        return False
    reads = {*after.names_read, LOOPS} | ({map_.items_field} if map_ is not None else set())
    written = [output.field for output in after.outputs]
    return all(seen.state.get(name) == branch.state.get(name) for name in reads) and all(
        old.workflow.fields.get(name) == new.workflow.fields.get(name) for name in written
    )


def _work(node: Node) -> Node:
    names = {field.name for field in fields(node)}
    return replace(node, **{name: value for name, value in _CHANGES_NOTHING.items() if name in names})
