"""A function of an operator's as a tool: its schema from its type hints, its descriptions from its docstring."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Collection, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any, Final, cast, get_args

from pydantic import TypeAdapter, ValidationError, validate_call
from pydantic.errors import PydanticUserError
from pydantic_core import to_jsonable_python

from flowyard.language.openapi.references import BadReference, References
from flowyard.language.tools import Effect, ToolFacts, name_fault
from flowyard.threads import in_daemon_thread
from flowyard.tools.docstrings import read_docstring
from flowyard.tools.own import Declared, begin_call, declared
from flowyard.tools.tool import Run, Tool, ToolContext, ToolFailed

ANYTHING: Final[frozenset[Effect]] = frozenset(get_args(Effect))
"""What a function may do of which nothing is said."""
_THREADS: Final = 64
"""Calls of functions that aren't async, at a time: one that hangs keeps its thread."""
_NAMED: Final = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY

_threads = asyncio.Semaphore(_THREADS)


class NoTool(ValueError):
    """A function can't be a tool. The text says why."""


def tool_of(function: Callable[..., Any], name: str, *, effects: Collection[Effect] | None) -> Tool:
    """`effects`: of the functions of its file, unless it has its own; None: anything. Raises NoTool."""
    about = declared(function)
    said = about.effects if about.effects is not None else effects
    chosen = frozenset(said) if said is not None else ANYTHING
    if unknown := chosen - ANYTHING:
        raise NoTool(f"has effects that don't exist: {', '.join(sorted(unknown))} ({', '.join(get_args(Effect))} do)")
    if (fault := name_fault(name)) is not None:
        raise NoTool(fault)
    text = read_docstring(function.__doc__ or "")
    if not text.text:
        raise NoTool("needs a docstring, for the models that call it; helpers begin with _")
    parameters = _parameters(function, text.parameters)
    if about.guarded is not None and parameters["properties"].get(about.guarded, {}).get("type") != "string":
        raise NoTool(f"has no parameter '{about.guarded}' of type str, which it says is guarded")
    facts = ToolFacts(
        name=name, description=text.text, parameters=parameters, effects=chosen, guarded=about.guarded, once=about.once
    )
    return Tool(facts, _runner(function), seconds=_seconds(about))


def _seconds(about: Declared) -> float:
    if not 0 < about.seconds <= 3600:
        raise NoTool(f"should take up to 3600 seconds, not {about.seconds:g}")
    return about.seconds


def _parameters(function: Callable[..., Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """The JSON Schema of its arguments. Raises NoTool."""
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise NoTool("must return its result, and not yield it")
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in _NAMED:
            raise NoTool(f"can't have the parameter '{parameter}': arguments have names")
        if parameter.annotation is inspect.Parameter.empty:
            raise NoTool(f"needs a type for its parameter '{parameter.name}'")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(cast("type[Any]", function))
        schema = adapter.json_schema()
        schema = References(schema).inlined(schema)
    except (PydanticUserError, BadReference, NameError, TypeError) as error:
        # The first line: pydantic adds hints for those who use it directly.
        raise NoTool(f"has no JSON Schema: {str(error).splitlines()[0]}") from error
    properties = {name: _untitled(each) for name, each in (schema.get("properties") or {}).items()}
    for name, text in texts.items():
        if name in properties:
            properties[name] = {"description": text, **properties[name]}
    return {
        "type": "object",
        "properties": properties,
        "required": list(schema.get("required") or ()),
        "additionalProperties": False,
    }


def _untitled(schema: Any) -> Any:
    """Without the titles that pydantic makes of names."""
    if isinstance(schema, list):
        return [_untitled(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key in ("default", "enum", "const", "examples") else _untitled(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }


def _runner(function: Callable[..., Any]) -> Run:
    validated, is_async = validate_call(function), inspect.iscoroutinefunction(function)

    async def run(arguments: Mapping[str, Any], context: ToolContext) -> Any:
        begin_call(context)
        try:
            if is_async:
                return _jsonable(await validated(**arguments))
            return await _in_thread(lambda: _jsonable(validated(**arguments)))
        except ValidationError as error:
            raise ToolFailed(_shown(error)) from error

    return run


async def _in_thread(call: Callable[[], Any]) -> Any:
    """A call that takes too long is given up, and its thread goes on: it counts until it ends."""
    await _threads.acquire()
    work = asyncio.ensure_future(in_daemon_thread(partial(copy_context().run, call)))
    work.add_done_callback(lambda _: _threads.release())
    return await asyncio.shield(work)


def _jsonable(value: Any) -> Any:
    try:
        return to_jsonable_python(value)
    except ValueError as error:
        raise ToolFailed(f"its result is no JSON: {error}") from error


def _shown(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:5])
