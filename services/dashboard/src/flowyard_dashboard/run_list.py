"""A list of runs, on its own page and on that of a workflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flowyard.runs.run import Run
from flowyard.storage.runs import RunFilter
from flowyard_dashboard.parts import DashboardParts
from flowyard_dashboard.view import Rows, View

MOST_RUNS: Final = 30


async def look_at_runs(
    parts: DashboardParts, wanted: RunFilter, *, most: int = MOST_RUNS
) -> tuple[View, Sequence[Run]]:
    """The newest that fit, and whatever `View` shows of them."""
    runs = await parts.control.runs.page(wanted, most)
    rows = {f"run-{run.id}": parts.pages.part("run_row", run) for run in runs}
    if not rows:
        rows["no-runs"] = parts.pages.part("no_runs", wanted)
    return View(lists=[Rows("runs", "tbody", "above", rows)]), runs
