"""Documents our problems in OpenAPI, instead of FastAPI's own shape of errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI

from flowyard.errors.requests import InvalidRequest, TooLarge
from flowyard.web.problems import SCHEMA, SCHEMA_NAME, problem_responses

_FASTAPI_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")


class DocumentedApp(FastAPI):
    """FastAPI with problems in its OpenAPI document. Each operation gets those of an invalid request."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            for operation in _operations(document):
                _add_request_problems(operation)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in _FASTAPI_SCHEMAS:
                schemas.pop(name, None)
            schemas[SCHEMA_NAME] = SCHEMA
            self.openapi_schema = document
        return self.openapi_schema


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _add_request_problems(operation: dict[str, Any]) -> None:
    has_body = "requestBody" in operation
    if not has_body and not operation.get("parameters"):
        return
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]
    for error in (InvalidRequest, TooLarge) if has_body else (InvalidRequest,):
        _merge(responses, problem_responses(error))


def _merge(responses: dict[str, Any], more: dict[int | str, dict[str, Any]]) -> None:
    for status, response in more.items():
        merged = responses.setdefault(str(status), response)
        if merged is response:
            continue
        for media_type, content in response["content"].items():
            documented = merged.setdefault("content", {}).setdefault(media_type, content)
            documented.setdefault("examples", {}).update(content["examples"])
            merged["description"] = ", ".join(f"`{code}`" for code in documented["examples"])
