"""What a notification says, in the form of Standard Webhooks: `type`, `timestamp`, `data`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowyard.api.runs import FailureView, SpendingView
from flowyard.runs.large_values import large_of, sizes_of
from flowyard.runs.notifications import Taken
from flowyard.runs.run import Run, Spending


def payload_of(taken: Taken, run: Run, spending: Spending) -> dict[str, Any]:
    """The same in each try, even if the run was retried meanwhile.

    `spending`: until that end. An output of more than 64 kB is left out: its size is in `large_outputs`.
    """
    outputs, large = _outputs(run) if taken.run_status == "succeeded" else (None, {})
    data: dict[str, Any] = {
        "id": str(run.id),
        "workflow": run.workflow,
        "revision": run.revision,
        "status": taken.run_status,
        "created_at": run.created_at.isoformat(),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "finished_at": taken.finished_at.isoformat(),
        "error": FailureView.of(taken.error).model_dump() if taken.error else None,
        "spending": SpendingView.of(spending).model_dump(),
        "forked_from": str(run.forked_from) if run.forked_from else None,
    }
    if taken.receiver.include == "outputs":
        data |= {"outputs": outputs, "large_outputs": large}
    return {"type": f"run.{taken.run_status}", "timestamp": taken.finished_at.isoformat(), "data": data}


def _outputs(run: Run) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    outputs = run.outputs or {}
    large = large_of(sizes_of(outputs))
    kept = {name: value for name, value in outputs.items() if name not in large}
    return kept, {**large, **run.large_outputs}
