"""What is much to read is evaluated in a thread, and what is little in the event loop."""

from __future__ import annotations

from threading import get_ident
from typing import Any

import pytest

from flowyard.language.values.expressions import Expression, parse_expression
from flowyard.language.values.templates import Template, parse_template
from flowyard.large_json import LIGHT
from flowyard.steps.reads import Reads

TEXTS: list[Template | Expression] = [parse_template("On {a}"), parse_expression("b > 0 and a == a")]
LITTLE: dict[str, Any] = {"a": "x", "b": 1}


@pytest.mark.parametrize("values", [LITTLE, {**LITTLE, "a": [1] * 300}, {**LITTLE, "unread": [1] * LIGHT}])
async def test_little_is_read_in_the_event_loop(values: dict[str, Any]) -> None:
    assert await Reads.of(TEXTS).evaluated(get_ident, values) == get_ident()


@pytest.mark.parametrize("values", [{**LITTLE, "a": [1] * LIGHT}, {**LITTLE, "b": {"c": ["y"] * LIGHT}}])
async def test_much_is_read_in_a_thread(values: dict[str, Any]) -> None:
    assert await Reads.of(TEXTS).evaluated(get_ident, values) != get_ident()


async def test_little_that_is_read_often_is_read_in_a_thread() -> None:
    assert await Reads.of(TEXTS, each=100).evaluated(get_ident, {**LITTLE, "a": [1] * 300}) != get_ident()
    assert await Reads.of(TEXTS * 1_000).evaluated(get_ident, LITTLE) != get_ident()
