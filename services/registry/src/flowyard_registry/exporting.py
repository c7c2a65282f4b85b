"""Tells MLflow, and whoever takes OTLP, of finished runs: a loop for each, beside the registry's own work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from flowyard.export.addresses import MLFLOW, OTLP
from flowyard.export.exporter import Exporter, Exporting, Target
from flowyard.export.mlflow import MlflowTarget
from flowyard.export.otlp import OtlpTarget
from flowyard.export.sending import open_door
from flowyard.export.told import Teller
from flowyard.storage.exports import Exports
from flowyard_registry.parts import RegistryParts

_MLFLOW_TIMEOUT_S: Final = 10.0


async def export_runs(parts: RegistryParts) -> None:
    """Until it is cancelled. Whatever happens to a target is no concern of the others, or of the registry."""
    async with _targets(parts) as targets, asyncio.TaskGroup() as tasks:
        for target in targets:
            exporting = Exporting(
                exports=Exports(parts.database),
                # One each: large runs wait for each other, and not for a target that is away.
                teller=Teller(parts.database),
                metrics=parts.metrics.exports,
                most_waiting=parts.settings.export_most_waiting,
            )
            tasks.create_task(Exporter(target, exporting).run())


@asynccontextmanager
async def _targets(parts: RegistryParts) -> AsyncIterator[list[Target]]:
    url, address, resource = parts.settings.mlflow_url, parts.otel.address, parts.otel.resource
    found: list[Target] = []
    async with AsyncExitStack() as stack:
        if url:
            door = await stack.enter_async_context(open_door(MLFLOW, timeout_s=_MLFLOW_TIMEOUT_S))
            found.append(MlflowTarget(url, resource, door))
        if address is not None:
            timeout_s, secrets = parts.otel.timeout_s, address.secrets
            door = await stack.enter_async_context(open_door(OTLP, timeout_s=timeout_s, secrets=secrets))
            found.append(OtlpTarget(address, resource, door))
        yield found
