"""The settings of a sandbox."""

from __future__ import annotations

from pydantic import Field

from flowyard.service.code_settings import CodeBoundSettings
from flowyard.service.shell_programs import ShellSettings
from flowyard.settings import Port, ProcessSettings


class SandboxSettings(ProcessSettings, CodeBoundSettings, ShellSettings):
    port: Port = 8404
    sandbox_name: str = Field(
        "", pattern=r"^[A-Za-z0-9_-]{0,100}$", description="Name of this process in metrics and status"
    )
    sandbox_workers: int = Field(
        2, ge=1, le=64, description="Executions of code at the same time, of each tier: a process each"
    )
    sandbox_queue: int = Field(
        1000, ge=1, le=10_000, description="Most executions that wait for a worker; more are refused, and tried again"
    )
