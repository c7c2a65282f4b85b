"""A set node's step: fields from templates, expressions and plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from flowyard.errors.steps import EvaluationError
from flowyard.language.nodes import SetNode, SetValue
from flowyard.language.values.conform import conform
from flowyard.language.values.expressions import Expression
from flowyard.language.values.templates import Template
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
    values = {
        output.field: conform(output.type, _evaluated(node.values[output.field], running), output.field, problems)
        for output in node.outputs
    }
    if problems:
        raise EvaluationError("; ".join(problems))
    return values


def _evaluated(value: SetValue, running: RunningStep) -> Any:
    match value:
        case Template():
            return value.value(running.values.get)
        case Expression():
            return value.value(running.values.get, running.loop_turns)
        case Mapping():
            return {name: _evaluated(inner, running) for name, inner in value.items()}
        case list():
            return [_evaluated(inner, running) for inner in value]
        case _:
            return value
