"""The gateway's OpenAPI document: its own routes, and those that it forwards to the registry."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from flowyard.openai_api.errors import OF_FAILED_RUNS, error_body, of_problem
from flowyard.web.openapi import describe_tags
from flowyard.web.problems import MEDIA_TYPE
from flowyard_gateway.chat.routes import ERRORS

_ANY_OTHER: Final = "assertion_failed"
"""One of the codes of failed runs that have no status of their own."""
_ERROR_NAME: Final = "ChatError"
_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "title": _ERROR_NAME,
    "description": "An error in OpenAI's form",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "What went wrong this time, for people"},
                "type": {"type": "string", "description": "The kind of error, in OpenAI's words"},
                "param": {"type": ["string", "null"], "description": "The part of the request that is wrong"},
                "code": {"type": "string", "description": "What went wrong, for programs; never changes"},
            },
            "additionalProperties": True,
        }
    },
}


def document_all(app: FastAPI, registry: Mapping[str, Any]) -> None:
    """Makes `app.openapi()` complete. The document is built at the first call, which takes a tenth of a second."""
    own = app.openapi
    built: list[dict[str, Any]] = []

    def openapi() -> dict[str, Any]:
        if not built:
            built.append(_complete(own(), registry))
        return built[0]

    # As FastAPI recommends: https://fastapi.tiangolo.com/how-to/extending-openapi/
    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any], registry: Mapping[str, Any]) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    for path, operations in registry["paths"].items():
        document["paths"].setdefault(path, {}).update(operations)
    for name, schema in registry["components"]["schemas"].items():
        schemas.setdefault(name, schema)
    for path, operations in document["paths"].items():
        if ERRORS.covers(path):
            for method, operation in operations.items():
                operation["responses"] = _in_openais_form(operation["responses"])
                if method == "post":
                    _add_failed_runs(operation["responses"])
    schemas[_ERROR_NAME] = _ERROR
    describe_tags(document)
    return document


def _in_openais_form(responses: Mapping[str, Any]) -> dict[str, Any]:
    """The problems among the responses as they are sent on these paths, some with another status."""
    sent = {status: response for status, response in responses.items() if MEDIA_TYPE not in response.get("content", {})}
    for response in (response for status, response in responses.items() if status not in sent):
        for code, example in response["content"][MEDIA_TYPE]["examples"].items():
            status, body = of_problem(example["value"])
            _add_error(sent, status, code, {**example, "value": body})
    return sent


def _add_failed_runs(responses: dict[str, Any]) -> None:
    """The errors of runs that were to answer, and have failed."""
    for code, status in {**OF_FAILED_RUNS, _ANY_OTHER: HTTPStatus.INTERNAL_SERVER_ERROR}.items():
        _add_error(responses, status, code, {"summary": "The run has failed", "value": error_body("…", code, status)})


def _add_error(responses: dict[str, Any], status: int, code: str, example: Mapping[str, Any]) -> None:
    schema = {"$ref": f"#/components/schemas/{_ERROR_NAME}"}
    content = {"application/json": {"schema": schema, "examples": {}}}
    examples = responses.setdefault(str(int(status)), {"content": content})["content"]["application/json"]["examples"]
    examples[code] = example
    responses[str(int(status))]["description"] = ", ".join(f"`{each}`" for each in examples)
