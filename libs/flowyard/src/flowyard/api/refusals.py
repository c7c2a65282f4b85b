"""Why a request to a Flowyard failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import httpx

from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidDocument, InvalidInputs

AWAY: Final = frozenset({httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT})
"""Statuses of an answer that may be another one in a moment."""


class Unreachable(FlowyardError):
    """Nobody answers, or not to the end."""

    code = "unreachable"
    status = 503
    title = "Flowyard can't be reached"
    detail_fields = ("url",)

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        super().__init__(f"can't reach Flowyard at {url}: {reason}")


class Unintelligible(FlowyardError):
    """Somebody answers, and not as Flowyard does: the address is another one's, or something stands before it."""

    code = "unintelligible"
    status = 502
    title = "The answer isn't Flowyard's"
    detail_fields = ("url",)

    def __init__(self, url: str, detail: str) -> None:
        self.url = url
        super().__init__(f"{url} doesn't answer as Flowyard does: {detail}")


class Refused(FlowyardError):
    """Flowyard refused the request. `code`, `title`, `status` and `details` are those of its answer."""

    code = "refused"
    _standard: ClassVar[frozenset[str]] = frozenset({"type", "title", "status", "detail", "code", "instance"})

    def __init__(self, problem: Mapping[str, Any], *, status: int, retry_after: float | None = None) -> None:
        # Other errors have these by their class; this one has those of an answer.
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
    """The error in an answer that has been read. Classes whose facts are part of the answer are restored."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        status = f"{response.status_code} {response.reason_phrase}".strip()
        # What stands before a gateway speaks for it while it is away.
        return Unreachable(url, status) if response.status_code in AWAY else Unintelligible(url, status)
    problems = problem.get("problems")
    if problems and problem["code"] == InvalidInputs.code:
        return InvalidInputs([str(each) for each in problems])
    if problems and problem["code"] == InvalidDocument.code:
        return InvalidDocument(problems)
    return Refused(problem, status=response.status_code, retry_after=retry_after(response))


def retry_after(response: httpx.Response) -> float | None:
    """In seconds."""
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None
