"""What the nodes of a run have written: its outputs, also those of a run that doesn't succeed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowyard.language.values.reducers import Reducer
from flowyard.language.workflow import Workflow


class RunOutputs:
    """`start`: the state that the run began with; `merging`: the reducers of fields whose writes merge."""

    def __init__(self, start: Mapping[str, Any], merging: Mapping[str, Reducer]) -> None:
        self._start = start
        self._merging = merging
        self.values: dict[str, Any] = {}

    def add(self, outputs: Mapping[str, Any]) -> None:
        for name, value in outputs.items():
            reducer = self._merging.get(name)
            old = self.values.get(name, self._start.get(name))
            self.values[name] = value if reducer is None else reducer(old, value)

    def of(self, workflow: Workflow) -> dict[str, Any]:
        """By field, in the order of the workflow's fields."""
        return {name: self.values[name] for name in workflow.fields if name in self.values}
