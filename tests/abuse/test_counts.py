"""Documents with more parts than anyone needs: each kind of part has a limit, which is named where it is exceeded."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from flowyard.language.load import load_text
from support.campaigns import Campaigns

HEAD = "flow: {name: many}\nstate: {fields: {t: {type: str, default: a}, p: str}}\n"
NODE = "nodes:\n  - {id: a, outputs: [p], prompt: 'On {t}'}\n"


def several(item: str, count: int) -> str:
    return "[" + ", ".join(item.replace("#", str(i)) for i in range(count)) + "]"


def keys(count: int, value: str = "1") -> str:
    return "{" + ", ".join(f"k{i}: {value}" for i in range(count)) + "}"


PARTS: Mapping[str, tuple[str, int, str]] = {
    "tags": (
        f"flow: {{name: a, tags: {several('t#', 51)}}}\n{HEAD[19:]}{NODE}",
        1,
        "'tags' must have at most 50 items, not 51",
    ),
    "fields": (
        f"flow: {{name: a}}\nstate: {{fields: {keys(2001, 'str')}}}\n{NODE}",
        2,
        "'fields' must have at most 2,000 items, not 2,001",
    ),
    "fallbacks": (
        f"{HEAD}{NODE}config: {{llm: {{fallbacks: {several('{model: m}', 21)}}}}}\n",
        5,
        "'fallbacks' must have at most 20 items, not 21",
    ),
    "extras": (
        f"{HEAD}{NODE}config: {{llm: {{extra: {keys(101)}}}}}\n",
        5,
        "'extra' must have at most 100 items, not 101",
    ),
    "history": (
        f"{HEAD}{NODE}  - {{id: h, outputs: p, history: {{from: m, max_turns: 100001, max_tokens: 10000001}}}}\n",
        5,
        "'max_turns' must be at most 100,000, not 100001",
    ),
    "edges": (
        f"{HEAD}{NODE}edges: {several('{from: a, to: END}', 5001)}\n",
        5,
        "'edges' must have at most 5,000 items, not 5,001",
    ),
    "targets": (
        f"{HEAD}{NODE}edges: [{{from: a, to: {several('n#', 1001)}}}]\n",
        5,
        "'to' must have at most 1,000 items, not 1,001",
    ),
    "routes": (
        f"{HEAD}{NODE}edges: [{{from: a, routes: {several('{if: t, to: a}', 1001)}}}]\n",
        5,
        "'routes' must have at most 1,000 items, not 1,001",
    ),
    "tests": (
        f"{HEAD}{NODE}tests: {several('{name: c#}', 10_001)}\n",
        5,
        "'tests' must have at most 10,000 items, not 10,001",
    ),
    "choices": (
        f"flow: {{name: a}}\nstate: {{fields: {{c: {{type: str, enum: {several('v#', 501)}}}}}}}\n{NODE}",
        2,
        "'enum' must have at most 500 items, not 501",
    ),
    "set": (f"{HEAD}nodes:\n  - {{id: a, set: {keys(2001)}}}\n", 4, "'set' must have at most 2,000 items, not 2,001"),
    "nodes": (
        f"{HEAD}nodes:\n" + "".join(f"  - {{id: n{i}, set: {{p: a}}}}\n" for i in range(1001)),
        4,
        "a workflow has at most 1,000 nodes, this one has 1,001",
    ),
}
"""Of each kind one too many: the document, the line, and the message."""


@pytest.mark.parametrize("what", PARTS)
def test_too_many_parts_are_refused_where_they_stand(campaign: Campaigns, what: str) -> None:
    text, line, message = PARTS[what]
    with campaign("documents with too many parts").attempt(what):
        errors = load_text(text, "m.yaml").errors
        assert message in [p.message for p in errors if p.position.line == line], errors[:3]


def test_warnings_are_listed_up_to_a_number(campaign: Campaigns) -> None:
    with campaign("answers that list problems").attempt("warnings"):
        text = f"flow: {{name: a}}\nstate: {{fields: {keys(1500, 'str')[:-1]}, t: {{type: str, default: a}}}}}}\n"
        text = text.replace("k0: str, ", "p: str, ")
        warnings = load_text(text + NODE, "m.yaml").warnings
        assert len(warnings) == 101
        assert warnings[-1].message == "the document has 1,499 warnings: these are the first 100"
