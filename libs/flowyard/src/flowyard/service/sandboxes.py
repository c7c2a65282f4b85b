"""Executes code in a sandbox, for steps: sends it by NATS, and follows it until it has ended.

Code computes and does nothing else, so it is sent again whenever the sandbox that had it is gone.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Final

from flowyard.bus.code_messages import CodeFollow, CodeRequest, CodeState, CodeStop
from flowyard.bus.connection import Bus
from flowyard.errors.steps import CodeCrashed, CodeError, SandboxUnavailable
from flowyard.language.code_bounds import CodeBounds
from flowyard.steps.code_runner import CodeCall, CodeEnding, CodeResult, code_result

PATIENCE_S: Final = 10.0
"""How long a sandbox is looked for that takes the code: as long as one takes to be started again."""
_PAUSE_S: Final = 0.2
_ANSWER_S: Final = 5.0
"""A sandbox that lives answers sooner, see `desk.py` of the sandbox."""
_MOST_LOST: Final = 2
_MOST_SILENT: Final = 3
_MOST_BYTES: Final = 960 * 1024
"""Of the code and its inputs: a message of NATS has at most a megabyte."""


class Sandboxes:
    """The sandboxes that are connected to the same NATS as `bus`. `bounds`: of what code may ask for.

    `patience_s`: see PATIENCE_S.
    """

    def __init__(self, bus: Bus, bounds: CodeBounds, *, patience_s: float = PATIENCE_S) -> None:
        self._bus = bus
        self._bounds = bounds
        self._patience_s = patience_s

    async def run(self, call: CodeCall) -> CodeResult:
        """Raises CodeError. If it is cancelled, the code is stopped."""
        call = replace(call, limits=self._bounds.within(call.limits))
        _check_size(call)
        for _ in range(_MOST_LOST):
            request = _request(call)
            try:
                state = await self._ended(request)
            except BaseException:
                self._bus.publish(CodeStop(job=request.job))
                raise
            if state is not None:
                return code_result(
                    call, CodeEnding(state.ending, state.result, state.error, state.line, state.log, state.cut)
                )
        raise CodeCrashed(f"{_MOST_LOST} sandboxes have ended, or don't answer, since they got the code")

    async def _ended(self, request: CodeRequest) -> CodeState | None:
        """None: the sandbox that executed it is lost. Raises SandboxUnavailable."""
        clock = asyncio.get_running_loop().time
        until, was_busy = clock() + self._patience_s, False
        while True:
            requested_at = clock()
            state = await self._bus.request(request, CodeState, within_s=_ANSWER_S)
            if state is None and clock() - requested_at >= _ANSWER_S:
                # Somebody has received it: else NATS says at once that there is nobody.
                return None
            while state is not None and state.state in {"waiting", "running"}:
                was_running, until = state.state == "running", clock() + self._patience_s
                state = await self._next(request, state)
                if state is None and was_running:
                    return None
            if state is not None and state.state == "ended":
                return state
            was_busy = state is not None and state.state == "busy"
            if clock() > until:
                raise SandboxUnavailable(_BUSY if was_busy else _NONE)
            if state is None or was_busy:
                await asyncio.sleep(_PAUSE_S)

    async def _next(self, request: CodeRequest, state: CodeState) -> CodeState | None:
        """What has become of it since; None: its sandbox doesn't answer."""
        question = CodeFollow(sandbox=state.sandbox, job=request.job)
        for _ in range(_MOST_SILENT):
            answer = await self._bus.request(question, CodeState, within_s=_ANSWER_S)
            if answer is not None:
                return answer
            await asyncio.sleep(_PAUSE_S)
        return None


_NONE: Final = "no sandbox takes code: start one, see `flowyard status`"
_BUSY: Final = "all sandboxes have too much to do: start more of them, or raise FLOWYARD_SANDBOX_QUEUE"


def _request(call: CodeCall) -> CodeRequest:
    return CodeRequest(
        job=secrets.token_hex(16),
        tier=call.limits.tier,
        timeout=call.limits.timeout,
        memory_mb=call.limits.memory_mb,
        result=call.result,
        code=call.code,
        inputs=call.inputs,
    )


def _check_size(call: CodeCall) -> None:
    try:
        size = len(call.code.encode()) + len(call.inputs.encode())
    except UnicodeEncodeError as error:
        raise CodeError("the code or its inputs have halves of surrogate pairs, which UTF-8 can't hold") from error
    if size > _MOST_BYTES:
        raise CodeError(f"the code and its inputs have {size:,} bytes, more than {_MOST_BYTES:,}")
