"""Rebuilds a run's state from its events, to show what each step received."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowyard.export.finished_run import LeftOut
from flowyard.language.values.reducers import REDUCERS
from flowyard.language.workflow import Workflow
from flowyard.runs.events import Failure, StepId
from flowyard.runs.run import Run


class KnownState:
    """The state of a run, event by event. Empty without a workflow; for a fork, only the writes of its own steps."""

    def __init__(self, run: Run, workflow: Workflow | None) -> None:
        self._workflow = workflow
        self._values: dict[str, Any] = {}
        self._results: dict[StepId, dict[int, list[Any]]] = {}
        self._collected: dict[str, dict[int, list[Any]]] = {}
        if workflow is not None and run.forked_from is None:
            self._values = {name: run.inputs.get(name, f.default) for name, f in workflow.fields.items()}

    def inputs_of(self, step: StepId) -> dict[str, Any] | None:
        """The values of the fields that the step's node reads, and its item in a map. None: unknown."""
        node = self._workflow.nodes.get(step.node) if self._workflow is not None else None
        if node is None:
            return None
        fields = self._values.keys() | self._collected.keys()
        given = {name: self._value(name) for name in sorted(node.names_read & fields)}
        return {**given, **self._item(step)}

    def apply_outputs(self, step: StepId, outputs: Mapping[str, Any]) -> None:
        if step.item is not None:
            self._collect(step, [next(iter(outputs.values()))] if len(outputs) == 1 else [dict(outputs)])
            return
        for name, value in outputs.items():
            reducer, before = self._reducer(name), self._values.get(name)
            # What isn't known can't be merged.
            is_known = not isinstance(value, LeftOut) and not isinstance(before, LeftOut)
            self._values[name] = reducer(before, value) if reducer is not None and is_known else value

    def apply_failure(self, step: StepId, failure: Failure, handled: str) -> None:
        if step.item is not None and handled == "collect":
            self._collect(step, [{"error": failure.code, "message": failure.message}])

    def _value(self, name: str) -> Any:
        results = self._collected.get(name)
        if results is None:
            return self._values.get(name)
        return [value for item in sorted(results) for value in results[item]]

    def _collect(self, step: StepId, result: list[Any]) -> None:
        """Adds an item's result to a map's field. All readers of the field run after the last item."""
        results = self._results.setdefault(StepId(step.node, step.visit), {})
        results[step.item or 0] = result
        loop_over = self._workflow.maps.get(step.node) if self._workflow is not None else None
        if loop_over is not None:
            self._collected[loop_over.collect_field] = results

    def _item(self, step: StepId) -> dict[str, Any]:
        loop_over = self._workflow.maps.get(step.node) if self._workflow is not None and step.item is not None else None
        items = self._value(loop_over.items_field) if loop_over is not None else None
        if loop_over is None or step.item is None or not isinstance(items, list) or step.item >= len(items):
            return {}
        return {loop_over.item: items[step.item]}

    def _reducer(self, name: str) -> Any:
        fields = self._workflow.fields.get(name) if self._workflow is not None else None
        return REDUCERS.get(fields.reduce) if fields is not None else None
