"""What FastAPI leaves out of an OpenAPI document: our errors, the tags, the licence, the server."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from flowyard.errors.requests import InvalidRequest, TooLarge
from flowyard.web.problems import SCHEMA, SCHEMA_NAME, problem_responses

INFO: Final = {
    "contact": {"name": "The maintainers of Flowyard"},
    "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
}
_SERVERS: Final = [{"url": "/", "description": "Where this document comes from"}]
_TAGS: Final = {
    "runs": "Run workflows, and see what their runs do",
    "chat": "Workflows as models of OpenAI's chat API and of Open Responses, and their conversations",
    "mcp": "Workflows as tools of the Model Context Protocol",
    "reports": "What runs cost, and where their time goes",
    "keys": "Make and revoke API keys",
    "audit": "Who has changed what",
    "status": "The state of the installation",
    "workflows": "The workflows, with all their revisions",
    "triggers": "What starts runs, and what came for it",
    "webhooks": "Where others report what has happened; needs no key, since senders are verified",
    "notifications": "What is sent to others about runs, and who receives it",
    "language": "The language of documents, and checks of them",
    "agents": "Executors, and other programs that can do work",
    "events": "The stream of public events",
    "health": "For supervisors and load balancers; needs no key",
}


class NamedRoute(APIRoute):
    """The `route_class` of routers that are in the document: there each operation has the name of its handler."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "generate_unique_id_function": attrgetter("name")})


class DocumentedApp(FastAPI):
    """FastAPI with our problems in its OpenAPI document instead of its own shape of errors.

    Each operation gets those of an invalid request.
    """

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            for path in document["paths"].values():
                for operation in path.values():
                    _add_request_problems(operation)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas[SCHEMA_NAME] = SCHEMA
            _restore_nulls(schemas)
            document["info"].update(INFO)
            document["servers"] = _SERVERS
            describe_tags(document)
            self.openapi_schema = document
        return self.openapi_schema


def describe_tags(document: dict[str, Any]) -> None:
    """Describes the tags of the operations. `make lint-api` complains of one that has no description here."""
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    used = {tag for operation in operations for tag in operation.get("tags", ())}
    document["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items() if name in used]


def _restore_nulls(schemas: dict[str, Any]) -> None:
    """FastAPI leaves out null values, even in examples, which then don't fit their schemas."""
    for model in _models_below(BaseModel):
        schema = schemas.get(model.__name__, {})
        extra = model.model_config.get("json_schema_extra")
        if "examples" in schema and isinstance(extra, dict) and "examples" in extra:
            examples = model.model_json_schema()["examples"]
            # Another model may have the same name.
            if [_without_nulls(example) for example in examples] == schema["examples"]:
                schema["examples"] = examples


def _models_below(parent: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in parent.__subclasses__():
        yield model
        yield from _models_below(model)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


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
