"""Errors over HTTP: RFC 9457 `application/problem+json` with a stable `code`."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.types import Scope

from flowyard.access import Caller
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import (
    Forbidden,
    InvalidRequest,
    NotForKey,
    PathTaken,
    TooManyRequests,
    TooManyWrongKeys,
    Unauthorized,
    UnknownWorkflow,
)
from flowyard.errors.services import Unavailable
from flowyard.exact_json import json_fault_in_words

MEDIA_TYPE: Final = "application/problem+json"
INTERNAL: Final = "internal_error"
_MAX_SHOWN: Final = 200
SCHEMA_NAME: Final = "Problem"
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "An error (RFC 9457). Some codes have more fields: `problems`, `limit_bytes`, …",
    "required": ["type", "title", "status", "detail", "code", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "`urn:flowyard:problem:` and the code"},
        "title": {"type": "string", "description": "What went wrong, the same for every error with this code"},
        "status": {"type": "integer", "description": "The HTTP status"},
        "detail": {"type": "string", "description": "What went wrong this time, for people"},
        "code": {"type": "string", "description": "What went wrong, for programs; never changes"},
        "instance": {"type": "string", "format": "uri", "description": "`urn:flowyard:request:` and the request's id"},
    },
    "additionalProperties": True,
}


def add_problem_handlers(app: FastAPI) -> None:
    app.add_exception_handler(FlowyardError, _handle_flowyard_error)
    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    app.add_exception_handler(HTTPException, _handle_http_error)


def problem_responses(*errors: type[FlowyardError]) -> dict[int | str, dict[str, Any]]:
    """A route's `responses=`: its errors, by status."""
    responses: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        response = responses.setdefault(error.status, {"description": "", "content": {MEDIA_TYPE: _content()}})
        response["content"][MEDIA_TYPE]["examples"][error.code] = {"summary": error.title, "value": _example(error)}
        response["description"] = ", ".join(f"`{code}`" for code in response["content"][MEDIA_TYPE]["examples"])
    return responses


def guarded_responses(*errors: type[FlowyardError]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that needs a key and Postgres."""
    return problem_responses(
        Unauthorized, TooManyWrongKeys, TooManyRequests, Forbidden, NotForKey, Unavailable, *errors
    )


def guarded(needed: list[Any], *errors: type[FlowyardError]) -> dict[str, Any]:
    """Arguments of a route: `needed`, such as `auth.READ`, as its `dependencies`, and its errors as its `responses`."""
    return {"dependencies": needed, "responses": guarded_responses(*errors)}


def problem_of(error: FlowyardError, request_id: str) -> Response:
    """The response for an error."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Unauthorized):
        invalid = ', error="invalid_token"' if error.given else ""
        headers["www-authenticate"] = f'Bearer realm="flowyard"{invalid}'
    body = _body(error.code, error.title, error.status, error.message, request_id)
    return _response({**error.details, **body}, headers)


def for_caller(error: FlowyardError, scope: Scope) -> FlowyardError:
    """The error as the request's key may see it: without the names of workflows that the key isn't for."""
    caller: Caller | None = scope.get("state", {}).get("caller")
    if caller is None or caller.workflows is None:
        return error
    match error:
        case UnknownWorkflow():
            return UnknownWorkflow(error.name)  # without a hint
        case PathTaken() if error.workflow not in caller.workflows:
            return PathTaken(error.path, workflow=None)
        case _:
            return error


def internal_problem(request_id: str) -> Response:
    """The response for a bug. It contains only the request's id, by which the error is found in the log."""
    detail = f"this is a bug; see the log for the request id {request_id}"
    return _response(_body(INTERNAL, "Internal error", 500, detail, request_id), {})


def request_id_of(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", "unknown"))


async def _handle_flowyard_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FlowyardError)  # noqa: S101 - registered for it
    return problem_of(for_caller(error, request.scope), request_id_of(request))


async def _handle_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    # Without the input: it may contain a secret, and the caller knows it.
    problems = [{"where": ".".join(map(str, p["loc"]))[:_MAX_SHOWN], "message": _message(p)} for p in error.errors()]
    return problem_of(InvalidRequest(problems), request_id_of(request))


async def _handle_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    request_id = request_id_of(request)
    if isinstance(error.__cause__, FlowyardError):  # FastAPI wraps errors that are raised while it reads a body
        return problem_of(error.__cause__, request_id)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI raises it for a body that it can't parse
        return problem_of(InvalidRequest([{"where": "body", "message": "it can't be read as JSON"}]), request_id)
    status = HTTPStatus(error.status_code)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    code, title, detail = status.phrase.lower().replace(" ", "_"), status.phrase, error.detail
    if status is HTTPStatus.NOT_FOUND:
        code, title, detail = "no_such_route", "No such route", f"no route {request.method} {request.url.path}"
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["allow"] = ", ".join(_methods(request))
        detail = f"{request.url.path} doesn't take {request.method}, only {headers['allow']}"
    return _response(_body(code, title, status, detail, request_id), headers)


def _methods(request: Request) -> list[str]:
    """The methods of all routes with this path. Starlette's own header has only those of the first route."""
    path = request.scope["path"]
    routes = [r for r in iter_route_contexts(request.app.routes) if r.methods and r.path_regex.match(path)]
    return sorted({method for route in routes for method in route.methods or ()})


def _message(problem: dict[str, Any]) -> str:
    reason = problem.get("ctx", {}).get("error") if problem["type"] == "json_invalid" else None
    return f"not JSON: {json_fault_in_words(reason)}" if reason else str(problem["msg"]).removeprefix("Value error, ")


def _body(code: str, title: str, status: int, detail: str, request_id: str) -> dict[str, Any]:
    return {
        "type": f"urn:flowyard:problem:{code}",
        "title": title,
        "status": int(status),
        "detail": detail,
        "code": code,
        "instance": f"urn:flowyard:request:{request_id}",
    }


def _response(body: dict[str, Any], headers: dict[str, str]) -> Response:
    # ASCII: a caller's text may contain half a surrogate pair, which UTF-8 can't encode.
    return Response(json.dumps(body, default=str), body["status"], headers, MEDIA_TYPE)


def _content() -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{SCHEMA_NAME}"}, "examples": {}}


def _example(error: type[FlowyardError]) -> dict[str, Any]:
    return _body(error.code, error.title, error.status, "…", "0197c1f2b3a94d6e8f00a1b2c3d4e5f6")
