"""Shapes of the reports of how runs spent their time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, Field

from flowyard.api import examples
from flowyard.runs.profile import NodeProfile, Profile
from flowyard.runs.profiles import NodeSpread, ProfiledRun, ProfileSummary, Spread
from flowyard.runs.run import Run, State

DEFAULT_RUNS: Final = 200
MOST_RUNS: Final = 1000


class SpentView(BaseModel):
    """Seconds. They add up to the wall time; where steps run at the same time, the first that applies counts:
    model, tool, commit, waiting, claim, code."""

    queued: Annotated[float, Field(description="No executor had claimed it")]
    claim: Annotated[float, Field(description="From a claim to the first step after it")]
    model: Annotated[float, Field(description="At least one step called a model")]
    tool: float
    code: Annotated[float, Field(description="All other work of the executor")]
    commit: Annotated[float, Field(description="Until results were on disk")]
    waiting: Annotated[
        float, Field(description="For a step's next try, the end of a lost executor's lease, or a retry of the run")
    ]


class NodeTimes(BaseModel):
    """One node. `busy_s`: how long at least one of its steps was at work; `model_s`: how long one called a model."""

    node: str
    steps: int
    retries: int
    busy_s: float
    model_s: float
    share: Annotated[float, Field(description="Its share of the run's time at work, from 0 to 1")]

    @classmethod
    def of(cls, node: NodeProfile) -> NodeTimes:
        return cls(
            node=node.node,
            steps=node.steps,
            retries=node.retries,
            busy_s=node.busy.total_seconds(),
            model_s=node.model.total_seconds(),
            share=_share(node.share),
        )


class RunProfile(BaseModel, json_schema_extra={"examples": [examples.RUN_PROFILE]}):
    """How a run spent its time; until now, if it is open."""

    run_id: UUID
    workflow: str
    status: State
    created_at: datetime
    finished_at: datetime | None
    wall_s: Annotated[float, Field(description="From its submission to its end")]
    spent_s: SpentView
    at_work_s: Annotated[float, Field(description="How long an executor had claimed it")]
    nodes: Annotated[list[NodeTimes], Field(description="Slowest first")]
    threshold: float
    bottleneck: Annotated[str | None, Field(description="The node that took more than `threshold` of the time at work")]

    @classmethod
    def of(cls, run: Run, profile: Profile, *, threshold: float) -> RunProfile:
        bottleneck = profile.bottleneck(threshold)
        return cls(
            run_id=run.id,
            workflow=run.workflow,
            status=run.status,
            created_at=run.created_at,
            finished_at=run.finished_at,
            wall_s=profile.wall.total_seconds(),
            spent_s=SpentView(**{name: time.total_seconds() for name, time in profile.spent.items()}),
            at_work_s=profile.at_work.total_seconds(),
            nodes=[NodeTimes.of(node) for node in profile.nodes],
            threshold=threshold,
            bottleneck=bottleneck.node if bottleneck is not None else None,
        )


class SpreadView(BaseModel):
    """Seconds. Means add up, percentiles don't."""

    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float

    @classmethod
    def of(cls, spread: Spread) -> SpreadView:
        return cls(**{f"{name}_s": round(getattr(spread, name), 6) for name in ("mean", "p50", "p95", "p99")})


class SpreadOfSpent(BaseModel):
    """The categories of SpentView, over all runs."""

    queued: SpreadView
    claim: SpreadView
    model: SpreadView
    tool: SpreadView
    code: SpreadView
    commit: SpreadView
    waiting: SpreadView


class NodeSpreadView(BaseModel):
    """One node, over the runs in which it had steps."""

    workflow: str
    node: str
    runs: int
    retries: int
    busy: SpreadView
    model: SpreadView
    share: Annotated[float, Field(description="Its share of the time at work of all runs of the workflow, from 0 to 1")]
    bottleneck: Annotated[bool, Field(description="It is the slowest node of its workflow, and above the threshold")]

    @classmethod
    def of(cls, node: NodeSpread, *, is_bottleneck: bool) -> NodeSpreadView:
        return cls(
            workflow=node.workflow,
            node=node.node,
            runs=node.runs,
            retries=node.retries,
            busy=SpreadView.of(node.busy),
            model=SpreadView.of(node.model),
            share=_share(node.share),
            bottleneck=is_bottleneck,
        )


class SlowRun(BaseModel):
    """One of the slowest runs."""

    run_id: UUID
    workflow: str
    status: State
    created_at: datetime
    wall_s: float
    bottleneck: Annotated[str | None, Field(description="Its node above the threshold")]

    @classmethod
    def of(cls, run: ProfiledRun, *, threshold: float) -> SlowRun:
        bottleneck = run.profile.bottleneck(threshold)
        return cls(
            run_id=run.run_id,
            workflow=run.workflow,
            status=run.status,
            created_at=run.created_at,
            wall_s=run.profile.wall.total_seconds(),
            bottleneck=bottleneck.node if bottleneck is not None else None,
        )


class ProfileReport(BaseModel, json_schema_extra={"examples": [examples.PROFILE_REPORT]}):
    """The newest finished runs that were claimed. `nodes`: largest share first; `slowest`: by wall time."""

    workflow: str | None
    since: Annotated[datetime | None, Field(description="Runs submitted from then on; null: all that are kept")]
    threshold: float
    runs: Annotated[int, Field(description="How many runs it covers, at most `limit`")]
    wall: Annotated[SpreadView | None, Field(description="null if there are no runs")]
    spent: Annotated[SpreadOfSpent | None, Field(description="null if there are no runs")]
    nodes: list[NodeSpreadView]
    slowest: list[SlowRun]

    @classmethod
    def of(
        cls, summary: ProfileSummary, *, workflow: str | None, since: datetime | None, threshold: float
    ) -> ProfileReport:
        bottlenecks = {id(node) for node in summary.bottlenecks(threshold)}
        spent = {name: SpreadView.of(spread) for name, spread in summary.spent.items()}
        return cls(
            workflow=workflow,
            since=since,
            threshold=threshold,
            runs=summary.runs,
            wall=SpreadView.of(summary.wall) if summary.wall is not None else None,
            spent=SpreadOfSpent(**spent) if spent else None,
            nodes=[NodeSpreadView.of(node, is_bottleneck=id(node) in bottlenecks) for node in summary.nodes],
            slowest=[SlowRun.of(run, threshold=threshold) for run in summary.slowest],
        )


def _share(share: float) -> float:
    return round(share, 4)
