"""What is seen of code without executing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowyard.language.code import read_code
from flowyard.language.code_bounds import CodeBounds
from flowyard.language.installation import Installation
from flowyard.language.load import load_text
from flowyard.language.nodes import CodeLimits, CodeNode, CodeTier
from support.workflows import document, load


def codes(text: str, tier: CodeTier = "fast") -> list[str]:
    return [finding.code for finding in read_code(text, tier).findings]


def code_node(keys: str) -> CodeNode:
    node = load(_document(keys)).nodes["a"]
    assert isinstance(node, CodeNode)
    return node


def _document(keys: str) -> str:
    fields = "topic: {type: str, required: true}\nx: str"
    return document("", fields=fields, nodes=f"- {{id: a, outputs: [x], {keys}}}")


@pytest.mark.parametrize(
    "text",
    [
        "result = 1",
        "for result in [1]: pass",
        "(result := 1)",
        "import json as result",
        "def result(): pass",
        "def f():\n    global result\n    result = 1\nf()",
        "result: int = 1",
        "[result] = [1]",
        "from math import pi as result",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nresult = P(1).x",
        "result = (x for x in [1])",
        "async def f():\n    return 1\nresult = 1",
        "match 1:\n    case 1:\n        result = 1",
        "if True:\n    result = 1",
    ],
)
def test_the_fast_tier_takes(text: str) -> None:
    assert codes(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    yield 1",
        "def f():\n    yield from []",
        "x = 1\ndel x",
        "class A(list): pass",
        "class A(metaclass=type): pass",
        "class A:\n    @property\n    def x(self): pass",
        "class A:\n    class B: pass",
        "from math import *",
        "try:\n    pass\nexcept* ValueError:\n    pass",
        "async def f():\n    async with f(): pass",
        "import statistics",
        "async def f():\n    async for x in f(): pass",
        "async def f():\n    return [x async for x in f()]",
        "def f():\n    import io",
    ],
)
def test_what_only_the_full_tier_has(text: str) -> None:
    assert codes(f"{text}\nresult = 1") == ["code-tier"]
    assert codes(f"{text}\nresult = 1", "full") == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = (", "code-syntax"),
        ("return 1", "code-syntax"),
        ("x = 1", "code-result"),
        ("import requests\nresult = 1", "code-module"),
        ("import ctypes\nresult = 1", "code-module"),
        ("from . import x\nresult = 1", "code-module"),
        ("x\0", "code-syntax"),
        ("(" * 10_000, "code-syntax"),
        ("-" * 60_000 + "1", "code-syntax"),
    ],
)
@pytest.mark.parametrize("tier", ["fast", "full"])
def test_what_no_tier_takes(text: str, code: str, tier: CodeTier) -> None:
    assert code in codes(text, tier)


def test_code_sees_the_fields_that_it_names() -> None:
    assert list(code_node("code: 'result = topic + str(other)'").inputs) == ["topic"]
    assert list(code_node("code: 'topic = 1; result = topic'").inputs) == []


def test_with_inputs_code_sees_these_alone() -> None:
    node = code_node("code: 'result = topic + a', inputs: {a: '{topic}', b: 1}")
    assert list(node.inputs) == ["a", "b"]
    assert node.names_read == {"topic"}


def test_limits_of_the_document_are_overridden_key_by_key() -> None:
    text = document("", fields="x: str", nodes="- {id: a, outputs: [x], code: result = 1, sandbox: {timeout: 1m}}")
    workflow = load(text.replace("config:\n", "config:\n  sandbox: {tier: full, memory_mb: 64}\n"))
    assert isinstance(node := workflow.nodes["a"], CodeNode)
    assert node.limits == CodeLimits("full", 60.0, 64)


def test_keys_of_older_documents_have_no_effect() -> None:
    keys = (
        "code: result = topic, prompt: '{nothing}', llm: {provider: x, model: y}, sandbox: {mode: docker, preset: low}"
    )
    text = document("", fields="topic: {type: str, required: true}\nx: str", nodes=f"- {{id: a, outputs: [x], {keys}}}")
    loaded = load_text(text, "a.yaml")
    assert [problem.code for problem in loaded.problems] == ["old-key"] * 4
    assert loaded.workflow is not None
    assert loaded.workflow.models == ()


def test_secrets_are_no_inputs_of_code() -> None:
    fields = "key: {type: str, required: true, secret: true}\nx: str"
    loaded = load_text(document("", fields=fields, nodes="- {id: a, outputs: [x], code: result = key}"), "a.yaml")
    assert "secret-use" in [problem.code for problem in loaded.errors]


@pytest.mark.parametrize(
    ("sandbox", "expected"),
    [
        ("{tier: full}", "the tier 'full' isn't allowed here (FLOWYARD_SANDBOX_TIERS is fast)"),
        ("{timeout: 6}", "code may take 5 s here at most (FLOWYARD_SANDBOX_TIMEOUT_S)"),
        ("{timeout: 5, memory_mb: 65}", "code may use 64 MB here at most (FLOWYARD_SANDBOX_MEMORY_MB)"),
        ("{memory_mb: 64}", None),
        ("{timeout: 5, memory_mb: 64}", None),
    ],
)
def test_code_that_asks_for_more_than_the_installation_allows_is_refused(sandbox: str, expected: str | None) -> None:
    node = f"- {{id: a, sandbox: {sandbox}, outputs: [x], code: result = 1}}"
    bounds = CodeBounds(("fast",), timeout=5.0, memory_mb=64)
    loaded = load_text(document("", fields="x: str", nodes=node), "a.yaml", Installation(code_bounds=bounds))
    assert [problem.message for problem in loaded.errors] == ([expected] if expected else [])


@pytest.mark.parametrize("where", ["decorator", "default", "class", "module"])
def test_nothing_of_the_code_is_executed_when_it_is_read(where: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    effect = f"open({str(trace)!r}, 'w')"
    text = {
        "decorator": f"@{effect}\ndef f(): pass",
        "default": f"def f(x={effect}): pass",
        "class": f"class A:\n    x = {effect}",
        "module": effect,
    }[where]
    assert codes(f"{text}\nresult = 1") == []
    assert not trace.exists()
