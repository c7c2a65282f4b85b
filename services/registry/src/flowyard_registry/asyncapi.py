"""The AsyncAPI document: which public events there are, where, and what they look like.

https://www.asyncapi.com/docs/reference/specification/v3.1.0
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from flowyard.api.public_events import PUBLIC_EVENTS, PublicEvent
from flowyard.bus import subjects
from flowyard.bus.event_stream import CONTENT_TYPE
from flowyard.export.cloud_events import TYPE_PREFIX
from flowyard.web.openapi import INFO

_ABOUT: Final = """\
What happens to runs, as CloudEvents in the JetStream stream `EVENTS`, in order per run and at least once: an event that
comes twice has the same `id`. Messages and events may gain fields: ignore those that you don't know.
"""
_WORKFLOW: Final = (
    "The workflow's name, in which everything but letters, digits, `_`, `-` and `~` is percent-encoded. To follow all"
    " workflows, subscribe with `*`"
)
_SERVER: Final = {
    "host": "{address}",
    "protocol": "nats",
    "description": "The NATS of the stack. The file `events_url` has its address, with the password of `reader`.",
    "variables": {"address": {"default": "127.0.0.1:4222", "description": "Host and port"}},
    "security": [{"$ref": "#/components/securitySchemes/reader"}],
}
_READER: Final = {"type": "userPassword", "description": "The NATS user `reader`"}
_HEADERS: Final = {
    "type": "object",
    "required": ["Nats-Msg-Id", "Content-Type"],
    "properties": {
        "Nats-Msg-Id": {"type": "string", "description": "The event's `id`"},
        "Content-Type": {"type": "string", "const": CONTENT_TYPE},
    },
}


def asyncapi_document(kinds: Collection[str]) -> dict[str, Any]:
    """`kinds`: the types of events that are published."""
    models = {kind: model for kind, model in PUBLIC_EVENTS.items() if kind in kinds}
    return {
        "asyncapi": "3.1.0",
        "id": "urn:flowyard:events",
        "info": {
            "title": "Flowyard events",
            "version": version("flowyard"),
            "description": _ABOUT,
            **INFO,
            "license": {"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "tags": [{"name": "events", "description": "What happens to runs and their steps"}],
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"nats": _SERVER},
        "channels": {_name(kind): _channel(kind, model) for kind, model in models.items()},
        "operations": {f"publish{_name(kind)}": _operation(kind, model) for kind, model in models.items()},
        "components": {
            "securitySchemes": {"reader": _READER},
            "messages": {_name(kind): _message(kind, model) for kind, model in models.items()},
            "schemas": _schemas(models.values()),
        },
    }


def _name(kind: str) -> str:
    """`run.queued` → `RunQueued`."""
    return "".join(word.capitalize() for word in kind.split("."))


def _summary(model: type[PublicEvent]) -> str:
    return (model.__doc__ or "").partition("\n")[0]


def _channel(kind: str, model: type[PublicEvent]) -> dict[str, Any]:
    return {
        "address": subjects.PUBLIC_EVENTS.replace(">", f"{{workflow}}.{kind}"),
        "title": kind,
        "description": _summary(model),
        "servers": [{"$ref": "#/servers/nats"}],
        "parameters": {"workflow": {"description": _WORKFLOW}},
        "messages": {_name(kind): {"$ref": f"#/components/messages/{_name(kind)}"}},
    }


def _operation(kind: str, model: type[PublicEvent]) -> dict[str, Any]:
    channel = f"#/channels/{_name(kind)}"
    return {
        "action": "send",
        "title": f"Publish {kind}",
        "summary": _summary(model),
        "description": "Flowyard sends it; to receive it, follow the stream.",
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{_name(kind)}"}],
    }


def _message(kind: str, model: type[PublicEvent]) -> dict[str, Any]:
    return {
        "name": TYPE_PREFIX + kind,
        "title": kind,
        "summary": _summary(model),
        "description": "A CloudEvent in structured mode.",
        "contentType": CONTENT_TYPE,
        "headers": _HEADERS,
        "payload": _cloud_event(kind, model),
    }


def _cloud_event(kind: str, model: type[PublicEvent]) -> dict[str, Any]:
    properties = {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string", "description": "The run's id and `seq`; the same whenever the event comes again"},
        "source": {"type": "string", "format": "uri-reference", "description": "The workflow in the API"},
        "type": {"type": "string", "const": TYPE_PREFIX + kind},
        "subject": {"type": "string", "format": "uuid", "description": "The run's id"},
        "time": {"type": "string", "format": "date-time", "description": "When it happened"},
        "datacontenttype": {"type": "string", "const": "application/json"},
        "data": {"$ref": f"#/components/schemas/{model.__name__}"},
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def _schemas(models: Collection[type[PublicEvent]]) -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(model, "serialization") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = definitions.get("$defs", {})
    return schemas
