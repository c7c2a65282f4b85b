"""The calls that an executor had made when it died: that they were made is known, what they came to is not."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from flowyard.language.workflow import Workflow
from flowyard.runs.costs import UNPAID
from flowyard.runs.entries import ENDINGS, decoded
from flowyard.runs.events import Failure, ModelCalled, ModelReserved, StepId
from flowyard.runs.run import Entry

_AT_WORK: Final = ("step.started", "step.retrying")


class OpenCalls:
    """The calls of a run of whose end nobody has heard."""

    def __init__(self) -> None:
        self._steps: dict[StepId, str] = {}
        self._reserved: dict[StepId, list[ModelReserved]] = {}

    def hear(self, entry: Entry) -> None:
        """All that the run has told so far, one after the other."""
        if entry.type == "run.waiting" or entry.data.get("reason") == "drained" or entry.type in ENDINGS:
            # Given back, or over: none is at work.
            self._steps.clear()
            self._reserved.clear()
        elif "node" in entry.data and entry.type.startswith(("step.", "model.")):
            self._hear_of_step(StepId(entry.data["node"], entry.data["visit"], entry.data.get("item")), entry)

    def __bool__(self) -> bool:
        """Whether there may be any."""
        return any(self._reserved.values()) or any(told in _AT_WORK for told in self._steps.values())

    def lost(self, workflow: Workflow | None) -> list[ModelCalled]:
        """If its executor has died. `workflow`: None if its document can't be read any more."""
        reserved = [event for events in self._reserved.values() for event in events]
        if reserved:
            return [lost_call(event.step, event.provider, event.model) for event in reserved]
        # With a budget, each call was told before it was made, and there is nothing to guess.
        if workflow is None or workflow.budget is not None:
            return []
        steps = [step for step, told in self._steps.items() if told in _AT_WORK and step.node in workflow.nodes]
        settings = [workflow.nodes[step.node].models[0] for step in steps]
        return [lost_call(step, one.provider, one.model) for step, one in zip(steps, settings, strict=True)]

    def _hear_of_step(self, step: StepId, entry: Entry) -> None:
        if entry.type == "model.reserved":
            event = decoded(entry.type, entry.data)
            if isinstance(event, ModelReserved):
                self._reserved.setdefault(step, []).append(event)
            return
        self._steps[step] = entry.type
        if entry.type == "model.called" and self._reserved.get(step):
            self._reserved[step].pop(0)


def lost_call(step: StepId, provider: str, model: str) -> ModelCalled:
    """A call that was in flight when its executor died."""
    why = Failure("executor_lost", "its executor died during the call", step.node)
    cost = Decimal(0) if provider in UNPAID else None
    return ModelCalled(step, provider, model, 0.0, None, None, None, None, cost, why)
