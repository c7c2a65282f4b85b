"""The list of runs, for its own page and for a workflow's page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flowyard.runs.run import Run
from flowyard.storage.run_lists import RunFilter
from flowyard_dashboard.parts import DashboardParts
from flowyard_dashboard.view import Rows, View

MAX_RUNS: Final = 30


async def runs_view(
    parts: DashboardParts, run_filter: RunFilter, *, limit: int = MAX_RUNS
) -> tuple[View, Sequence[Run]]:
    """The newest runs that match the filter, and the view of their list."""
    runs = await parts.control.runs.page(run_filter, limit)
    rows = {f"run-{run.id}": parts.pages.part("run_row", run) for run in runs}
    if not rows:
        rows["no-runs"] = parts.pages.part("no_runs", run_filter)
    return View(lists=[Rows("runs", "tbody", "above", rows)]), runs
