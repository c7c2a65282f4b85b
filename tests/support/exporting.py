"""Exporters at work on a test's database, as the registry runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from uuid import UUID

from flowyard.export.addresses import MLFLOW, OTLP, OtlpAddress
from flowyard.export.client import open_client
from flowyard.export.exporter import Exporter, ExportParts, Target
from flowyard.export.finished_run import RunReader
from flowyard.export.mlflow import MlflowTarget
from flowyard.export.otlp import OtlpTarget
from flowyard.storage.database import Database
from flowyard.storage.exports import Exports
from flowyard.telemetry.metrics import Metrics
from support.stored import Stored
from support.waiting import eventually

RESOURCE = {"service.name": "flowyard"}


@asynccontextmanager
async def otlp_target(url: str, *, timeout_s: float = 5, name: str = OTLP, **about: Any) -> AsyncIterator[OtlpTarget]:
    address = OtlpAddress(f"{url}/v1/traces", **about)
    async with open_client(name, timeout_s=timeout_s, secrets=address.secrets) as client:
        yield OtlpTarget(address, RESOURCE, client)


@asynccontextmanager
async def mlflow_target(url: str, *, timeout_s: float = 20) -> AsyncIterator[MlflowTarget]:
    async with open_client(MLFLOW, timeout_s=timeout_s) as client:
        yield MlflowTarget(url, RESOURCE, client)


@asynccontextmanager
async def exporters(
    database: Database, *targets: Target, most_waiting: int = 100_000, reader: RunReader | None = None, **patience: Any
) -> AsyncIterator[Metrics]:
    """One for each target. The metrics are those of their process. `patience`: pauses as `ExportParts` has them."""
    metrics = Metrics(service="registry", version="0")
    reader = reader or RunReader(database)
    parts = ExportParts(Exports(database), reader, metrics.exports, most_waiting, every_s=0.05, **patience)
    tasks = [asyncio.create_task(Exporter(target, parts).run()) for target in targets]
    try:
        yield metrics
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def listening(database: Database, *names: str) -> Exports:
    """From now on finished runs wait for these."""
    exports = Exports(database)
    await exports.set_targets(names)
    return exports


async def all_exported(database: Database, target: str, *, within_s: float = 30) -> None:
    """Returns when nothing waits any more."""
    exports = Exports(database)

    async def nothing_waits() -> bool:
        return (await exports.backlog(target)).runs == 0

    await eventually(nothing_waits, within_s)


@asynccontextmanager
async def exported_to_mlflow(database: Database, url: str) -> AsyncIterator[Metrics]:
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(mlflow_target(url))
        yield await stack.enter_async_context(exporters(database, target))


async def ended(stored: Stored, status: str = "succeeded") -> UUID:
    claim = await stored.claimed()
    await stored.finish(claim, status)
    return claim.run_id
