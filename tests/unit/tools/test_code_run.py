from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from flowyard.errors.steps import CodeError, SandboxUnavailable
from flowyard.language.nodes import CodeLimits
from flowyard.tools.code_run import FACTS, tool
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import ToolContext, ToolFailed

CONTEXT = ToolContext(key="k", now=datetime(2026, 1, 1, tzinfo=UTC))


async def test_the_code_gets_its_inputs_and_its_tier() -> None:
    calls: list[tuple[str, dict[str, Any], CodeLimits]] = []

    async def execute(code: str, inputs: str, limits: CodeLimits) -> tuple[str, str]:
        calls.append((code, json.loads(inputs), limits))
        return "[3]", "x" * 5000

    run = tool(ToolServices(run_code=execute)).run
    answer = await run({"code": "result = [a]", "inputs": {"a": "ü"}, "tier": "full"}, CONTEXT)
    assert answer == {"result": [3], "printed": "x" * 2000}
    await run({"code": "result = 1"}, CONTEXT)
    assert calls == [("result = [a]", {"a": "ü"}, CodeLimits("full")), ("result = 1", {}, CodeLimits("fast"))]


async def test_what_the_code_has_printed_before_it_failed_is_in_the_error() -> None:
    async def execute(code: str, inputs: str, limits: CodeLimits) -> tuple[str, str]:
        raise CodeError("line 2: ValueError: no", log="seen\n")

    with pytest.raises(ToolFailed, match="line 2: ValueError: no\nprinted before:\nseen"):
        await tool(ToolServices(run_code=execute)).run({"code": "x"}, CONTEXT)


async def test_without_a_sandbox_it_fails() -> None:
    async def execute(code: str, inputs: str, limits: CodeLimits) -> tuple[str, str]:
        raise SandboxUnavailable("no sandbox takes code")

    with pytest.raises(ToolFailed, match="nothing executes code here"):
        await tool(ToolServices()).run({"code": "x"}, CONTEXT)
    with pytest.raises(ToolFailed, match="no sandbox takes code"):
        await tool(ToolServices(run_code=execute)).run({"code": "x"}, CONTEXT)


def test_it_has_no_effects() -> None:
    assert not FACTS.needs_permission
