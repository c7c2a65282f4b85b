"""`json.query`: picks values out of JSON with a JMESPath expression. Language: https://jmespath.org/specification.html"""

from __future__ import annotations

import json
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.threads import in_daemon_thread
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

MOST_VALUES: Final = 200_000
"""In the data, and in what the expression makes of it on the way."""
_SECONDS: Final = 5.0
_MOST_EXPRESSION: Final = 1_000

FACTS: Final = ToolFacts(
    name="json.query",
    description="Picks values out of JSON data with a JMESPath expression.",
    parameters={
        "type": "object",
        "properties": {
            "data": {"description": "The JSON data, or a text that holds JSON."},
            "query": {
                "type": "string",
                "minLength": 1,
                "maxLength": _MOST_EXPRESSION,
                "description": "In JMESPath, such as people[?age > `30`].name.",
            },
        },
        "required": ["data", "query"],
        "additionalProperties": False,
    },
)


async def _run(arguments: Mapping[str, Any], context: ToolContext) -> Any:
    del context
    # In a thread that nobody has to wait for: data may have megabytes.
    return await in_daemon_thread(lambda: query(arguments["data"], arguments["query"]))


def query(data: Any, expression: str) -> Any:
    """What the expression picks. Raises ToolFailed."""
    # Here, because only who calls the tool has the package.
    from jmespath.exceptions import JMESPathError  # noqa: PLC0415
    from jmespath.parser import Parser  # noqa: PLC0415

    if isinstance(data, str):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ToolFailed(f"the data is a text, but no JSON: {error}") from error
    try:
        tree = Parser().parse(expression).parsed
        return _interpreter().visit(tree, data)
    except JMESPathError as error:
        raise ToolFailed(f"the query can't be evaluated: {error}") from error
    except RecursionError as error:
        raise ToolFailed("the query, or the data, is nested too deeply") from error
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        # What the library raises for values that a function doesn't take.
        raise ToolFailed(f"the query can't be evaluated: {error}") from error


def _interpreter() -> Any:
    from jmespath.visitor import TreeInterpreter  # noqa: PLC0415

    class Bounded(TreeInterpreter):  # type: ignore[misc]  # it has no types
        """Stops what takes too long, and what doubles its values again and again."""

        def __init__(self) -> None:
            super().__init__()
            self._until = monotonic() + _SECONDS
            self._sizes = _Sizes()

        def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
            if monotonic() > self._until:
                raise ToolFailed(f"the query takes longer than {_SECONDS:g} s")
            value = super().visit(node, *args, **kwargs)
            if isinstance(value, list | dict) and self._sizes.of(value) > MOST_VALUES:
                raise ToolFailed(f"the query makes more than {MOST_VALUES:,} values")
            return value

    return Bounded()


class _Sizes:
    """Counts the values in lists and mappings, each list once, however often it is part of others."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, Any]] = {}
        """By identity, together with the value, which keeps the identity from being used again."""

    def of(self, value: Any) -> int:
        if not isinstance(value, list | dict):
            return 1
        if (known := self._known.get(id(value))) is not None:
            return known[0]
        size = 1 + sum(map(self.of, value.values() if isinstance(value, dict) else value))
        self._known[id(value)] = size, value
        return size


JSON_QUERY: Final = Tool(FACTS, _run)
