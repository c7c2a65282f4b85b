"""Executes the code of code nodes for commands that run a document in their own process: in workers of a sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from flowyard.errors.steps import SandboxUnavailable
from flowyard.language.nodes import CodeNode, CodeTier
from flowyard.language.workflow import Workflow
from flowyard.steps.code_runner import CodeCall, CodeEnding, CodeResult, RunCode, code_result, no_sandbox

if TYPE_CHECKING:
    from flowyard_sandbox.pool import Pool, WorkerKind

_MIB: Final = 1 << 20
_WORKER_MB: Final = 512
"""What a worker takes besides the memory of the code."""
_LOG: Final = 10_000


@asynccontextmanager
async def open_code(workflow: Workflow) -> AsyncIterator[RunCode]:
    """Starts a worker for each tier that the workflow uses; none, if it has no code."""
    limits = [node.limits for node in workflow.nodes.values() if isinstance(node, CodeNode)]
    if not limits:
        yield no_sandbox
        return
    # Inline: most commands execute no code.
    from flowyard_sandbox.jobs import CodeJob  # noqa: PLC0415
    from flowyard_sandbox.pool import open_pool  # noqa: PLC0415

    memory = (max(each.memory_mb for each in limits) + _WORKER_MB) * _MIB
    pools: dict[CodeTier, Pool] = {}
    async with AsyncExitStack() as stack:
        for tier in sorted({each.tier for each in limits}):
            pools[tier] = await stack.enter_async_context(open_pool(_kind(tier, memory), size=1))
            # Now: it takes as long as everything else that happens before the first step.
            pools[tier].start_another()

        async def run_code(call: CodeCall) -> CodeResult:
            job = CodeJob(
                code=call.code,
                inputs=call.inputs,
                timeout=call.limits.timeout,
                memory=call.limits.memory_mb * _MIB,
                log=_LOG,
                result=call.result,
            )
            ran = await pools[call.limits.tier].run(job)
            return code_result(call, CodeEnding(ran.ending, ran.result, ran.error, ran.line, ran.log, ran.cut))

        yield run_code


def _kind(tier: CodeTier, memory: int) -> WorkerKind:
    from flowyard_sandbox.pool import WorkerKind  # noqa: PLC0415
    from flowyard_sandbox.python_wasm import PythonMissing, compiled_python  # noqa: PLC0415

    if tier == "fast":
        return WorkerKind(tier=tier, memory=memory)
    try:
        return WorkerKind(tier=tier, memory=memory, files=[str(compiled_python())])
    except PythonMissing as error:
        raise SandboxUnavailable(str(error)) from error
