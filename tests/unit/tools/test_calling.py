"""One call of a tool: what is checked before it, what it may take, and what its result looks like."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from flowyard.language.tools import NO_RULES, Answer, ToolFacts, ToolRules, ToolUse
from flowyard.tools.calling import call_tool, shown
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.tool import Tool, ToolContext, ToolFailed, ToolResult

CONTEXT = ToolContext(key="run:node:1/0.0", now=datetime(2026, 11, 30, tzinfo=UTC))
SCHEMA = {
    "type": "object",
    "properties": {"url": {"type": "string"}, "depth": {"type": "integer", "minimum": 1}},
    "required": ["url"],
    "additionalProperties": False,
}
FACTS = ToolFacts(
    name="http.get", description="Gets.", parameters=SCHEMA, effects=frozenset({"network"}), guarded="url"
)
ANY_URL = ToolUse("http.get", ())


def called(
    arguments: Mapping[str, Any] | str,
    use: ToolUse = ANY_URL,
    *,
    value: Any = "page",
    rules: ToolRules = NO_RULES,
    seconds: float = 30,
) -> ToolResult:
    async def run(given: Mapping[str, Any], context: ToolContext) -> Any:
        if isinstance(value, BaseException):
            raise value
        if value == "hangs":
            await asyncio.Event().wait()
        return [given, context.key] if value == "echo" else value

    return asyncio.run(call_tool(Tool(FACTS, run, seconds), use, arguments, CONTEXT, rules))


def test_a_tool_gets_its_arguments_and_its_key() -> None:
    assert called('{"url": "x", "depth": 2}', value="echo").value == [{"url": "x", "depth": 2}, "run:node:1/0.0"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("{", "no JSON"),
        ("[]", "must be a JSON object"),
        ('{"url": NaN}', "NaN is no number of JSON"),
        ("[" * 100_000, "no JSON"),
        ("{}", "'url' is a required property"),
        ('{"url": 3}', "url: 3 is not of type 'string'"),
        ('{"url": "x", "detph": 1}', "no argument 'detph' (did you mean 'depth'?)"),
        ('{"url": "x", "depth": 0}', "depth: 0 is less than the minimum of 1"),
        ('{"url": "' + "x" * 200_000 + '"}', "more than 200,000 characters"),
    ],
)
def test_a_wrong_call_is_answered_with_what_is_wrong(arguments: str, error: str) -> None:
    result = called(arguments, value=AssertionError("it was called"))
    assert result.outcome == "invalid_arguments"
    assert error in str(result.error)


@pytest.mark.parametrize(
    ("use", "answer", "permitted"),
    [
        (ToolUse("http.get"), "document", False),
        (ToolUse("http.get"), "allow", True),
        (ToolUse("http.get", ()), "document", True),
        (ToolUse("http.get", ()), "deny", False),
        (ToolUse("http.get", ("https://api.example.com/*",)), "document", True),
        (ToolUse("http.get", ("https://other.example.com/*",)), "document", False),
        (ToolUse("http.get", ("https://other.example.com/*",)), "allow", False),
        (ToolUse("http.get", ("*",), ("*/v1?x=[1]",)), "document", False),
        (ToolUse("http.get", None, ("*/v1?x=[1]",)), "allow", False),
        (ToolUse("http.get", ("https://api.example.com/v1?x=1",)), "document", False),
        (ToolUse("http.get", ("https://api.example.com/v1?x=[1]",)), "document", True),
    ],
)
def test_a_call_is_made_only_if_document_and_installation_permit_it(
    use: ToolUse, answer: Answer, *, permitted: bool
) -> None:
    rules = ToolRules({"http.*": answer})
    result = called({"url": "https://api.example.com/v1?x=[1]"}, use, rules=rules)
    assert result.outcome == ("ok" if permitted else "denied")


def test_a_failure_a_bug_and_a_slow_tool_are_results() -> None:
    assert called({"url": "x"}, value=ToolFailed("no such page")).error == "no such page"
    assert called({"url": "x"}, value=ValueError("private")).error == "a bug of the tool: see the executor's log"
    assert called({"url": "x"}, value="hangs", seconds=0.01).outcome == "timeout"
    assert called({"url": "x"}, value={1, 2}).outcome == "failed"
    assert called({"url": "x"}, value="x" * 1_000_001).outcome == "failed"


def test_a_long_result_is_cut_with_a_note_and_kept_whole() -> None:
    result = called({"url": "x"}, value="x" * 50)
    assert shown(result, 20) == "x" * 20 + "\n[cut: 30 of 50 characters are left out]"
    assert shown(result, 50) == "x" * 50 == result.value
    assert shown(ToolResult({"ä": [1]}), 20) == '{"ä": [1]}'
    assert shown(ToolResult.failed("no such page"), 5) == '{"error": "no such page"}'


@pytest.mark.parametrize("result", [ToolResult(None), ToolResult([1]), ToolResult.failed("no", "denied")])
def test_a_result_is_stored_and_read_again(result: ToolResult) -> None:
    assert ToolResult.from_data(result.data) == result


def test_two_tools_can_have_no_name_that_is_the_same_for_models() -> None:
    async def run(given: Mapping[str, Any], context: ToolContext) -> Any:
        del given, context

    names = ("http.get", "http_get")
    with pytest.raises(ValueError, match=r"'http.get' and 'http_get'"):
        ToolRegistry(Tool(ToolFacts(name=name, description="", parameters={}), run) for name in names)
