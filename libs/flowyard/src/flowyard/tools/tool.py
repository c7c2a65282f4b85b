"""What a tool is, and what a call of it comes to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from flowyard.language.tools import ToolFacts

Outcome: TypeAlias = Literal["ok", "failed", "timeout", "denied", "invalid_arguments", "unknown_tool", "unknown"]
"""How a call has ended. `unknown`: its executor was lost while it was made, and it may not be made again."""

SECONDS: Final = 30.0
RESULT_CHARACTERS: Final = 20_000
"""Of a result that a model gets. The whole is kept with the run, up to MOST_CHARACTERS."""
MOST_CHARACTERS: Final = 1_000_000
ARGUMENTS_CHARACTERS: Final = 200_000


OnProgress: TypeAlias = Callable[[float, float | None, str | None], None]


def unnoticed(done: float, total: float | None, text: str | None) -> None:
    """For calls whose progress nobody looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool is told of its call. `key`: the same whenever the same call is made again, so that its effect can be
    had once. `now`: when the call was made, with a time zone. `why_denied`: why the document doesn't permit another
    value of the guarded argument, such as the address of a redirect; None: it does. `on_progress`: takes how much is
    done, of how much, and a text; what isn't known is None.
    """

    key: str
    now: datetime
    why_denied: Callable[[str], str | None] = lambda _value: None
    on_progress: OnProgress = unnoticed


Run: TypeAlias = Callable[[Mapping[str, Any], ToolContext], Awaitable[Any]]
"""Takes arguments that fit the tool's schema. Returns what JSON can hold. Raises ToolFailed."""


class ToolFailed(Exception):
    """A tool couldn't do what was asked. The text is for the model, or for the person who reads the run."""


@dataclass(frozen=True, slots=True)
class Tool:
    """`seconds`: that a call may take. `result_characters`: of its result, as JSON or text, that a model gets.

    `checked`: the schema that arguments are checked against; None: its parameters. Tools of others have another one:
    theirs may take hours to be checked.
    """

    facts: ToolFacts
    run: Run
    seconds: float = SECONDS
    result_characters: int = RESULT_CHARACTERS
    checked: Mapping[str, Any] | None = None

    @property
    def schema(self) -> Mapping[str, Any]:
        """That arguments are checked against."""
        return self.facts.parameters if self.checked is None else self.checked

    @property
    def name(self) -> str:
        return self.facts.name


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call has come to: `value`, of JSON, or `error`, why it failed. `outcome`: see Outcome."""

    value: Any = None
    error: str | None = None
    outcome: Outcome = "ok"

    @classmethod
    def failed(cls, error: str, outcome: Outcome = "failed") -> ToolResult:
        return cls(None, error, outcome)

    @property
    def data(self) -> dict[str, Any]:
        """As it is stored."""
        return {"value": self.value} if self.outcome == "ok" else {"error": self.error, "outcome": self.outcome}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> ToolResult:
        """The reverse of `data`."""
        return cls(data["value"]) if "value" in data else cls(None, data["error"], data["outcome"])
