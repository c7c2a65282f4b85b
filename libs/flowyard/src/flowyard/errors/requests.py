"""Errors of callers: their request is wrong, or not allowed."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

from flowyard.errors.base import FlowyardError

MOST: Final = 50
"""Most problems that an error lists; it counts the others."""
_LONGEST: Final = 1000
_FEW: Final = 5


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


class TooDense(TooLarge):
    """Something has more lists and objects in it than it may have. `verb`: has or have."""

    detail_fields = ("limit_containers",)

    def __init__(self, what: str, count: int, *, limit: int, verb: str = "has") -> None:
        self.limit_containers = limit
        FlowyardError.__init__(self, f"{what} {verb} {count:,} lists and objects; at most {limit:,} are allowed")


class WrongMethod(FlowyardError, code="method_not_allowed", status=405, title="Method Not Allowed"):
    """The address is there, but doesn't take this method."""

    def __init__(self, method: str, *, allowed: str) -> None:
        super().__init__(f"this webhook doesn't take {method}, only {allowed}")


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


class UnknownTrigger(NotFound, code="unknown_trigger", title="No such trigger"):
    kind = "trigger"


class UnknownDelivery(NotFound, code="unknown_delivery", title="No such delivery"):
    kind = "delivery"


class UnknownSession(NotFound, code="unknown_session", title="No such conversation"):
    kind = "conversation"


class UnknownModel(NotFound, code="model_not_found", title="No such model"):
    """No workflow of this name has a chat trigger that is live, or the caller's key isn't for it."""

    kind = "model"


class UnknownResponse(NotFound, code="response_not_found", title="No such response"):
    """No response has this id, or it is another key's, or wasn't stored."""

    kind = "response"


class UnknownPreviousResponse(FlowyardError, code="previous_response_not_found", status=400, title="No such response"):
    """A request continues what can't be continued. OpenAI answers so, too: its clients then send all messages again."""

    detail_fields = ("problems",)

    def __init__(self, message: str) -> None:
        self.problems = ({"where": "body.previous_response_id", "message": message},)
        super().__init__(message)


class SessionBusy(FlowyardError, code="session_busy", status=409, title="The conversation waits for an answer"):
    """The last message of the conversation isn't answered yet, and another one doesn't wait for that, or not longer.

    `run_id`: of the one that is at work; None: it is about to be made.
    """

    detail_fields = ("run_id",)

    def __init__(self, run_id: str | None) -> None:
        self.run_id = run_id
        self.retry_after = 2.0
        super().__init__("the last message of this conversation isn't answered yet: wait for that, then send again")


class UnknownHook(NotFound, code="unknown_hook", title="No such webhook"):
    kind = "webhook"


class UnknownNotification(NotFound, code="unknown_notification", title="No such notification"):
    kind = "notification"


class UnknownReceiver(NotFound, code="unknown_receiver", title="No such receiver of notifications"):
    kind = "receiver"


class ReceiverDisabled(
    FlowyardError, code="receiver_disabled", status=409, title="The receiver of a notification is disabled"
):
    """Nothing is sent to it until it is enabled. `receiver`: its id."""

    detail_fields = ("receiver",)

    def __init__(self, receiver: str) -> None:
        self.receiver = receiver
        super().__init__(f"the receiver {receiver} is disabled: enable it first, then what waits for it is sent")


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
        wrong = "the API key isn't valid: it is unknown, misspelled, revoked, or was replaced"
        super().__init__(wrong if given else "no API key: send the header 'Authorization: Bearer fy_…'")


class ExpiredKey(Unauthorized, code="key_expired", title="The API key has expired"):
    """Only for a request with the right secret: others don't learn that there is such a key."""

    detail_fields = ("expired_at",)

    def __init__(self, key_name: str, expired_at: datetime) -> None:
        self.given = True
        self.expired_at = expired_at
        FlowyardError.__init__(
            self, f"the API key '{key_name}' expired on {expired_at:%Y-%m-%d at %H:%M:%S} UTC: ask for a new one"
        )


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


class NotForKey(FlowyardError, code="not_for_key", status=403, title="The API key is for other workflows"):
    """The API key has a list of workflows. `workflow`: the one of the request; None: it is about all of them."""

    detail_fields = ("workflows",)

    def __init__(self, *, key_name: str, workflows: Collection[str], workflow: str | None = None) -> None:
        self.workflows = sorted(workflows)
        what = f"not for '{workflow}'" if workflow is not None else "and this is about the whole installation"
        super().__init__(f"the API key '{key_name}' is only for {_listed(self.workflows)}, {what}")


def _listed(workflows: Sequence[str]) -> str:
    names = [f"'{name}'" for name in workflows[:_FEW]]
    more = len(workflows) - len(names)
    return f"{'the workflows ' if len(workflows) > 1 else ''}{', '.join(names)}" + (f" and {more} more" if more else "")


class TooManyRequests(FlowyardError, code="too_many_requests", status=429, title="Too many requests with this API key"):
    """The API key has a rate, and its requests exceed it."""

    detail_fields = ("requests_per_minute",)

    def __init__(self, *, key_name: str, rate: int, retry_after: float) -> None:
        self.requests_per_minute = rate
        self.retry_after = retry_after
        super().__init__(
            f"the API key '{key_name}' may make {rate} requests per minute: try again in {math.ceil(retry_after)} s"
        )


class KeyIsOver(FlowyardError, code="key_is_over", status=409, title="The API key is revoked or expired"):
    """A key that was revoked or has expired can't be rotated. `how`: a participle."""

    def __init__(self, key_id: str, how: str) -> None:
        super().__init__(f"the API key '{key_id}' {how}: create another one")


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


class PathTaken(FlowyardError, code="path_taken", status=409, title="The path belongs to another workflow"):
    """A webhook's path is that of another workflow, and requests can't be for both. `workflow`: None for who may not
    learn of it.
    """

    detail_fields = ("path", "workflow")

    def __init__(self, path: str, *, workflow: str | None) -> None:
        self.path, self.workflow = path, workflow
        owner = f"the workflow '{workflow}'" if workflow is not None else "another workflow"
        super().__init__(f"the path /hooks/{path} belongs to {owner}: choose another one")


class AgentTaken(FlowyardError, code="agent_taken", status=409, title="Another agent has this id"):
    """The id belongs to an agent of another kind, which is alive."""

    def __init__(self, agent_id: str) -> None:
        super().__init__(f"'{agent_id}' is an agent of another kind: choose another id")
