"""The kinds of nodes: a closed union with a shared head, which has everything that other rooms need of any node.

A new kind is a class here that joins `Node`, a reader in `language/building`, and a file in `steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias, get_args

from flowyard.language.problems import KeyPath
from flowyard.language.tools import MOST_ROUNDS, OnToolError, ToolUse
from flowyard.language.values.expressions import Expression
from flowyard.language.values.templates import Placeholder, Template
from flowyard.language.values.types import Type

Kind: TypeAlias = Literal["code", "prompt", "set", "assert", "tool"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


JsonForm: TypeAlias = Literal["strict", "schema", "object", "prompt"]
"""How a model is asked for JSON: see `llm/json_forms.py`."""


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """US dollars per million tokens. `cached_input`: of what the provider had cached; None: as `input`."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """A model and its parameters. `timeout`: seconds of one call. `extra`: passed to the provider unchanged.

    `json_form`: None leaves the choice to us.
    `concurrency`: how many calls of the workflow to this model may be made at a time; None: any number.
    """

    provider: str
    model: str
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float = 120.0
    api_base: str | None = None
    api_key_env: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    price: TokenPrice | None = None
    concurrency: int | None = None
    fallbacks: tuple[ModelSettings, ...] = ()
    json_form: JsonForm | None = None

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failed step is retried. Times are seconds. `errors`: the codes of the errors that are retried."""

    max_retries: int = 3
    errors: frozenset[str] = frozenset({
        "rate_limited", "timeout", "provider_error", "invalid_output", "code_crashed", "sandbox_unavailable",
    })  # fmt: skip
    initial_delay: float = 1.0
    multiplier: float = 2.0
    max_delay: float = 60.0


@dataclass(frozen=True, slots=True)
class Goto:
    """`on_error: {goto: node}`."""

    node: str


OnError: TypeAlias = Literal["fail", "continue"] | Goto


@dataclass(frozen=True, slots=True)
class Output:
    """One value that a node writes. For a field with `reduce: append` the type is that of one element."""

    field: str
    type: Type
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """Inputs of a prompt, and the correct reply, which are sent to the model before the real prompt."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NodeText:
    """A template or an expression of a node. `local`: names in it that aren't fields.

    `takes_secrets`: whether it may name secret inputs.
    """

    path: KeyPath
    value: Template | Expression
    local: frozenset[str] = frozenset()
    takes_secrets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHead:
    """What every kind of node has. `timeout`: seconds of one step, its retries included."""

    kind: ClassVar[Kind]

    id: str
    outputs: tuple[Output, ...] = ()
    timeout: float | None = None
    retry: RetryPolicy = RetryPolicy()
    on_error: OnError = "fail"
    name: str | None = None
    description: str | None = None

    @property
    def models(self) -> tuple[ModelSettings, ...]:
        """The models that its steps may call: the node's own first, then its fallbacks. Empty if it calls none."""
        return ()

    def with_model(self, change: Callable[[ModelSettings], ModelSettings]) -> Self:
        """The node with its own model's settings changed; itself if it calls none."""
        del change
        return self

    def texts(self) -> Iterator[NodeText]:
        """Every template and expression that its steps evaluate."""
        return iter(())

    def output_path(self, field: str) -> KeyPath:
        """The path in the node at which the document declares this output."""
        return ("outputs", [output.field for output in self.outputs].index(field))

    @property
    def names_read(self) -> frozenset[str]:
        """The fields that its texts read; in a map also the local name of the item."""
        return frozenset(name for text in self.texts() for name in text.value.names - text.local)


CALLER: Final = "_caller"
"""The input with what the callers of a chat hand to the model that answers: see `language/caller_tools.py`."""
_OFFER: Final = Template(CALLER, (Placeholder(CALLER, (), 0),))


@dataclass(frozen=True, slots=True)
class ChatHistory:
    """The conversation before a prompt. `messages`: the field that has it, as a template.

    `max_tokens`, `max_turns`: how much of its end is kept; None: all.
    """

    messages: Template
    max_tokens: int | None = None
    max_turns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptNode(NodeHead):
    """Calls a model, with one prompt per step, a conversation, or both: `prompt` is None only where `history` isn't.

    `reply_as`: whether the reply is the text of the one output, the one output itself as a message, or a JSON object
    of the outputs. `caller_tools`: whether its model is offered the tools of who started the run.

    `tools`: what its model may call, in up to `max_tool_rounds` replies of a step.
    """

    kind: ClassVar[Kind] = "prompt"

    prompt: Template | None
    settings: ModelSettings
    reply_as: Literal["text", "message", "object"] = "text"
    history: ChatHistory | None = None
    caller_tools: bool = False
    system: Template | None = None
    inputs: Mapping[str, Template | int | float | bool | None] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    log_prompts: bool = True
    tools: tuple[ToolUse, ...] = ()
    max_tool_rounds: int = MOST_ROUNDS
    on_tool_error: OnToolError = "continue"

    @property
    def models(self) -> tuple[ModelSettings, ...]:
        return (self.settings, *self.settings.fallbacks)

    def with_model(self, change: Callable[[ModelSettings], ModelSettings]) -> Self:
        return replace(self, settings=change(self.settings))

    def texts(self) -> Iterator[NodeText]:
        for name, value in self.inputs.items():
            if isinstance(value, Template):
                yield NodeText(("inputs", name), value, takes_secrets=True)
        local = frozenset(self.inputs)
        if self.history is not None:
            yield NodeText(("history", "from"), self.history.messages)
        if self.caller_tools:
            yield NodeText((), _OFFER)
        if self.prompt is not None:
            yield NodeText(("prompt",), self.prompt, local, takes_secrets=True)
        if self.system is not None:
            yield NodeText(("system",), self.system, local, takes_secrets=True)


SetValue: TypeAlias = Any
"""A Template, an Expression, a plain value of JSON, or a list or mapping of such values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNode(NodeHead):
    """Writes fields without a model. `values`: what to write, by field."""

    kind: ClassVar[Kind] = "set"

    values: Mapping[str, SetValue]

    def texts(self) -> Iterator[NodeText]:
        return _texts_in(self.values, ("set",))

    def output_path(self, field: str) -> KeyPath:
        return ("set", field)


def _texts_in(value: SetValue, path: KeyPath) -> Iterator[NodeText]:
    match value:
        case Template() | Expression():
            yield NodeText(path, value)
        case Mapping():
            for name, inner in value.items():
                yield from _texts_in(inner, (*path, name))
        case list():
            for i, inner in enumerate(value):
                yield from _texts_in(inner, (*path, i))
        case _:
            pass


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertNode(NodeHead):
    """Fails its step unless `condition` holds, with `message` if it has one."""

    kind: ClassVar[Kind] = "assert"

    condition: Expression
    message: Template | None = None

    def texts(self) -> Iterator[NodeText]:
        yield NodeText(("assert",), self.condition)
        if self.message is not None:
            yield NodeText(("message",), self.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolNode(NodeHead):
    """Calls a tool, without a model. `arguments`: by name, values as a set node has them."""

    kind: ClassVar[Kind] = "tool"

    tool: ToolUse
    arguments: Mapping[str, SetValue] = field(default_factory=dict)

    def texts(self) -> Iterator[NodeText]:
        return _texts_in(self.arguments, ("with",))


CodeTier: TypeAlias = Literal["fast", "full"]
"""The interpreter of code: `fast` has most of Python, and `full` all of it with its library."""


@dataclass(frozen=True, slots=True)
class CodeLimits:
    """`timeout`: seconds of one execution. `memory_mb`: megabytes that the code may use."""

    tier: CodeTier = "fast"
    timeout: float = 10.0
    memory_mb: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeNode(NodeHead):
    """Executes Python in a sandbox. `inputs`: the values of the names that the code sees."""

    kind: ClassVar[Kind] = "code"

    code: str
    inputs: Mapping[str, SetValue]
    limits: CodeLimits

    def texts(self) -> Iterator[NodeText]:
        return _texts_in(self.inputs, ("inputs",))


Node: TypeAlias = PromptNode | SetNode | AssertNode | ToolNode | CodeNode
"""Every kind of node. A `match` over it ends in `assert_never`: a new kind is a type error until it is handled."""
