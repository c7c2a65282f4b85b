"""The errors of the client: why a request to Flowyard failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import httpx

from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidDocument, InvalidInputs

TEMPORARY: Final = frozenset({httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT})
"""Statuses with which the same request may succeed a moment later."""


class Unreachable(FlowyardError, code="unreachable", status=503, title="Flowyard can't be reached"):
    """There is no response, or not a complete one."""

    detail_fields = ("url",)

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        super().__init__(f"can't reach Flowyard at {url}: {reason}")


class Unintelligible(FlowyardError, code="unintelligible", status=502, title="The answer isn't Flowyard's"):
    """The response isn't Flowyard's: the address is wrong, or a proxy answered."""

    detail_fields = ("url",)

    def __init__(self, url: str, detail: str) -> None:
        self.url = url
        super().__init__(f"{url} doesn't answer as Flowyard does: {detail}")


class Refused(FlowyardError, code="refused"):
    """Flowyard refused the request. `code`, `title`, `status` and `details` are those of its response."""

    _standard: ClassVar[frozenset[str]] = frozenset({"type", "title", "status", "detail", "code", "instance"})

    def __init__(self, problem: Mapping[str, Any], *, status: int, retry_after: float | None = None) -> None:
        # Other errors have these by their class, this one by its response.
        vars(self).update(code=str(problem["code"]), title=str(problem.get("title", "")), status=status)
        self.retry_after = retry_after
        self._details = {name: value for name, value in problem.items() if name not in self._standard}
        super().__init__(str(problem.get("detail") or problem.get("title") or problem["code"]))

    @property
    def details(self) -> Mapping[str, Any]:
        return self._details


def unreachable(url: str, error: httpx.TransportError) -> Unreachable:
    if isinstance(error, httpx.TimeoutException):
        return Unreachable(url, "no answer in time")
    reason = str(error).rpartition("] ")[2].rstrip(".") or type(error).__name__
    return Unreachable(url, reason[0].lower() + reason[1:])


def refusal(url: str, response: httpx.Response) -> FlowyardError:
    """The error in a response whose body was read: InvalidInputs and InvalidDocument as such, any other as Refused."""
    try:
        problem = problem_in(response.json())
    except ValueError:
        problem = None
    if problem is None:
        reason = f"{response.status_code} {response.reason_phrase}".strip()
        # A proxy answers instead of a gateway that is down.
        return Unreachable(url, reason) if response.status_code in TEMPORARY else Unintelligible(url, reason)
    problems = problem.get("problems")
    if problems and problem["code"] == InvalidInputs.code:
        return InvalidInputs(list(map(str, problems)))
    if problems and problem["code"] == InvalidDocument.code:
        return InvalidDocument(problems)
    return Refused(problem, status=response.status_code, retry_after=retry_after(response))


def problem_in(content: Any) -> Mapping[str, Any] | None:
    """What a body says of an error: problem+json, or OpenAI's form with its message as `detail`. None: neither."""
    match content:
        case {"error": {"code": code, "message": message, **rest}}:
            return {**{str(name): value for name, value in rest.items()}, "code": code, "detail": message}
        case {"code": _}:
            return dict(content)
        case _:
            return None


def retry_after(response: httpx.Response) -> float | None:
    """The header Retry-After, in seconds; None if there is none."""
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None
