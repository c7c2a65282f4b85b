"""The schemas of Open Responses, from the spec that the suite for its servers has."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_SPEC: Final = json.loads((files("llm_comply") / "specs" / "openresponses.json").read_bytes())
_SCHEMAS: Final = _SPEC["components"]["schemas"]
_EVENTS: Final[dict[str, str]] = {
    schema["properties"]["type"]["enum"][0]: name
    for name, schema in _SCHEMAS.items()
    if name.endswith("StreamingEvent")
}


@cache
def _validator(name: str) -> Draft202012Validator:
    resource = Resource.from_contents(_SPEC, default_specification=DRAFT202012)
    registry = Registry().with_resource("spec:", resource)
    return Draft202012Validator({"$ref": f"spec:#/components/schemas/{name}"}, registry=registry)


def problems_of(data: Any, name: str) -> list[str]:
    """What is wrong with data that should have the schema of this name."""
    return [f"{error.json_path}: {error.message}" for error in _validator(name).iter_errors(data)]


def checked_response(response: dict[str, Any]) -> dict[str, Any]:
    assert problems_of(response, "ResponseResource") == []
    return response


def checked_kinds(events: list[Any]) -> list[str]:
    """The kinds of all events of a stream, in their order, which are numbered, and as the spec has them."""
    *events, done = events
    assert done == "[DONE]"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        assert problems_of(event, _EVENTS[event["type"]]) == [], event
    return [event["type"].removeprefix("response.") for event in events]
