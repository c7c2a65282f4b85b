"""Exports finished runs to MLflow and an OTLP endpoint, with a loop for each, within the registry's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from flowyard.export.addresses import MLFLOW, OTLP
from flowyard.export.client import open_client
from flowyard.export.exporter import Exporter, ExportParts, Target
from flowyard.export.finished_run import RunReader
from flowyard.export.mlflow import MlflowTarget
from flowyard.export.mlflow_cleaning import keep_clean
from flowyard.export.otlp import OtlpTarget
from flowyard.storage.exports import Exports
from flowyard_registry.parts import RegistryParts

_MLFLOW_TIMEOUT_S: Final = 10.0


async def export_runs(parts: RegistryParts) -> None:
    """Runs until it is cancelled. A failing target affects neither the other one nor the registry."""
    async with _targets(parts) as targets, asyncio.TaskGroup() as tasks:
        for target in targets:
            exporting = ExportParts(
                exports=Exports(parts.database),
                # A reader per target: a target's large runs wait for each other, not for another target.
                reader=RunReader(parts.database),
                metrics=parts.metrics.exports,
                max_waiting=parts.settings.export_most_waiting,
            )
            tasks.create_task(Exporter(target, exporting).run())
            if isinstance(target, MlflowTarget):
                # With a client of its own: whatever it does, no export waits for it.
                tasks.create_task(_keep_mlflow_clean(parts.settings.mlflow_url, exporting.exports))


async def _keep_mlflow_clean(url: str, exports: Exports) -> None:
    async with open_client(MLFLOW, timeout_s=_MLFLOW_TIMEOUT_S) as client:
        await keep_clean(url.rstrip("/"), client, exports)


@asynccontextmanager
async def _targets(parts: RegistryParts) -> AsyncIterator[list[Target]]:
    url, address, resource = parts.settings.mlflow_url, parts.otel.address, parts.otel.resource
    targets: list[Target] = []
    async with AsyncExitStack() as stack:
        if url:
            client = await stack.enter_async_context(open_client(MLFLOW, timeout_s=_MLFLOW_TIMEOUT_S))
            targets.append(MlflowTarget(url, resource, client))
        if address is not None:
            timeout_s, secrets = parts.otel.timeout_s, address.secrets
            client = await stack.enter_async_context(open_client(OTLP, timeout_s=timeout_s, secrets=secrets))
            targets.append(OtlpTarget(address, resource, client))
        yield targets
