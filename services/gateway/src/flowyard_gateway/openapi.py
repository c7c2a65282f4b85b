"""The gateway's OpenAPI document: its own routes, and those that it forwards to the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from flowyard.api.costs import CostGroup, CostReport, CostSums
from flowyard.api.history import CallView, EventView, StepView
from flowyard.api.keys import KeyView, NewKeyView
from flowyard.api.profiles import ProfileReport, RunProfile
from flowyard.api.runs import CancelledRuns, RunListItem, RunView

_WITH_NULLS: Final[tuple[type[BaseModel], ...]] = (
    CallView, CancelledRuns, CostGroup, CostReport, CostSums, EventView, KeyView, NewKeyView, ProfileReport, RunProfile,
    RunListItem, RunView, StepView,
)  # fmt: skip


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
    for model in _WITH_NULLS:
        # FastAPI leaves out null values, even in examples.
        schemas[model.__name__]["examples"] = model.model_json_schema()["examples"]
    for path, operations in registry["paths"].items():
        document["paths"].setdefault(path, {}).update(operations)
    for name, schema in registry["components"]["schemas"].items():
        schemas.setdefault(name, schema)
    return document
