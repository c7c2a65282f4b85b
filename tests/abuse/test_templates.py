"""Templates and expressions that cost more than they look: they are refused when the document is loaded, or cheap."""

from __future__ import annotations

from typing import Any

import pytest

from flowyard.language.load import load_text
from flowyard.language.values.templates import MAX_LENGTH, MAX_PLACEHOLDERS, MAX_STEPS, parse_template
from support.campaigns import Campaigns
from support.holding import LONGEST_S, held_s


def document(prompt: str) -> str:
    return f"""\
flow: {{name: template}}
state: {{fields: {{t: {{type: any, required: true}}, poem: str}}}}
nodes:
  - id: write
    outputs: [poem]
    prompt: '{prompt}'
"""


@pytest.mark.parametrize(
    ("what", "prompt", "column", "message"),
    [
        ("steps", "Go {t" + "[0]" * 33 + "}", 17, "takes 33 steps; the limit is 32"),
        ("very many steps", "Go {t" + "[0]" * 30_000 + "}", 17, "takes 30,000 steps; the limit is 32"),
        ("placeholders", "{t}" * 501, 14 + 1500, "has 501 placeholders; the limit is 500"),
        ("length", "{t}" + "x" * 199_998, 14 + 200_000, "has 200,001 characters; the limit is 200,000"),
    ],
)
def test_a_template_without_bounds_is_refused_where_it_stands(
    campaign: Campaigns, what: str, prompt: str, column: int, message: str
) -> None:
    with campaign("templates beyond their limits").attempt(what):
        (problem,) = load_text(document(prompt), "t.yaml").problems
        assert (problem.code, problem.position.line, problem.position.column) == ("template-too-large", 6, column)
        assert message in problem.message


@pytest.mark.parametrize(
    "prompt",
    ["x" * (MAX_LENGTH - 3) + "{t}", "{t}" * MAX_PLACEHOLDERS, ("{t" + "[0]" * MAX_STEPS + "}") * MAX_PLACEHOLDERS],
)
def test_a_template_at_its_limits_is_accepted(prompt: str) -> None:
    assert load_text(document(prompt), "t.yaml").problems == ()


@pytest.mark.parametrize("steps", [1_000, 60_000])
def test_a_placeholder_takes_time_in_proportion_to_its_steps(campaign: Campaigns, steps: int) -> None:
    value: Any = "end"
    for _ in range(steps):
        value = [value]
    template = parse_template("{t" + "[0]" * steps + "}")
    with campaign("work that holds an event loop").attempt(f"{steps:,} steps"):
        assert held_s(lambda: template.render({"t": value}.__getitem__)) < LONGEST_S
