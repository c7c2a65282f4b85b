from __future__ import annotations

from typing import Any

import pytest

from flowyard.llm.local_model import bounded


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, {"type": "string", "maxLength": 200}),
        ({"type": "string", "minLength": 300}, {"type": "string", "minLength": 300, "maxLength": 300}),
        ({"type": "string", "maxLength": 5}, {"type": "string", "maxLength": 5}),
        ({"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"type": "integer"}, {"type": "integer"}),
        (
            {"type": "array", "items": {"type": "string"}},
            {"type": "array", "items": {"type": "string", "maxLength": 200}, "maxItems": 8},
        ),
        (
            {"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]},
            {"type": "object", "properties": {"type": {"type": "string", "maxLength": 200}}, "required": ["type"]},
        ),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            {"anyOf": [{"type": "string", "maxLength": 200}, {"type": "null"}]},
        ),
    ],
)
def test_what_has_no_end_gets_one(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert bounded(schema) == expected
