"""The routes of reports: what model calls cost, and how runs spent their time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from flowyard.access import Caller
from flowyard.api.costs import DEFAULT_GROUPS, MOST_GROUPS, CostReport, Moment
from flowyard.api.moments import moment
from flowyard.api.profiles import DEFAULT_RUNS, MOST_RUNS, ProfileReport, RunProfile
from flowyard.api.workflows import WorkflowName
from flowyard.control.profiling import profile_run, profile_runs
from flowyard.errors.requests import InvalidRequest, UnknownRun
from flowyard.runs.costs import Grouping
from flowyard.runs.profiles import summed_up
from flowyard.runs.summary import BOTTLENECK
from flowyard.storage.ledger import CallFilter
from flowyard.web.auth import READ, check_workflow, require
from flowyard.web.problems import guarded, guarded_responses
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_gateway.answers import answer
from flowyard_gateway.parts import InjectedParts, RunId

_MOMENT: Final = "a duration before now (`7d`, `24h`, `30m`), a day of UTC (`2026-11-23`), or a time with its zone"

Since: TypeAlias = Annotated[Moment | None, Query(description=f"The beginning: {_MOMENT}; default: all that is kept")]
Until: TypeAlias = Annotated[Moment | None, Query(description=f"The end: {_MOMENT}; default: now")]
Own: TypeAlias = Annotated[Caller, Depends(require("read", reach="own"))]
OfWorkflow: TypeAlias = Annotated[WorkflowName | None, Query(description="Only runs of this workflow")]
Threshold: TypeAlias = Annotated[
    float, Query(ge=0, le=1, description="A bottleneck is a node that took more than this share of the time at work")
]

router = APIRouter(prefix="/v1", tags=["reports"], route_class=StrictJsonRoute)


@router.get(
    "/costs",
    summary="Sum up what model calls cost",
    description="A sum is null if the cost of one of its calls is unknown: unknown is not zero.",
    response_model=CostReport,
    responses=guarded_responses(InvalidRequest),
)
async def get_costs(
    parts: InjectedParts,
    caller: Own,
    *,
    by: Annotated[Grouping, Query(description="What to group by")] = "model",
    since: Since = None,
    until: Until = None,
    workflow: OfWorkflow = None,
    run_id: Annotated[UUID | None, Query(description="Only the calls of this run")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_GROUPS, description="How many groups at most")] = DEFAULT_GROUPS,
) -> Response:
    check_workflow(caller, workflow)
    now = datetime.now(UTC)
    wanted = CallFilter(moment(since, now), moment(until, now), workflow, run_id, caller.workflows)
    costs = await parts.ledger.costs(by, wanted, most=limit)
    filters = {"since": wanted.since, "until": wanted.until, "workflow": workflow, "run_id": run_id}
    return answer(CostReport.of(costs, by=by, **filters))


@router.get(
    "/runs/{run_id}/profile",
    summary="Profile a run",
    description="Where its time went, by node, and which nodes are bottlenecks.",
    response_model=RunProfile,
    **guarded(READ, UnknownRun),
)
async def get_profile(parts: InjectedParts, run_id: RunId, threshold: Threshold = BOTTLENECK) -> Response:
    run = await parts.control.runs.get(run_id)
    profile = await profile_run(parts.profiles, run, datetime.now(UTC))
    return answer(RunProfile.of(run, profile, threshold=threshold))


@router.get(
    "/profiles",
    summary="Profile the newest finished runs",
    description="Where the time of many runs went, by node, and which of them were the slowest.",
    response_model=ProfileReport,
    responses=guarded_responses(InvalidRequest),
)
async def get_profiles(
    parts: InjectedParts,
    caller: Own,
    workflow: OfWorkflow = None,
    since: Since = None,
    threshold: Threshold = BOTTLENECK,
    limit: Annotated[int, Query(ge=1, le=MOST_RUNS, description="How many runs to profile at most")] = DEFAULT_RUNS,
) -> Response:
    check_workflow(caller, workflow)
    beginning = moment(since, datetime.now(UTC))
    only = caller.workflows if workflow is None else (workflow,)
    runs = await profile_runs(parts.profiles, workflows=only, since=beginning, most=limit)
    return answer(ProfileReport.of(summed_up(runs), workflow=workflow, since=beginning, threshold=threshold))
