"""The JSON Schema of documents (draft 2020-12), for editors."""

from __future__ import annotations

from typing import Any

from flowyard.language.reading.document import DocumentShape


def document_schema() -> dict[str, Any]:
    schema = DocumentShape.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Flowyard workflow",
        **{key: value for key, value in schema.items() if key != "title"},
    }
