"""The one error tree. A class knows its code, title and HTTP status; its constructor takes facts, not sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class FlowyardError(Exception):
    """Anything that Flowyard reports to a person. `str()` of it is the message, without a traceback.

    `title` is the same for every error of a class. `retry_after`: seconds after which another try makes sense. `tells`:
    the attributes that a program can use.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something failed"
    tells: ClassVar[tuple[str, ...]] = ()
    retry_after: float | None = None

    @property
    def message(self) -> str:
        return str(self)

    @property
    def details(self) -> Mapping[str, Any]:
        """What a program can use, as JSON values; beside the message in an HTTP answer."""
        return {name: getattr(self, name) for name in self.tells}


class InvalidInputs(FlowyardError):
    """The inputs of a run don't fit the workflow's state."""

    code = "invalid_inputs"
    status = 422
    title = "The inputs don't fit the workflow"
    tells = ("problems",)

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class SecretsNotConfigured(FlowyardError):
    """A workflow has secret inputs, and there is no key to seal them with."""

    code = "secrets_not_configured"
    status = 422
    title = "There is no key for secret inputs"

    def __init__(self, workflow: str) -> None:
        do = "set FLOWYARD_SECRET_KEY, the same for gateway, dashboard and executors"
        how = "32 random bytes in Base64, as `openssl rand -base64 32` makes them"
        super().__init__(f"workflow '{workflow}' has secret inputs, and there is no key to seal them: {do} ({how})")


class UnreadableSecret(FlowyardError):
    """A sealed value can't be opened. `reason` doesn't spell it."""

    code = "unreadable_secret"
    status = 500
    title = "A secret input can't be read"

    def __init__(self, name: str, *, reason: str) -> None:
        hint = "FLOWYARD_SECRET_KEY has to be the one that gateway and dashboard have, or list it among its keys"
        super().__init__(f"the secret input '{name}' can't be opened: {reason} ({hint})")


class NotFound(FlowyardError):
    """Something was asked for by a name that nothing has. `hint` says what would be right."""

    code = "not_found"
    status = 404
    title = "Not found"
    kind: ClassVar[str] = "thing"

    def __init__(self, name: str, *, hint: str | None = None) -> None:
        self.name = name
        super().__init__(f"no {self.kind} '{name}'" + (f" ({hint})" if hint else ""))


class UnknownWorkflow(NotFound):
    code = "unknown_workflow"
    title = "No such workflow"
    kind = "workflow"


class UnknownRevision(NotFound):
    code = "unknown_revision"
    title = "No such revision of the workflow"
    kind = "revision"


class UnknownRun(NotFound):
    code = "unknown_run"
    title = "No such run"
    kind = "run"


class UnknownStep(NotFound):
    code = "unknown_step"
    title = "No such step of the run"
    kind = "step"


class UnknownAgent(NotFound):
    code = "unknown_agent"
    title = "No such agent"
    kind = "agent"


class UnknownKey(NotFound):
    code = "unknown_key"
    title = "No such API key"
    kind = "API key"


class Unauthorized(FlowyardError):
    """The request carries no API key, or one that isn't valid."""

    code = "unauthorized"
    status = 401
    title = "A valid API key is needed"

    def __init__(self, *, given: bool) -> None:
        self.given = given
        wrong = "the API key isn't valid: it is unknown, misspelled or revoked"
        super().__init__(wrong if given else "no API key: send the header 'Authorization: Bearer fy_…'")


class Forbidden(FlowyardError):
    """The API key is valid but may not do this."""

    code = "forbidden"
    status = 403
    title = "The API key may not do this"
    tells = ("needed_scope",)

    def __init__(self, *, scope: str, key_name: str) -> None:
        self.needed_scope = scope
        super().__init__(f"this needs the scope '{scope}', which the API key '{key_name}' doesn't have")


class IllegalMove(FlowyardError):
    """A run can't go from where it is to where it was told to go. `move` is what can't be done: `cancelled`."""

    code = "illegal_move"
    status = 409
    title = "The run's status doesn't allow this"
    tells = ("run_id", "run_status")

    def __init__(self, run_id: str, *, run_status: str, move: str) -> None:
        self.run_id = run_id
        self.run_status = run_status
        super().__init__(f"run {run_id} is {run_status}: it can't be {move}")


class WorkflowInUse(FlowyardError):
    """A workflow can't be deleted while runs of it are open."""

    code = "workflow_in_use"
    status = 409
    title = "The workflow has open runs"
    tells = ("open_runs",)

    def __init__(self, name: str, *, open_runs: int) -> None:
        self.open_runs = open_runs
        runs = "1 open run" if open_runs == 1 else f"{open_runs} open runs"
        super().__init__(f"workflow '{name}' has {runs}: wait for them, cancel them, or force the deletion")


class AgentTaken(FlowyardError):
    """An id belongs to an agent of another kind, which is there."""

    code = "agent_taken"
    status = 409
    title = "Another agent has this id"

    def __init__(self, agent_id: str) -> None:
        super().__init__(f"'{agent_id}' is an agent of another kind: choose another id")


class IdempotencyMismatch(FlowyardError):
    """An idempotency key came a second time, with another request."""

    code = "idempotency_mismatch"
    status = 422
    title = "The idempotency key belongs to another request"

    def __init__(self, key: str) -> None:
        super().__init__(f"the idempotency key '{key}' was used before with another request: use a new one")


class InvalidDocument(FlowyardError):
    """A document that can't become a workflow. Each problem: `file, line, column, code, message, suggestion`."""

    code = "invalid_document"
    status = 422
    title = "The document has mistakes"
    tells = ("problems",)

    def __init__(self, problems: Sequence[Mapping[str, Any]]) -> None:
        self.problems = tuple(problems)
        first, more = self.problems[0], len(self.problems) - 1
        place = f"{first['file']}:{first['line']}:{first['column']}"
        super().__init__(f"{place}: {first['message']}" + (f" (and {more} more)" if more else ""))


class InvalidRequest(FlowyardError):
    """A request that doesn't have the shape its route asks for. Each problem: `where` in the request, `message`."""

    code = "invalid_request"
    status = 422
    title = "The request doesn't have the right shape"
    tells = ("problems",)

    def __init__(self, problems: Sequence[Mapping[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p['where']}: {p['message']}" for p in self.problems))


class TooLarge(FlowyardError):
    """Something is larger than its limit, in bytes."""

    code = "too_large"
    status = 413
    title = "Too large"
    tells = ("limit_bytes",)

    def __init__(self, what: str, *, limit: int) -> None:
        self.limit_bytes = limit
        super().__init__(f"{what}: larger than the limit of {limit} bytes")


class QueueFull(FlowyardError):
    """So many runs wait that no more are taken for now."""

    code = "queue_full"
    status = 429
    title = "The queue is full"

    def __init__(self, *, limit: int, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(f"{limit} runs are queued, which is the limit: try again in {math.ceil(retry_after)} s")


class Unavailable(FlowyardError):
    """Something that the answer depends on can't be reached now: Postgres, NATS, another service."""

    code = "unavailable"
    status = 503
    title = "Something needed can't be reached"

    def __init__(self, what: str, *, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(f"{what} can't be reached now")


class ShuttingDown(FlowyardError):
    """A request was still open when the service's time to shut down was over."""

    code = "shutting_down"
    status = 503
    title = "The service shuts down"
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("the service shut down before this was done: try again")


class WrongDatabase(FlowyardError):
    """Postgres is there, and its address or its answer isn't what we need: no such database, a wrong password."""

    code = "wrong_database"
    status = 503
    title = "The database's address is wrong"

    def __init__(self, reason: str) -> None:
        super().__init__(f"FLOWYARD_DATABASE_URL doesn't lead to a database that can be used: {reason}")


class UnknownSchema(FlowyardError):
    """The database's tables aren't those that this version works with. None: there are none."""

    code = "unknown_schema"
    status = 503
    title = "The database has another schema"

    def __init__(self, *, found: str | None, needed: str) -> None:
        has = f"has schema {found}" if found else "has no tables yet"
        newer = found is not None and found > needed
        do = "it was made by a newer version of Flowyard: use that one" if newer else "run `flowyard migrate`"
        super().__init__(f"the database {has}, this version needs {needed}: {do}")


class CannotListen(FlowyardError):
    """A service can't listen where it was told to."""

    code = "cannot_listen"
    title = "The address can't be listened on"

    def __init__(self, *, host: str, port: int, reason: str) -> None:
        super().__init__(f"can't listen on {host}:{port}: {reason}")


class ClaimLost(FlowyardError):
    """An executor worked on a run that isn't its own any more. Nothing of what it wanted to write was written."""

    code = "claim_lost"
    status = 409
    title = "The claim on the run is lost"

    def __init__(self, run_id: str, *, epoch: int) -> None:
        self.run_id = run_id
        self.epoch = epoch
        super().__init__(f"claim {epoch} on run {run_id} isn't held any more")


class CommitRefused(FlowyardError):
    """Postgres is there, and can't store what a step has to say."""

    code = "commit_refused"
    status = 500
    title = "A step's results can't be stored"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the step's results can't be stored: {reason}")
