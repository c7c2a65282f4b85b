"""Prompt nodes: templates, inputs, outputs with their types, examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from flowyard.language.building.expressions import field_name
from flowyard.language.building.limits import with_limits
from flowyard.language.building.node_context import NodeContext
from flowyard.language.building.state import check_value, read_type
from flowyard.language.nodes import ChatHistory, Example, Output, PromptNode
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.document import ExampleShape, HistoryShape, NodeShape, OutputSchemaShape
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.tools import MOST_ROUNDS
from flowyard.language.values.limits import has_no_value
from flowyard.language.values.references import Finding
from flowyard.language.values.templates import Placeholder, Template, placeholder_type, template_type
from flowyard.language.values.types import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    MESSAGE,
    STR,
    Limited,
    ListOf,
    Nullable,
    ObjectOf,
    Type,
    accepts,
    core,
    describe,
    may_hold,
    narrowed,
    type_of,
    without_null,
)

_REASONING: Final = frozenset({"thinking", "reasoning_effort"})
_SIGN_REASONING: Final = frozenset({"anthropic", "azure_ai", "bedrock", "vertex_ai"})


def read_outputs(context: NodeContext, shape: NodeShape, path: KeyPath) -> tuple[Output, ...]:
    """The outputs of a node that lists them, with their types, which `output_schema` may narrow."""
    return _PromptReader(context, shape, path).outputs()


def read_prompt_node(context: NodeContext, shape: NodeShape, path: KeyPath) -> PromptNode:
    if shape.prompt is None and shape.history is None and not context.is_incomplete(path):
        message = f"node '{shape.id}' has nothing to do"
        context.document.error("missing-key", path, message, "add 'prompt:', 'set:', 'assert:' or 'tool:'", key=True)
    if not shape.outputs and not context.is_incomplete(path):
        message = f"node '{shape.id}' writes nothing"
        context.document.error("missing-key", path, message, "add 'outputs:' with the fields that it writes", key=True)
    reader = _PromptReader(context, shape, path)
    types = context.types(shape.id)
    inputs = reader.inputs(types)
    local = {**types, **{name: _input_type(value, types) for name, value in inputs.items()}}
    outputs = reader.outputs()
    node = PromptNode(
        **context.head(shape, path),
        outputs=outputs,
        prompt=reader.prompt(local),
        history=reader.history(types),
        settings=context.models.read(shape.llm, (*path, "llm")),
        reply_as=_reply_as(shape, outputs),
        system=context.template(shape.system, (*path, "system"), local) if shape.system is not None else None,
        inputs=inputs,
        examples=tuple(
            reader.example(example, (*path, "examples", i), local, outputs)
            for i, example in enumerate(shape.examples or ())
        ),
        log_prompts=shape.log_prompts is not False,
        tools=context.tools.read_all(shape.tools or (), (*path, "tools")),
        max_tool_rounds=shape.max_tool_rounds or MOST_ROUNDS,
        on_tool_error=shape.on_tool_error or "continue",
    )
    _check_reasoning(context, node, path)
    return node


def _check_reasoning(context: NodeContext, node: PromptNode, path: KeyPath) -> None:
    """Models of Anthropic want their signed reasoning back with the results of tools: it isn't kept."""
    for settings in node.models if node.tools else ():
        for name in settings.extra.keys() & _REASONING if settings.provider in _SIGN_REASONING else ():
            message = f"tools and '{name}' in llm.extra aren't supported together yet for {settings.provider}"
            context.document.error("not-supported-yet", (*path, "tools"), message, "remove one of them", key=True)


@dataclass(frozen=True, slots=True)
class _PromptReader:
    context: NodeContext
    shape: NodeShape
    path: KeyPath

    @property
    def document(self) -> SourceDocument:
        return self.context.document

    def inputs(self, types: Mapping[str, Type]) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for name, value in (self.shape.inputs or {}).items():
            where = (*self.path, "inputs", name)
            if not name.isidentifier() or name == "state":
                message = f"'{name}' can't be a local name"
                self.document.error("bad-name", where, message, "use letters, digits and _", key=True)
            if isinstance(value, (list, dict)):
                message = f"the input '{name}' must be a template or a plain value, not a {type_of(value)}"
                self.document.error("wrong-type", where, message, "write it as the default of a state field")
            inputs[name] = self.context.template(value, where, types) if isinstance(value, str) else value
        return inputs

    def prompt(self, names: Mapping[str, Type]) -> Template | None:
        if self.shape.prompt is None and self.shape.history is not None:
            if self.shape.examples:
                message = "examples fill a prompt with other values, and this node has none"
                self.document.error("missing-key", (*self.path, "examples"), message, "add 'prompt:'", key=True)
            return None
        return self.context.template(self.shape.prompt or "", (*self.path, "prompt"), names)

    def history(self, names: Mapping[str, Type]) -> ChatHistory | None:
        given = self.shape.history
        if given is None:
            return None
        shape = HistoryShape.model_validate({"from": given}) if isinstance(given, str) else given
        name = field_name(shape.from_)
        # The name may be written as `state.messages`.
        placeholder = Placeholder(name, (), shape.from_.find(name) - 1)
        kind = placeholder_type(placeholder, names)
        where = (*self.path, "history", "from")
        if isinstance(kind, Finding):
            self.document.text_problem(where, replace(kind, suggestion=suggest(name, names, "fields")))
        elif not accepts(ListOf(MESSAGE), core(kind)):
            message = f"'{name}' is {describe(kind)}, but a history is list[message]"
            self.document.error("type-mismatch", where, message, f"declare '{name}' as list[message]")
        return ChatHistory(Template(name, (placeholder,)), shape.max_tokens, shape.max_turns)

    def outputs(self) -> tuple[Output, ...]:
        schema, names = self._schema(), self.shape.outputs or []
        outputs = []
        for i, name in enumerate(names):
            where = (*self.path, "outputs", i)
            if name in names[:i]:
                self.document.error("duplicate-output", where, f"'{name}' is listed twice", "remove one of them")
                continue
            kind = self.context.output_type(self.shape.id, name, where, is_only=len(names) == 1)
            given, description = schema.get(name, (kind, None))
            self._check_fit(name, kind, given)
            declared = self.context.fields.get(name)
            description = description or (declared.description if declared else None)
            outputs.append(Output(name, narrowed(kind, given), description))
        return tuple(outputs)

    def _schema(self) -> dict[str, tuple[Type, str | None]]:
        """The outputs' types and descriptions in `output_schema`."""
        schema, where = self.shape.output_schema, (*self.path, "output_schema")
        names = self.shape.outputs or []
        if schema is None or not names:
            return {}
        if schema.fields is None:
            return self._simple_schema(schema, where, names)
        if schema.type != "object":
            message = f"'fields' describe an object, but the type is {schema.type}"
            self.document.error("schema-without-object", (*where, "fields"), message, "write type: object", key=True)
        types: dict[str, tuple[Type, str | None]] = {}
        for i, f in enumerate(schema.fields):
            here = (*where, "fields", i)
            kind = with_limits(self.document, here, read_type(self.document, here, f.type, f.schema_), f)
            types[f.name] = (kind, f.description)
            if f.name not in names and "nodes" not in self.document.incomplete:
                message = f"'{f.name}' isn't an output of node '{self.shape.id}'"
                self.document.error("schema-mismatch", (*here, "name"), message, suggest(f.name, names, "outputs"))
        complete = "nodes" not in self.document.incomplete and types.keys() <= set(names)
        for i, name in enumerate(names if complete else ()):
            if name not in types:
                message = f"the output '{name}' is missing in the node's output_schema"
                hint = "add it there, or remove output_schema"
                self.document.error("schema-mismatch", (*self.path, "outputs", i), message, hint)
        return types

    def _simple_schema(
        self, schema: OutputSchemaShape, where: KeyPath, names: list[str]
    ) -> dict[str, tuple[Type, str | None]]:
        kind = read_type(self.document, where, schema.type)
        if len(names) == 1:
            return {names[0]: (kind, schema.description)}
        if isinstance(kind, ObjectOf):
            return {}
        message = f"{len(names)} outputs need an object, not {describe(kind)}"
        self.document.error("schema-mismatch", where, message, "write type: object with fields, or remove it", key=True)
        return {}

    def _check_fit(self, name: str, expected: Type, given: Type) -> None:
        if has_no_value(narrowed(expected, given)) and not (has_no_value(expected) or has_no_value(given)):
            message = f"the limits of '{name}' here and in the state exclude each other"
            self.document.error("type-mismatch", self._schema_path(name), message, "change one of them")
            return
        is_any_object = isinstance(given, ObjectOf) and given.fields is None
        if may_hold(expected, given) or (is_any_object and accepts(given, expected)):
            return
        message = f"'{name}' is {describe(expected)} in the state, but {describe(given)} here"
        self.document.error("type-mismatch", self._schema_path(name), message, f"write {describe(expected)}")

    def _schema_path(self, name: str) -> KeyPath:
        """The path of the output's type in `output_schema`."""
        fields = (self.shape.output_schema.fields if self.shape.output_schema else None) or []
        index = next((i for i, f in enumerate(fields) if f.name == name), None)
        inner = ("type",) if index is None else ("fields", index, "type")
        return (*self.path, "output_schema", *inner)

    def example(
        self, shape: ExampleShape, path: KeyPath, names: Mapping[str, Type], outputs: tuple[Output, ...]
    ) -> Example:
        for name in shape.inputs:
            if name not in names:
                hint = suggest(name, names, "names")
                self.document.error("unknown-field", (*path, "inputs", name), f"no field '{name}'", hint, key=True)
        types = {o.field: o.type for o in outputs}
        for name in shape.outputs if types else ():
            if name not in types:
                hint = suggest(name, types, "outputs")
                where = (*path, "outputs", name)
                self.document.error("schema-mismatch", where, f"'{name}' isn't an output", hint, key=True)
        missing = [name for name in types if name not in shape.outputs]
        for name in missing if shape.outputs.keys() <= types.keys() else ():
            self.document.error("missing-key", (*path, "outputs"), f"the example has no output '{name}'", key=True)
        converted = {
            name: check_value(self.document, (*path, "outputs", name), types[name], value, name, code="bad-example")
            for name, value in shape.outputs.items()
            if name in types
        }
        return Example(shape.inputs, converted)


def _input_type(value: Any, types: Mapping[str, Type]) -> Type:
    if isinstance(value, Template):
        return template_type(value, types)
    plain_types: dict[type, Type] = {bool: BOOL, int: INT, float: FLOAT}
    return plain_types.get(type(value), Nullable(ANY))


def _reply_as(shape: NodeShape, outputs: tuple[Output, ...]) -> Literal["text", "message", "object"]:
    """A single output of text, or a message, is the reply itself, unless `output_schema` declares an object."""
    has_fields = shape.output_schema is not None and shape.output_schema.fields is not None
    if len(outputs) != 1 or has_fields:
        return "object"
    kind = outputs[0].type
    is_formatted = isinstance(kind, Limited) and kind.format is not None and kind.pattern is None
    return "text" if kind == STR or is_formatted else "message" if without_null(kind) == MESSAGE else "object"
