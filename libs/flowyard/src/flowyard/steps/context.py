"""The context of the steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from flowyard.language.tools import NO_RULES, ToolRules
from flowyard.llm.calls import Model
from flowyard.runs.run import ENGINE
from flowyard.steps.budget_gate import BudgetGate
from flowyard.steps.call_limits import CallLimits, LocalLimits
from flowyard.steps.code_runner import RunCode, no_sandbox
from flowyard.steps.recorder import Recorder
from flowyard.steps.vault import InMemoryVault, Vault
from flowyard.tools.registry import ToolRegistry

OUTPUTS_LIMIT: Final = 8 * 1024 * 1024
STATE_LIMIT: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """Most bytes, as JSON: `outputs` of a step; `state` of a run, with the results of its maps."""

    outputs: int = OUTPUTS_LIMIT
    state: int = STATE_LIMIT


CheckDocuments: TypeAlias = Callable[[str], Coroutine[Any, Any, Sequence[str]]]
"""What is wrong with the workflow in a text that a model has written, an entry each. Nothing of it is executed."""


async def no_checks(text: str) -> Sequence[str]:
    """Where documents can't be checked, none is accepted."""
    del text
    return ["workflows can't be checked here"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What all steps of one run share. `budget_gate`: None without limits.

    `streams`: whether the tokens of a call that begins now are emitted as they arrive. `log_prompts`: what is
    said in calls is kept, unless a node doesn't want it.

    `engine`: the rules by which the run goes on. `tools`: what its nodes may call, by `tool_rules`, those of the
    installation; `now` is the time that they are told. `chance` returns a random number in [0, 1), `clock` seconds:
    parameters, so that tests control them.
    """

    run_id: str
    model: Model
    recorder: Recorder
    streams: Callable[[], bool]
    log_prompts: bool = False
    chance: Callable[[], float]
    clock: Callable[[], float]
    budget_gate: BudgetGate | None = None
    limits: CallLimits = field(default_factory=LocalLimits)
    engine: int = ENGINE
    sizes: SizeLimits = field(default_factory=SizeLimits)
    check_documents: CheckDocuments = no_checks
    tools: ToolRegistry = field(default_factory=ToolRegistry)
    tool_rules: ToolRules = NO_RULES
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    run_code: RunCode = no_sandbox
    vault: Vault = field(default_factory=lambda: InMemoryVault({}))
