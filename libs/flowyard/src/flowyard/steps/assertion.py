"""An assert node's step: it fails unless its condition holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from flowyard.errors.steps import AssertionFailed
from flowyard.language.nodes import AssertNode
from flowyard.steps.reads import Reads
from flowyard.steps.running import RunningStep, Try


@dataclass(frozen=True, slots=True)
class AssertWork:
    node: AssertNode
    reads: Reads

    @classmethod
    def of(cls, node: AssertNode) -> AssertWork:
        return cls(node, Reads.of([text.value for text in node.texts()]))

    async def start(self, running: RunningStep) -> Try:
        return partial(self.reads.evaluated, partial(check, self.node, running), running.values)


def check(node: AssertNode, running: RunningStep) -> dict[str, Any]:
    """No outputs. Raises AssertionFailed; EvaluationError where the condition can't be evaluated."""
    if node.condition.holds(running.values.get, running.around):
        return {}
    if node.message is not None:
        raise AssertionFailed(node.message.render(running.values.get))
    raise AssertionFailed(f"'{node.condition.text}' doesn't hold")
