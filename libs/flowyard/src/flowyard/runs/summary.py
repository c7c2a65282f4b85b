"""From a run's events: what each node did, how long, with how many calls and tokens, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, assert_never

from flowyard.runs import events
from flowyard.runs.events import Event, Failure, Status, StepId, Token

BOTTLENECK: Final = 0.5
"""A node that was at work for more than this share of the run's time is its bottleneck."""


def add_known(a: Any, b: Any) -> Any:
    """The sum; None (unknown) if one part is."""
    return None if a is None or b is None else a + b


@dataclass(slots=True)
class NodeSummary:
    """One node over the whole run. `duration_s`: how long at least one of its steps was at work. None: unknown."""

    node: str
    steps: int = 0
    failed: int = 0
    retries: int = 0
    calls: int = 0
    duration_s: float = 0.0
    tokens_in: int | None = 0
    tokens_out: int | None = 0
    cost_usd: Decimal | None = Decimal(0)

    def share(self, total_s: float) -> float:
        return self.duration_s / total_s if total_s > 0 else 0.0


@dataclass(slots=True)
class RunSummary:
    """Grows with each event; complete after events.RunFinished."""

    run_id: str = ""
    workflow: str = ""
    status: Status | None = None
    error: Failure | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    duration_s: float = 0.0
    nodes: dict[str, NodeSummary] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)
    _open: dict[str, tuple[int, float]] = field(default_factory=dict)
    _running: set[StepId] = field(default_factory=set)

    def add(self, event: Event, at: float) -> None:
        """`at`: seconds, on the same clock for all events of the run."""
        match event:
            case events.RunStarted():
                self.run_id, self.workflow = event.run_id, event.workflow
            case events.StepStarted():
                self._begin(event.step, at)
            case events.ModelCalled():
                self._count(event)
            case events.RetryScheduled():
                self._node(event.step.node).retries += 1
            case events.StepFinished():
                self._end(event.step, at)
            case events.StepFailed():
                self._node(event.step.node).failed += 1
                self._end(event.step, at)
            case events.RunFinished():
                self.status, self.error, self.outputs = event.status, event.error, event.outputs
                self.duration_s = event.duration_s
                for step in list(self._running):
                    self._end(step, at)
            case events.RunQueued() | events.RunForked() | events.RunClaimed() | events.RunWaiting():
                pass
            case (
                Token()
                | events.ModelWaiting()
                | events.ModelReserved()
                | events.ToolCalled()
                | events.ToolProgressed()
                | events.CodePrinted()
                | events.RouteTaken()
                | events.LoopTurned()
            ):
                pass
            case _:
                assert_never(event)

    @property
    def totals(self) -> NodeSummary:
        total = NodeSummary("total", duration_s=self.duration_s)
        for node in self.nodes.values():
            total.steps += node.steps
            total.failed += node.failed
            total.retries += node.retries
            total.calls += node.calls
            total.tokens_in = add_known(total.tokens_in, node.tokens_in)
            total.tokens_out = add_known(total.tokens_out, node.tokens_out)
            total.cost_usd = add_known(total.cost_usd, node.cost_usd)
        return total

    @property
    def bottleneck(self) -> str | None:
        """The node that took more than half of the run's time; None: no node did."""
        slowest = max(self.nodes.values(), key=lambda n: n.duration_s, default=None)
        return slowest.node if slowest is not None and slowest.share(self.duration_s) > BOTTLENECK else None

    def _node(self, name: str) -> NodeSummary:
        return self.nodes.setdefault(name, NodeSummary(name))

    def _begin(self, step: StepId, at: float) -> None:
        node = self._node(step.node)
        node.steps += 1
        self.path.append(step.node)
        self._running.add(step)
        count, since = self._open.get(step.node, (0, at))
        self._open[step.node] = (count + 1, since if count else at)

    def _end(self, step: StepId, at: float) -> None:
        if step not in self._running:
            return
        self._running.discard(step)
        count, since = self._open[step.node]
        self._open[step.node] = (count - 1, since)
        if count == 1:
            self._node(step.node).duration_s += at - since

    def _count(self, call: events.ModelCalled) -> None:
        node = self._node(call.step.node)
        node.calls += 1
        node.tokens_in = add_known(node.tokens_in, call.tokens_in)
        node.tokens_out = add_known(node.tokens_out, call.tokens_out)
        node.cost_usd = add_known(node.cost_usd, call.cost_usd)
