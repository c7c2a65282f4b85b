"""What is known of a run's state while its events are read: what each step was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowyard.language.values.reducers import REDUCERS
from flowyard.language.workflow import Workflow
from flowyard.runs.events import Failure, StepId
from flowyard.runs.run import Run


class KnownState:
    """Without a workflow nothing is known, and of a fork only what its own steps wrote: the rest is left out."""

    def __init__(self, run: Run, workflow: Workflow | None) -> None:
        self._workflow = workflow
        self._values: dict[str, Any] = {}
        self._results: dict[StepId, dict[int, list[Any]]] = {}
        self._collected: dict[str, dict[int, list[Any]]] = {}
        if workflow is not None and run.forked_from is None:
            self._values = {name: run.inputs.get(name, f.default) for name, f in workflow.fields.items()}

    def given_to(self, step: StepId) -> dict[str, Any] | None:
        """The fields that the step's node names, and the item of a map. None: nobody can say."""
        node = self._workflow.nodes.get(step.node) if self._workflow is not None else None
        if node is None:
            return None
        known = self._values.keys() | self._collected.keys()
        given = {name: self._value(name) for name in sorted(node.names_read & known)}
        return {**given, **self._item(step)}

    def ended(self, step: StepId, outputs: Mapping[str, Any]) -> None:
        if step.item is not None:
            self._collect(step, [next(iter(outputs.values()))] if len(outputs) == 1 else [dict(outputs)])
            return
        for name, value in outputs.items():
            reducer = self._reducer(name)
            self._values[name] = value if reducer is None else reducer(self._values.get(name), value)

    def failed(self, step: StepId, failure: Failure, handled: str) -> None:
        if step.item is not None and handled == "collect":
            self._collect(step, [{"error": failure.code, "message": failure.message}])

    def _value(self, name: str) -> Any:
        results = self._collected.get(name)
        if results is None:
            return self._values.get(name)
        return [value for item in sorted(results) for value in results[item]]

    def _collect(self, step: StepId, result: list[Any]) -> None:
        """A map's field as far as it has come: who reads it comes after the last item."""
        results = self._results.setdefault(StepId(step.node, step.visit), {})
        results[step.item or 0] = result
        way = self._workflow.maps.get(step.node) if self._workflow is not None else None
        if way is not None:
            self._collected[way.collect_field] = results

    def _item(self, step: StepId) -> dict[str, Any]:
        way = self._workflow.maps.get(step.node) if self._workflow is not None and step.item is not None else None
        items = self._value(way.items_field) if way is not None else None
        if way is None or step.item is None or not isinstance(items, list) or step.item >= len(items):
            return {}
        return {way.item: items[step.item]}

    def _reducer(self, name: str) -> Any:
        known = self._workflow.fields.get(name) if self._workflow is not None else None
        return REDUCERS.get(known.reduce) if known is not None else None
