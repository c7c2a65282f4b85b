"""Errors as OpenAI's clients read them: `{"error": {message, type, param, code}}`. `code` is ours, and stable."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

_TYPES: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.PAYMENT_REQUIRED: "insufficient_quota",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
OF_FAILED_RUNS: Final[Mapping[str, int]] = {
    "content_refused": HTTPStatus.BAD_REQUEST,
    "budget_exceeded": HTTPStatus.PAYMENT_REQUIRED,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "timeout": HTTPStatus.GATEWAY_TIMEOUT,
    "run_timeout": HTTPStatus.GATEWAY_TIMEOUT,
    "provider_error": HTTPStatus.BAD_GATEWAY,
    "model_refused": HTTPStatus.BAD_GATEWAY,
    "invalid_output": HTTPStatus.BAD_GATEWAY,
}
"""The statuses of runs that have failed with these codes; of all others, 500."""
_OF_PROBLEMS: Final = frozenset({"type", "title", "status", "detail", "code", "instance"})
RETRY_HEADER: Final = "x-should-retry"
"""Clients of OpenAI repeat requests that were answered 409, 429 or 5xx, unless this says `false`."""


def error_body(message: str, code: str, status: int, *, param: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def status_of_run(code: str) -> int:
    """The HTTP status for a run that has failed with this code."""
    return int(OF_FAILED_RUNS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR))


def of_problem(problem: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """The status and the body of an error that other routes answer as problem+json."""
    code, status = str(problem["code"]), int(problem["status"])
    param: str | None = None
    place = next((_place(each) for each in problem.get("problems", ())), None)
    if place is not None and place != "body":
        param = place.removeprefix("body.").removeprefix("_caller.")
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        # As OpenAI answers what has the wrong shape.
        status = int(HTTPStatus.BAD_REQUEST)
    body = error_body(str(problem["detail"]), code, status, param=param)
    details = {name: value for name, value in problem.items() if name not in _OF_PROBLEMS}
    return status, {"error": {**details, **body["error"]}}


def _place(problem: Any) -> str | None:
    """Where in the request a problem is: it has a key for that, or it is a text that begins with it."""
    match problem:
        case {"where": str(where)}:
            return where
        case str():
            return problem.partition(":")[0]
        case _:
            return None
