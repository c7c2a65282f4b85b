"""The settings of an executor."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, PlainValidator, SecretStr
from pydantic_settings import NoDecode

from flowyard.language.workflow import Budget
from flowyard.settings import Port, SecretKey, ServiceSettings
from flowyard_executor.daily_budget_settings import read_daily_budgets


def _own_name() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:100] or "executor"


class ExecutorSettings(ServiceSettings):
    port: Port = 8403
    executor_name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_-]{1,100}$",
            description="Unique name of the executor; after a restart with the same name, it continues its runs",
        ),
    ] = Field(default_factory=_own_name)
    slots: Annotated[int, Field(ge=1, le=1000, description="Runs that it executes at the same time")] = 32
    lease_s: Annotated[
        float,
        Field(ge=0.5, le=600, description="Seconds without a renewal after which other executors take over its runs"),
    ] = 15.0
    drain_s: Annotated[
        float, Field(ge=0, le=3600, description="Seconds for running steps to end after SIGTERM; then they are aborted")
    ] = 20.0
    poll_s: Annotated[
        float, Field(gt=0, le=60, description="Seconds between polls of the queue, if no doorbell rings")
    ] = 1.0
    sweep_s: Annotated[
        float,
        Field(gt=0, le=60, description="Seconds between sweeps for runs with a lost executor, or past their timeout"),
    ] = 1.0
    long_wait_s: Annotated[
        float, Field(gt=0, description="Seconds: a step that waits longer than this for a retry frees its slot")
    ] = 30.0
    stream_tokens: Annotated[
        bool, Field(description="Publish the tokens of models' replies while they are generated")
    ] = True
    secret_key: SecretKey = SecretStr("")
    referenced_files: Annotated[
        str, Field(description="Folder with the files that headers in documents may refer to, as ${file:NAME}")
    ] = ""
    retention_days: Annotated[
        float, Field(gt=0, description="Days that finished runs are kept, with their events, steps and model calls")
    ] = 30.0
    retention_every_s: Annotated[float, Field(gt=0, description="Seconds between deletions of old runs")] = 600.0
    daily_budgets: Annotated[
        Mapping[str, Budget],
        NoDecode,
        PlainValidator(read_daily_budgets),
        Field(
            description="What workflows may spend per day (UTC), as JSON: "
            '{"triage": {"usd": "1.50", "tokens": 100000, "model_calls": 500}}; "*": each other workflow'
        ),
    ] = Field(default_factory=dict)
