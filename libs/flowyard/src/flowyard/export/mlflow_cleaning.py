"""Deletes from MLflow the traces and MLflow runs of runs that Flowyard doesn't have any more.

Retention deletes the oldest finished runs, so whatever of ours is older than the oldest of them is of a deleted run.
Only what has the tag of this installation is deleted: others may export to the same MLflow, or keep traces there.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

from flowyard.errors.services import Unavailable
from flowyard.export.client import ExportClient, ExportRefused, TargetUnavailable
from flowyard.export.mlflow import API, JSON, PREFIX, TRACES
from flowyard.export.mlflow_facts import INSTALLATION
from flowyard.storage.exports import Exports

log = logging.getLogger(__name__)

_PAGE: Final = 100
"""The most traces that MLflow deletes in one request."""
_MOST_EXPERIMENTS: Final = 1000


async def keep_clean(url: str, client: ExportClient, exports: Exports, *, every_s: float = 600.0) -> NoReturn:
    """Deletes again and again, until it is cancelled."""
    while True:
        await asyncio.sleep(every_s)
        try:
            before, installation = await exports.oldest_finished(), await exports.installation()
            if before is not None and (deleted := await delete_before(url, client, before, installation)):
                log.info("deleted from MLflow", extra={"target": client.name, "runs": deleted})
        except (Unavailable, TargetUnavailable, ExportRefused) as error:
            log.warning("can't delete from MLflow: %s", error.message, extra={"target": client.name})


async def delete_before(url: str, client: ExportClient, before: datetime, installation: str) -> int:
    """Deletes what this installation has exported of runs that were submitted before. Returns how many traces.

    Raises TargetUnavailable, ExportRefused.
    """
    until_ms, deleted = int(before.timestamp() * 1000), 0
    ours = f"tags.`{INSTALLATION}` = '{installation}'"
    async for experiment in _experiments(url, client):
        place = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}]
        query = {"locations": place, "filter": f"timestamp_ms < {until_ms} AND {ours}", "max_results": _PAGE}
        while traces := (await _post(client, f"{url}{TRACES}/search", query)).get("traces"):
            body = {"experiment_id": experiment, "request_ids": [trace["trace_id"] for trace in traces]}
            await _post(client, f"{url}{API}/traces/delete-traces", body)
            deleted += len(traces)
        condition = f"attributes.start_time < {until_ms} AND {ours}"
        query = {"experiment_ids": [experiment], "filter": condition, "max_results": _PAGE}
        while runs := (await _post(client, f"{url}{API}/runs/search", query)).get("runs"):
            for run in runs:
                await _post(client, f"{url}{API}/runs/delete", {"run_id": run["info"]["run_id"]})
    return deleted


async def _experiments(url: str, client: ExportClient) -> AsyncIterator[str]:
    query = {"filter": f"name LIKE '{PREFIX}%'", "max_results": _MOST_EXPERIMENTS}
    for experiment in (await _post(client, f"{url}{API}/experiments/search", query)).get("experiments", []):
        yield str(experiment["experiment_id"])


async def _post(client: ExportClient, address: str, body: Mapping[str, Any]) -> dict[str, Any]:
    response = await client.post(address, json.dumps(body).encode(), JSON)
    try:
        content: dict[str, Any] = response.json()
    except ValueError as error:
        raise client.wrong_server() from error
    return content
