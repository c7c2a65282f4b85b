"""What files of an operator's own tools may import: how a function says what it does, and which call it is.

```python
from flowyard.tools.own import tool

@tool(effects=["network"], guarded="url", seconds=10)
def fetch(url: str) -> str:
    \"\"\"Fetches a page.\"\"\"
```
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, TypeVar

from flowyard.language.tools import Effect
from flowyard.tools.tool import SECONDS, ToolContext

F = TypeVar("F", bound=Callable[..., object])

_DECLARED: Final = "__flowyard_tool__"
_CALL: Final[ContextVar[ToolContext]] = ContextVar("flowyard_tool_call")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a function says of itself. `effects`: None: as its file says."""

    effects: Collection[Effect] | None = None
    guarded: str | None = None
    once: bool = False
    seconds: float = SECONDS


def tool(
    *,
    effects: Collection[Effect] | None = None,
    guarded: str | None = None,
    once: bool = False,
    seconds: float = SECONDS,
) -> Callable[[F], F]:
    """Says of a function what it does outside of its arguments and its result: see ToolFacts. `seconds`: of a call."""

    def declare(function: F) -> F:
        setattr(function, _DECLARED, Declared(effects=effects, guarded=guarded, once=once, seconds=seconds))
        return function

    return declare


def declared(function: Callable[..., object]) -> Declared:
    declaration = getattr(function, _DECLARED, None)
    return declaration if isinstance(declaration, Declared) else Declared()


def this_call() -> ToolContext:
    """The call that is being made, to be asked for in the function: its idempotency key, and when it was made."""
    return _CALL.get()


def begin_call(context: ToolContext) -> None:
    """In the task that makes the call."""
    _CALL.set(context)
