"""Errors of callers: their request is wrong, or not allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from flowyard.errors.base import FlowyardError

MOST: Final = 50
"""Most problems that an error lists; it counts the others."""
_LONGEST: Final = 1000


def _more(problems: Sequence[object]) -> tuple[str, ...]:
    return (f"and {len(problems) - MOST:,} more problems",) if len(problems) > MOST else ()


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


class InvalidRequest(FlowyardError, code="invalid_request", status=422, title="The request has the wrong shape"):
    """A request of the wrong shape. Each problem: `where` in the request, `message`."""

    detail_fields = ("problems",)

    def __init__(self, problems: Sequence[Mapping[str, str]]) -> None:
        self.problems = (*problems[:MOST], *({"where": "request", "message": more} for more in _more(problems)))
        super().__init__("; ".join(f"{p['where']}: {p['message']}" for p in self.problems))


class InvalidInputs(FlowyardError, code="invalid_inputs", status=422, title="The inputs don't fit the workflow"):
    """The inputs of a run don't fit the workflow's state."""

    detail_fields = ("problems",)

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = (*(_shortened(problem) for problem in problems[:MOST]), *_more(problems))
        super().__init__("; ".join(self.problems))


class InvalidDocument(FlowyardError, code="invalid_document", status=422, title="The document has mistakes"):
    """A document with errors. Each problem: `file, line, column, code, message, suggestion`."""

    detail_fields = ("problems",)

    def __init__(self, problems: Sequence[Mapping[str, Any]]) -> None:
        self.problems = tuple(problems)
        first, more = self.problems[0], len(self.problems) - 1
        place = f"{first['file']}:{first['line']}:{first['column']}"
        super().__init__(f"{place}: {first['message']}" + (f" (and {more} more)" if more else ""))


class TooLarge(FlowyardError, code="too_large", status=413, title="Too large"):
    """Something is larger than its limit, in bytes."""

    detail_fields = ("limit_bytes",)

    def __init__(self, what: str, *, limit: int) -> None:
        self.limit_bytes = limit
        super().__init__(f"{what}: larger than the limit of {limit} bytes")


class TooManyStreams(FlowyardError, code="too_many_streams", status=429, title="Too many streams are open"):
    """Another stream would exceed the limit of all streams, or of those of one key."""

    def __init__(self, *, limit: int, per_key: bool) -> None:
        self.retry_after = 5.0
        whose = "by this API key" if per_key else "here"
        super().__init__(f"{limit} streams are open {whose}, which is the limit: close some, or try again later")


class TooBusy(FlowyardError, code="too_busy", status=429, title="Too many requests at the same time"):
    """Too many requests of one kind are handled at the same time. `what`: the kind, in the plural."""

    def __init__(self, what: str) -> None:
        self.retry_after = 5.0
        super().__init__(f"too many other {what} are being handled: try again in a few seconds")


class BadHttp(FlowyardError, code="bad_http", status=400, title="Not HTTP"):
    """The bytes that a client sends aren't an HTTP request."""

    def __init__(self) -> None:
        super().__init__("this can't be read as an HTTP/1.1 request")


class HeadTooLarge(FlowyardError, code="head_too_large", status=431, title="The request's head is too large"):
    """A request with a long address, or with many or long headers."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the request isn't read: {reason}")


class RequestTooSlow(FlowyardError, code="request_too_slow", status=408, title="The request came too slowly"):
    """The head of a request took too long, or its body made no progress. `part`: head or body."""

    def __init__(self, part: str, *, seconds: float) -> None:
        super().__init__(f"the {part} of the request didn't come within {seconds:g} s")


class QueueFull(FlowyardError, code="queue_full", status=429, title="The queue is full"):
    """The queue holds as many runs as its limit allows."""

    def __init__(self, *, limit: int, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(f"{limit} runs are queued, which is the limit: try again in {math.ceil(retry_after)} s")


class IdempotencyMismatch(
    FlowyardError, code="idempotency_mismatch", status=422, title="The idempotency key belongs to another request"
):
    """An idempotency key was sent again with a different request."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the idempotency key '{key}' was used before with another request: use a new one")


class NotFound(FlowyardError, code="not_found", status=404, title="Not found"):
    """Nothing has this name. `hint`: what the caller may have meant."""

    kind: ClassVar[str] = "thing"

    def __init__(self, name: str, *, hint: str | None = None) -> None:
        self.name = name
        super().__init__(f"no {self.kind} '{name}'" + (f" ({hint})" if hint else ""))


class UnknownWorkflow(NotFound, code="unknown_workflow", title="No such workflow"):
    kind = "workflow"


class UnknownRevision(NotFound, code="unknown_revision", title="No such revision of the workflow"):
    kind = "revision"


class UnknownRun(NotFound, code="unknown_run", title="No such run"):
    kind = "run"


class UnknownStep(NotFound, code="unknown_step", title="No such step of the run"):
    kind = "step"


class UnknownOutput(NotFound, code="unknown_output", title="No such output"):
    kind = "output"


class UnknownAgent(NotFound, code="unknown_agent", title="No such agent"):
    kind = "agent"


class UnknownKey(NotFound, code="unknown_key", title="No such API key"):
    kind = "API key"


class Unauthorized(FlowyardError, code="unauthorized", status=401, title="A valid API key is needed"):
    """The request has no API key, or an invalid one. `given`: whether it has one."""

    def __init__(self, *, given: bool) -> None:
        self.given = given
        wrong = "the API key isn't valid: it is unknown, misspelled or revoked"
        super().__init__(wrong if given else "no API key: send the header 'Authorization: Bearer fy_…'")


class TooManyWrongKeys(FlowyardError, code="too_many_wrong_keys", status=429, title="Too many invalid API keys"):
    """The API key isn't valid, and it is one of many. A valid one is accepted at any time."""

    def __init__(self, *, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(
            "the API key isn't valid, and too many invalid ones came from this address or with its id: "
            f"try again in {math.ceil(retry_after)} s, or at once with a valid key"
        )


class Forbidden(FlowyardError, code="forbidden", status=403, title="The API key may not do this"):
    """The API key is valid but may not do this."""

    detail_fields = ("needed_scope",)

    def __init__(self, *, scope: str, key_name: str) -> None:
        self.needed_scope = scope
        super().__init__(f"this needs the scope '{scope}', which the API key '{key_name}' doesn't have")


class IllegalMove(FlowyardError, code="illegal_move", status=409, title="The run's status doesn't allow this"):
    """The run's status doesn't allow the move. `move`: a participle such as `cancelled`."""

    detail_fields = ("run_id", "run_status")

    def __init__(self, run_id: str, *, run_status: str, move: str) -> None:
        self.run_id = run_id
        self.run_status = run_status
        super().__init__(f"run {run_id} is {run_status}: it can't be {move}")


class WorkflowInUse(FlowyardError, code="workflow_in_use", status=409, title="The workflow has open runs"):
    """A workflow can't be deleted while runs of it are open."""

    detail_fields = ("open_runs",)

    def __init__(self, name: str, *, open_runs: int) -> None:
        self.open_runs = open_runs
        runs = "1 open run" if open_runs == 1 else f"{open_runs} open runs"
        super().__init__(f"workflow '{name}' has {runs}: wait for them, cancel them, or force the deletion")


class AgentTaken(FlowyardError, code="agent_taken", status=409, title="Another agent has this id"):
    """The id belongs to an agent of another kind, which is alive."""

    def __init__(self, agent_id: str) -> None:
        super().__init__(f"'{agent_id}' is an agent of another kind: choose another id")
