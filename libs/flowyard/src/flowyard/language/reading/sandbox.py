"""The keys of `sandbox`, of a node and of the whole document."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from flowyard.language.nodes import CodeTier
from flowyard.language.reading.keys import OLD_KEY, CodeSeconds, Shape


class SandboxShape(Shape):
    """The interpreter of code, and its limits. The keys after `memory_mb` are of older documents."""

    tier: CodeTier | None = Field(None, description="fast (default): most of Python; full: all of it, slower.")
    timeout: CodeSeconds | None = Field(None, description="Time that the code may take, 10 s if left out.")
    memory_mb: int | None = Field(None, ge=16, le=512, description="Megabytes that the code may use, 128 if left out.")
    mode: Any = Field(None, json_schema_extra=OLD_KEY)
    enabled: Any = Field(None, json_schema_extra=OLD_KEY)
    network: Any = Field(None, json_schema_extra=OLD_KEY)
    preset: Any = Field(None, json_schema_extra=OLD_KEY)
    resources: Any = Field(None, json_schema_extra=OLD_KEY)
