"""Limits the sizes of a run's values, as JSON: those that a step writes, and the run's whole state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flowyard.containers import MOST_CONTAINERS
from flowyard.errors.requests import TooDense
from flowyard.errors.steps import OutputsTooLarge, StateTooLarge
from flowyard.graph.marking import Marking
from flowyard.graph.results import Pause
from flowyard.graph.state import LOOPS
from flowyard.large_json import Encoded
from flowyard.runs.events import StepId
from flowyard.runs.large_values import measured, sizes_of
from flowyard.steps.context import SizeLimits

_MANY: Final = 256
"""Results of a map that are measured at a time."""


@dataclass(slots=True)
class Sizes:
    """Bytes per field, and per unfinished map of its results. The sizes of merged writes are added up: a merged field
    may count for more bytes than it has, never for fewer.
    """

    limits: SizeLimits
    fields: dict[str, int] = field(default_factory=dict)
    results: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.fields.values()) + sum(self.results.values())

    async def measure(self, marking: Marking, pause: Pause) -> None:
        """Of a run from where it stands."""
        for name, value in marking.state().items():
            self.fields[name] = await measured(value)
            await pause()
        for place, results in marking.results.items():
            values = list(results.by_item.values())
            for start in range(0, len(values), _MANY):
                more = await measured(values[start : start + _MANY])
                self.results[place] = self.results.get(place, 0) + more
                await pause()

    def add(self, marking: Marking, step: StepId, outputs: Mapping[str, Any]) -> None:
        """What a step is about to write. Raises OutputsTooLarge, TooDense, StateTooLarge: then nothing is added."""
        sizes = sizes_of(outputs)
        written = sum(sizes.values())
        if written > self.limits.outputs:
            raise OutputsTooLarge(str(step), size=written, limit=self.limits.outputs)
        # What isn't encoded yet is light, and so has fewer values.
        if isinstance(outputs, Encoded) and outputs.containers > MOST_CONTAINERS:
            raise TooDense(f"the outputs of {step}", outputs.containers, limit=MOST_CONTAINERS, verb="have")
        total = self.total + written
        if step.item is None:
            total -= sum(self.fields.get(name, 0) for name in sizes if name not in marking.plan.merging)
        if total > self.limits.state:
            raise StateTooLarge(str(step), written=written, size=total, limit=self.limits.state)
        if step.item is not None:
            place = step.node, step.visit
            self.results[place] = self.results.get(place, 0) + written
            return
        for name, size in sizes.items():
            self._write(marking, name, size)

    def end_map(self, marking: Marking, place: tuple[str, int], collect_field: str) -> None:
        """The results of a map become the value of a field."""
        self._write(marking, collect_field, self.results.pop(place, 0))

    def _write(self, marking: Marking, name: str, size: int) -> None:
        is_merged = name in marking.plan.merging and name != LOOPS
        self.fields[name] = size + (self.fields.get(name, 0) if is_merged else 0)
