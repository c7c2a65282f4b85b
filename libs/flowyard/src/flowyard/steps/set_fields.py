"""A set node's step: fields from templates, expressions and plain values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from flowyard.errors.steps import EvaluationError
from flowyard.language.nodes import SetNode
from flowyard.language.values.conform import conform
from flowyard.language.values.evaluating import evaluated
from flowyard.steps.reads import Reads
from flowyard.steps.running import RunningStep, Try


@dataclass(frozen=True, slots=True)
class SetWork:
    node: SetNode
    reads: Reads

    @classmethod
    def of(cls, node: SetNode) -> SetWork:
        return cls(node, Reads.of([text.value for text in node.texts()]))

    async def start(self, running: RunningStep) -> Try:
        return partial(self.reads.evaluated, partial(set_fields, self.node, running), running.values)


def set_fields(node: SetNode, running: RunningStep) -> dict[str, Any]:
    """The values by field. Raises EvaluationError, also for a value that isn't of its field's type."""
    problems: list[str] = []
    read = running.values.get
    values = {
        output.field: conform(
            output.type, evaluated(node.values[output.field], read, running.around), output.field, problems
        )
        for output in node.outputs
    }
    if problems:
        raise EvaluationError("; ".join(problems))
    return values
