"""The settings that bound what documents may ask of sandboxes: set the same values for all services."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator
from pydantic_settings import NoDecode

from flowyard.language.code_bounds import CodeBounds, read_tiers
from flowyard.language.nodes import CodeTier
from flowyard.settings import Settings


class CodeBoundSettings(Settings):
    sandbox_tiers: Annotated[tuple[CodeTier, ...], NoDecode, PlainValidator(read_tiers)] = Field(
        ("fast", "full"), description="Tiers that code may ask for, separated by commas: fast, full"
    )
    sandbox_timeout_s: float = Field(60.0, gt=0, le=60, description="Most seconds that one execution of code may take")
    sandbox_memory_mb: int = Field(512, ge=16, le=512, description="Most megabytes that one execution of code may use")

    @property
    def code_bounds(self) -> CodeBounds:
        return CodeBounds(self.sandbox_tiers, self.sandbox_timeout_s, self.sandbox_memory_mb)
