"""Large documents are judged in time, and judged as small ones are."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from flowyard.language.load import Loaded, load_text
from flowyard.language.reading.source_document import MAX_PROBLEMS


def loaded(**parts: Any) -> Loaded:
    fields = {"topic": {"type": "str", "required": True}, "out": "str"}
    return load_text(json.dumps({"flow": {"name": "big"}, "state": {"fields": fields}, **parts}), "big.yaml")


def node(name: str, output: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "prompt": "On {topic}", "outputs": [output], **more}


def test_many_writers_parallel_to_many_branches_are_checked_in_time() -> None:
    beside = [f"b{i}" for i in range(100)]
    writers = [f"c{i}" for i in range(800)]
    nodes = [node("r", "way"), *(node(name, "topic") for name in beside), *(node(name, "out") for name in writers)]
    routes = [{"if": f"way == '{name}'", "to": name} for name in writers]
    edges: list[Mapping[str, Any]] = [{"from": "START", "to": ["r", *beside]}]
    edges += [{"from": "r", "routes": [*routes, {"default": "END"}]}]
    edges += [{"from": name, "to": "END"} for name in [*beside, *writers]]
    fields = {"topic": {"type": "str", "required": True}, "out": "str", "way": "str", "note": "str"}
    fields["notes"] = {"type": "list[str]", "reduce": "append"}
    for each in nodes:
        each["outputs"] = ["notes"] if each["outputs"] == ["topic"] else each["outputs"]
    began = time.process_time()
    result = loaded(state={"fields": fields}, nodes=nodes, edges=edges)
    assert time.process_time() - began < 5
    assert result.errors == ()


def test_thousands_of_tests_are_read_in_time() -> None:
    began = time.process_time()
    result = loaded(nodes=[node("w", "out")], tests=[{"name": f"t{i}", "inputs": {"topic": "x"}} for i in range(7000)])
    assert time.process_time() - began < 5
    assert result.workflow is not None


def test_any_number_of_warnings_is_no_reason_to_refuse() -> None:
    old = {f"key{i}": 1 for i in range(150)}
    result = loaded(nodes=[node("w", "out")], config={"observability": {"mlflow": old}})
    assert result.workflow is not None
    assert len(result.warnings) == MAX_PROBLEMS + 1


def test_a_shared_fallback_is_read_once() -> None:
    llm = {"provider": "openai", "model": "m", "fallbacks": [{"provider": "opnai", "model": "m"}]}
    result = loaded(nodes=[node(f"n{i}", "out", llm={"temperature": 0}) for i in range(120)], config={"llm": llm})
    assert [problem.code for problem in result.problems] == ["unknown-provider"]


def test_no_tools_are_nothing_to_do() -> None:
    assert loaded(nodes=[node("w", "out", tools=[])]).problems == ()
