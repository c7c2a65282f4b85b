"""The settings of an executor."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, PlainValidator, SecretStr
from pydantic_settings import NoDecode

from flowyard.llm.calls import REPLY_LIMIT
from flowyard.llm.providers import read_litellm_providers
from flowyard.service.installation import InstallationSettings
from flowyard.service.own_name import container_name
from flowyard.service.tool_settings import ToolSettings
from flowyard.settings import Port, SecretKey
from flowyard.steps.context import OUTPUTS_LIMIT, STATE_LIMIT
from flowyard.storage.audit import KEPT_DAYS
from flowyard.storage.pace import Limit
from flowyard_executor.model_limit_settings import read_model_limits


def _own_name() -> str:
    if (container := container_name()) is not None:
        return container
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:100] or "executor"


class ExecutorSettings(InstallationSettings, ToolSettings):
    port: Port = 8403
    executor_name: str = Field(
        default_factory=_own_name,
        pattern=r"^[A-Za-z0-9_-]{1,100}$",
        description="Unique name of the executor; after a restart with the same name, it continues its runs",
    )
    slots: int = Field(
        512, ge=1, le=5000, description="Runs that the executor executes at the same time; most of them wait for models"
    )
    lease_s: float = Field(
        15.0, ge=0.5, le=600, description="Seconds without a renewal after which other executors take over its runs"
    )
    drain_s: float = Field(
        20.0, ge=0, le=3600, description="Seconds that running steps have after SIGTERM to end; then they are aborted"
    )
    poll_s: float = Field(1.0, gt=0, le=60, description="Seconds between polls of the queue, if no doorbell rings")
    sweep_s: float = Field(
        1.0, gt=0, le=60, description="Seconds between sweeps for runs with a lost executor, or past their timeout"
    )
    long_wait_s: float = Field(
        30.0, gt=0, description="Seconds: a step that waits longer than this for a retry frees its slot"
    )
    stream_tokens: bool = Field(default=True, description="Stream the replies of models in runs that somebody follows")
    log_prompts: bool = Field(
        default=False, description="Store the messages and replies of model calls, unless a document forbids it"
    )
    secret_key: SecretKey = SecretStr("")
    referenced_files: str = Field(
        "", description="Folder of the files to which headers in documents may refer as ${file:NAME}"
    )
    reply_limit: int = Field(REPLY_LIMIT, gt=0, description="Most bytes of a model's reply")
    memory_limit: int = Field(
        0,
        ge=0,
        description="Bytes of memory that it may use; 0: the limit of its control group, else the machine's memory",
    )
    memory_fraction: float = Field(
        0.8, gt=0, le=1, description="Fraction of its memory above which it claims no runs; later it hands some back"
    )
    outputs_limit: int = Field(
        OUTPUTS_LIMIT, ge=1024, le=16 * 1024 * 1024, description="Most bytes of a step's outputs, as JSON"
    )
    state_limit: int = Field(
        STATE_LIMIT,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Most bytes of a run's state, with the results of its maps, as JSON",
    )
    litellm: Annotated[frozenset[str], NoDecode, PlainValidator(read_litellm_providers)] = Field(
        default=frozenset(),
        description="Providers to call through LiteLLM although they can be called directly: openai, groq, or all",
    )
    retention_days: float = Field(
        30.0, gt=0, description="Days that finished runs are kept, with their events, steps, model calls and deliveries"
    )
    audit_days: int = Field(90, ge=KEPT_DAYS, le=36_500, description="Days that the audit log is kept")
    retention_every_s: float = Field(600.0, gt=0, description="Seconds between deletions of old runs")
    model_limits: Annotated[Mapping[str, Limit], NoDecode, PlainValidator(read_model_limits)] = Field(
        default_factory=dict,
        description="How many model calls all executors together make, by provider, or provider:VARIABLE of the key, "
        'as JSON: {"openai": {"concurrency": 20, "requests_per_minute": 500, "tokens_per_minute": 200000}}',
    )
