"""An operator's own tools: functions in a folder, with what their hints and docstrings say."""

from __future__ import annotations

import asyncio
import logging
import textwrap
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from flowyard.language.tools import NO_RULES, ToolUse
from flowyard.tools.calling import call_tool
from flowyard.tools.docstrings import read_docstring
from flowyard.tools.own_files import OwnTools, load_own_tools
from flowyard.tools.tool import Tool, ToolContext, ToolResult

Loading: TypeAlias = Callable[..., OwnTools]


@pytest.fixture
def loading(tmp_path: Path) -> Loading:
    def load(**files: str) -> OwnTools:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return load_own_tools(tmp_path)

    return load


@pytest.fixture
def one(loading: Loading) -> Callable[[str], Tool]:
    """The only tool of a file, `own_file`."""

    def load(text: str) -> Tool:
        own = loading(own_file=text)
        assert own.faults == []
        [tool] = own.tools
        return tool

    return load


async def called(tool: Tool, **arguments: Any) -> ToolResult:
    context = ToolContext(key="run:node:1/1.0", now=datetime(2026, 12, 1, tzinfo=UTC))
    return await call_tool(tool, ToolUse(tool.name, ()), arguments, context, NO_RULES)


async def test_a_function_is_a_tool_with_what_its_hints_and_its_docstring_say(one: Callable[[str], Tool]) -> None:
    tool = one('''
        from __future__ import annotations
        from typing import Literal
        from pydantic import BaseModel

        class Place(BaseModel):
            """Where it is."""
            city: str

        def greet(name: str, times: int = 1, mood: Literal["glad", "sad"] = "glad", place: Place | None = None) -> str:
            """Greets
            somebody.

            Args:
                name: whom to greet
                times (int): how often,
                    at most thrice
            """
            return " ".join([f"Hello {name}!"] * times) + (f" How is {place.city}?" if place else "")
        ''')
    assert (tool.name, tool.facts.description) == ("own_file.greet", "Greets somebody.")
    assert tool.facts.parameters == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "whom to greet"},
            "times": {"type": "integer", "default": 1, "description": "how often, at most thrice"},
            "mood": {"type": "string", "enum": ["glad", "sad"], "default": "glad"},
            "place": {
                "anyOf": [
                    {
                        "type": "object",
                        "description": "Where it is.",
                        "properties": {"city": {"type": "string"}},
                        "required": ["city"],
                    },
                    {"type": "null"},
                ],
                "default": None,
            },
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    result = await called(tool, name="Ada", times=2, place={"city": "Paris"})
    assert result == ToolResult("Hello Ada! Hello Ada! How is Paris?")
    assert (await called(tool, name="Ada", times="two")).outcome == "invalid_arguments"


async def test_an_async_function_and_its_result_of_types_are_called_and_encoded(one: Callable[[str], Tool]) -> None:
    tool = one('''
        import dataclasses, datetime
        from flowyard.tools.own import this_call

        @dataclasses.dataclass
        class Found:
            day: datetime.date
            key: str

        async def find(day: datetime.date) -> Found:
            """Finds."""
            return Found(day, this_call().key)
        ''')
    assert await called(tool, day="2026-12-01") == ToolResult({"day": "2026-12-01", "key": "run:node:1/1.0"})
    refused = await called(tool, day="no day")
    assert (refused.outcome, str(refused.error)[:4]) == ("failed", "day:")


async def test_a_function_that_is_not_async_has_a_thread_and_knows_its_call(one: Callable[[str], Tool]) -> None:
    tool = one('''
        import threading
        from flowyard.tools.own import this_call

        def where() -> list[object]:
            """Where it is called."""
            return [threading.get_ident(), this_call().key]
        ''')
    thread, key = (await called(tool)).value
    assert (thread != threading.get_ident(), key) == (True, "run:node:1/1.0")


async def test_a_call_that_hangs_is_given_up(one: Callable[[str], Tool]) -> None:
    tool = one('''
        import threading
        from flowyard.tools.own import tool

        go_on = threading.Event()

        @tool(seconds=0.05)
        def hang() -> None:
            """Hangs."""
            go_on.wait(60)
        ''')
    assert (await called(tool)).outcome == "timeout"
    # The thread is there until the function returns.
    import flowyard_own_own_file  # type: ignore[import-not-found]  # noqa: PLC0415

    flowyard_own_own_file.go_on.set()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("head", "effects"),
    [
        ("", {"reads", "writes", "runs", "network"}),
        ("EFFECTS = []", set()),
        ("EFFECTS = ['reads']", {"reads"}),
        ("EFFECTS = ['reads']\n@tool(effects=['network'], guarded='url', once=True)", {"network"}),
        ("@tool(seconds=5)", {"reads", "writes", "runs", "network"}),
    ],
)
def test_what_a_function_may_do_is_said_by_it_or_its_file_and_anything_by_default(
    head: str, effects: set[str], loading: Loading
) -> None:
    text = f"from flowyard.tools.own import tool\n{head}\ndef get(url: str) -> str:\n    '''Gets.'''\n    return url\n"
    [tool] = loading(pages=text).tools
    assert tool.facts.effects == effects
    assert (tool.facts.guarded, tool.facts.once) == (("url", True) if "once" in head else (None, False))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("def f(a: int):\n    return a", "wrong.py:1: 'f' needs a docstring"),
        ("\ndef f(a):\n    'Does.'", "wrong.py:2: 'f' needs a type for its parameter 'a'"),
        ("def f(*a: int):\n    'Does.'", "wrong.py:1: 'f' can't have the parameter '*a: int'"),
        ("def f(a: threading.Lock):\n    'Does.'", "wrong.py:1: NameError"),
        ("class A: pass\ndef f(a: A):\n    'Does.'", "wrong.py:2: 'f' has no JSON Schema: Unable to generate"),
        ("def f(a: 'Nowhere'):\n    'Does.'", "wrong.py:1: 'f' has no JSON Schema: name 'Nowhere'"),
        ("def f():\n    'Does.'\n    yield 1", "wrong.py:1: 'f' must return its result"),
        ("EFFECTS = ['explodes']\ndef f():\n    'Does.'", "wrong.py:2: 'f' has effects that don't exist: explodes"),
        ("EFFECTS = 'reads'\ndef f():\n    'Does.'", "wrong.py:2: 'f' EFFECTS of its file should be a list"),
        ("a = 1\nraise SystemExit('no')", "wrong.py:2: SystemExit: no"),
        ("a = 1\nb = (", "wrong.py:2: SyntaxError"),
        ("def _helper(a): ...\n1 / 0", "wrong.py:2: ZeroDivisionError"),
    ],
)
def test_what_can_not_be_used_is_said_with_its_place_and_stops_nothing_else(
    text: str, fault: str, loading: Loading, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        own = loading(wrong=text, right='def add(a: int, b: int) -> int:\n    """Adds."""\n    return a + b\n')
    assert [tool.name for tool in own.tools] == ["right.add"]
    [said] = own.faults
    assert fault in said
    assert caplog.messages == [f"not a tool: {said}"]


def test_files_may_import_each_other_and_only_their_own_functions_are_tools(loading: Loading) -> None:
    shared = 'def helper(a: int) -> int:\n    """Helps."""\n    return a\n'
    own = loading(
        _shared_by_tools=shared,
        user="from _shared_by_tools import helper\ndef use(a: int) -> int:\n    'Uses.'\n    return helper(a)\n",
    )
    assert ([tool.name for tool in own.tools], own.faults) == (["user.use"], [])


async def test_an_error_of_a_function_is_in_the_log_and_what_it_says_to_models_is_not(
    one: Callable[[str], Tool], caplog: pytest.LogCaptureFixture
) -> None:
    tool = one('''
        from flowyard.tools.tool import ToolFailed

        def find(name: str) -> str:
            """Finds."""
            if name == "Ada":
                raise ToolFailed("there is no Ada")
            raise RuntimeError("postgres://me:password@db")
        ''')
    assert (await called(tool, name="Ada")).error == "there is no Ada"
    assert "password" not in str((await called(tool, name="Bob")).error)
    assert "password" in caplog.text


@pytest.mark.parametrize(
    ("docstring", "text", "parameters"),
    [
        ("Finds.", "Finds.", {}),
        ("Finds.\n\n  All of them.\n\n  Returns:\n    A list.\n", "Finds.\n\nAll of them.", {}),
        (
            "Finds.\n\n  Args:\n    a: one\n    *b (list[str]): two\n      lines: of it\n\n  Raises:\n    c: three\n",
            "Finds.",
            {"a": "one", "b": "two lines: of it"},
        ),
        (
            "Finds.\n\n  :param a: one\n  :param int b: two\n     lines\n  :returns: three\n",
            "Finds.",
            {"a": "one", "b": "two lines"},
        ),
    ],
)
def test_docstrings_are_read_in_both_styles(docstring: str, text: str, parameters: dict[str, str]) -> None:
    described = read_docstring(docstring)
    assert (described.text, described.parameters) == (text, parameters)
