from __future__ import annotations

from typing import Any

import pytest

from flowyard.errors.requests import InvalidInputs
from flowyard.language.inputs import input_from_text, valid_inputs
from flowyard.language.load import load_text
from flowyard.language.values.conform import conform
from flowyard.language.values.types import ANY, BOOL, FLOAT, INT, STR, ListOf, Nullable, Type
from flowyard.language.workflow import Workflow

DOCUMENT = """
flow: {name: inputs}
state:
  fields:
    topic: {type: str, required: true, description: what it is about}
    ratio: {type: float, default: 0.5}
    ages: {type: "list[int]", default: []}
    poem: str
nodes:
  - {id: write, prompt: "{topic}{ratio}{ages}", outputs: [poem]}
"""


def workflow() -> Workflow:
    loaded = load_text(DOCUMENT, "inputs.yaml").workflow
    assert loaded is not None
    return loaded


def test_inputs_are_taken_with_int_widened() -> None:
    inputs = valid_inputs(workflow(), {"topic": "bees", "ratio": 1})
    assert inputs == {"topic": "bees", "ratio": 1.0}
    assert type(inputs["ratio"]) is float


def test_every_fault_of_the_inputs_is_reported_at_once() -> None:
    with pytest.raises(InvalidInputs) as refused:
        valid_inputs(workflow(), {"ages": [1, "x"], "ratoi": 1, "poem": "a"})
    ages, ratoi, poem, topic = refused.value.problems
    assert ages == "ages[1]: expected int, got str 'x'"
    assert "did you mean 'ratio'?" in ratoi
    assert "written by the workflow" in poem
    assert topic == "topic: missing (str, what it is about)"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (STR, "3", "3"),
        (STR, "null", "null"),
        (Nullable(STR), "true", "true"),
        (INT, "3", 3),
        (FLOAT, "3", 3),
        (BOOL, "true", True),
        (BOOL, "yes", "yes"),
        (ListOf(INT), "[1, 2]", [1, 2]),
        (ANY, '{"a": null}', {"a": None}),
        (ANY, "plain words", "plain words"),
    ],
)
def test_a_text_from_the_command_line_is_read_by_its_fields_type(kind: Type, text: str, value: Any) -> None:
    read = input_from_text(kind, text)
    assert (read, type(read)) == (value, type(value))


def test_a_text_that_does_not_fit_is_left_for_the_check_to_report() -> None:
    problems: list[str] = []
    conform(INT, input_from_text(INT, "many"), "n", problems)
    assert problems == ["n: expected int, got str 'many'"]
