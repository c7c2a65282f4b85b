"""What an installation allows code to ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

from flowyard.language.nodes import CodeLimits, CodeTier

_TIERS: Final = get_args(CodeTier)


@dataclass(frozen=True, slots=True)
class CodeBounds:
    """`timeout`: most seconds of an execution. `memory_mb`: most megabytes."""

    tiers: tuple[CodeTier, ...] = _TIERS
    timeout: float = 60.0
    memory_mb: int = 512

    def within(self, limits: CodeLimits) -> CodeLimits:
        """As much of this as is allowed, of any tier."""
        return CodeLimits(limits.tier, min(limits.timeout, self.timeout), min(limits.memory_mb, self.memory_mb))

    def refusals(self, limits: CodeLimits) -> Iterator[tuple[str, str]]:
        """The keys that ask for too much, each with what is wrong."""
        if limits.tier not in self.tiers:
            allowed = ",".join(self.tiers)
            yield "tier", f"the tier '{limits.tier}' isn't allowed here (FLOWYARD_SANDBOX_TIERS is {allowed})"
        if limits.timeout > self.timeout:
            yield "timeout", f"code may take {self.timeout:g} s here at most (FLOWYARD_SANDBOX_TIMEOUT_S)"
        if limits.memory_mb > self.memory_mb:
            yield "memory_mb", f"code may use {self.memory_mb} MB here at most (FLOWYARD_SANDBOX_MEMORY_MB)"


def read_tiers(text: Any) -> tuple[CodeTier, ...]:
    """`FLOWYARD_SANDBOX_TIERS`: names, separated by commas. Raises ValueError."""
    if not isinstance(text, str):
        return tuple(text)
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in _TIERS:
            raise ValueError(f"should be {' or '.join(_TIERS)}, separated by commas: '{name}' is none")
    return cast("tuple[CodeTier, ...]", names)
