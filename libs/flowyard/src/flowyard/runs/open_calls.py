"""The model calls of a run that have begun and not ended, according to its events: for runs of executors that recorded
no rows of open calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, assert_never

from flowyard.language.providers import UNPAID
from flowyard.runs import events
from flowyard.runs.budget import Amount, actual
from flowyard.runs.events import Event, Failure, StepId, Token

_LOST: Final = "executor_lost"


@dataclass(slots=True)
class _Step:
    """A step at work. `first`: provider and model that each of its tries begins with; `now`: those of the open call."""

    first: tuple[str, str]
    now: tuple[str, str] | None


class OpenCalls:
    """Takes all events of a run in order. Afterwards: which calls are open, and how much all calls have cost.

    With a budget each call is reserved before it is made, so it is known which are open. Without one, a step at work
    is taken to have one call open until a reply is there. Steps that older versions stored don't name their model, so
    their calls are left out.
    """

    def __init__(self) -> None:
        self._spent = Amount()
        self._reserved: dict[StepId, list[events.ModelReserved]] = {}
        self._steps: dict[StepId, _Step] = {}

    def add(self, event: Event) -> None:
        match event:
            case events.ModelReserved():
                self._reserved.setdefault(event.step, []).append(event)
            case events.ModelCalled():
                self._end_call(event)
            case events.StepStarted():
                self._begin_step(event)
            case events.RetryScheduled():
                if (step := self._steps.get(event.step)) is not None:
                    step.now = step.first
            case events.StepFinished() | events.StepFailed():
                self._steps.pop(event.step, None)
            case events.RunWaiting() | events.RunFinished():
                self._steps.clear()
            case events.RunQueued():
                # An executor that hands a run back has ended its calls; a lost executor hasn't.
                if event.reason == "drained":
                    self._steps.clear()
            case (
                events.RunForked()
                | events.RunClaimed()
                | events.RunStarted()
                | Token()
                | events.ModelWaiting()
                | events.ToolCalled()
                | events.ToolProgressed()
                | events.CodePrinted()
                | events.RouteTaken()
                | events.LoopTurned()
            ):
                pass
            case _:
                assert_never(event)

    def spent(self) -> Amount:
        """At most: an open call counts as it was reserved."""
        return sum((amount(event) for event in self._all_reserved()), self._spent)

    def lost(self) -> list[events.ModelCalled]:
        """How the open calls have ended if the run's executor is lost: with an error, and at an unknown cost."""
        reserved = [lost_call(event.step, event.provider, event.model) for event in self._all_reserved()]
        return reserved + [lost_call(id_, *step.now) for id_, step in self._steps.items() if step.now is not None]

    def _all_reserved(self) -> list[events.ModelReserved]:
        return [event for events in self._reserved.values() for event in events]

    def _begin_step(self, event: events.StepStarted) -> None:
        self._steps.pop(event.step, None)
        if event.provider is not None and event.model is not None and not event.reserves:
            first = event.provider, event.model
            self._steps[event.step] = _Step(first, first)

    def _end_call(self, event: events.ModelCalled) -> None:
        opened = self._reserved.get(event.step)
        reserved = amount(opened.pop(0)) if opened else Amount(model_calls=1)
        usage = {"tokens_in": event.tokens_in, "tokens_out": event.tokens_out}
        self._spent += actual(reserved, **usage, usd=event.cost_usd)
        if (step := self._steps.get(event.step)) is not None:
            # After an error a fallback is called at once. Its model isn't known, so the last known model stands for it.
            has_fallback = event.error is not None and event.error.code != _LOST
            step.now = (event.provider, event.model) if has_fallback else None


def amount(event: events.ModelReserved) -> Amount:
    """What is reserved; a limit that the budget doesn't have counts as 0."""
    return Amount(event.usd or Decimal(0), event.tokens or 0, 1)


def lost_call(step: StepId, provider: str, model: str) -> events.ModelCalled:
    """A call whose executor was lost: it has ended with an error, and at an unknown cost."""
    error = Failure(_LOST, "its executor died during the call", step.node)
    cost = Decimal(0) if provider in UNPAID else None
    return events.ModelCalled(step, provider, model, 0.0, None, None, None, None, cost, error)
