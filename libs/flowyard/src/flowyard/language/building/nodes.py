"""NodeShape → Node: templates, outputs, models, retries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flowyard.language.building.models import Models
from flowyard.language.building.state import check_value, read_type
from flowyard.language.problems import suggest
from flowyard.language.reading.document import ExampleShape, GotoShape, NodeShape, OutputSchemaShape, RetryShape
from flowyard.language.reading.places import Path, Places
from flowyard.language.values.templates import Template, check_template, parse_template, template_type
from flowyard.language.values.types import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    STR,
    ListOf,
    Nullable,
    ObjectOf,
    Type,
    accepts,
    describe,
    type_of,
    without_null,
)
from flowyard.language.workflow import END, START, Example, Field, Goto, Map, OnError, Output, PromptNode, RetryPolicy


@dataclass(slots=True)
class NodeReader:
    """Reads the nodes of one document. `names`: every node's id, also of nodes that are broken.

    `loose_items`: what maps call their items whose target isn't known.
    """

    places: Places
    fields: Mapping[str, Field]
    models: Models
    retry: RetryPolicy
    maps: Mapping[str, Map]
    loose_items: Collection[str]
    names: Collection[str]
    seen: dict[str, int] = field(default_factory=dict)

    def read(self, shape: NodeShape, path: Path) -> PromptNode:
        self._check_id(shape.id, path)
        if shape.id in self.maps:
            self._check_map_node(shape, path)
        incomplete = "nodes" in self.places.damaged or self.places.lost_a_key(path)
        if shape.prompt is None and not incomplete:
            message = f"node '{shape.id}' has no work to do"
            self.places.error("missing-key", path, message, "add 'prompt:'", key=True)
        if not shape.outputs and not incomplete:
            message = f"node '{shape.id}' writes nothing"
            self.places.error("missing-key", path, message, "add 'outputs:' with the fields that it fills", key=True)
        item = self.maps.get(shape.id)
        names = self._names(item)
        inputs = self._inputs(shape, path, names)
        local = {**names, **{n: self._input_type(v, names) for n, v in inputs.items()}}
        outputs = self._outputs(shape, path, item)
        return PromptNode(
            id=shape.id,
            prompt=self._template(shape.prompt or "", (*path, "prompt"), local),
            outputs=outputs,
            settings=self.models.of(shape.llm, (*path, "llm")),
            reply_as=_reply_as(shape, outputs),
            system=self._template(shape.system, (*path, "system"), local) if shape.system is not None else None,
            inputs=inputs,
            examples=tuple(
                self._example(e, (*path, "examples", i), local, outputs) for i, e in enumerate(shape.examples or ())
            ),
            timeout=shape.timeout,
            retry=self._retry(shape),
            on_error=self._on_error(shape, path),
            log_prompts=bool(shape.log_prompts),
            name=shape.name,
            description=shape.description,
        )

    def _check_id(self, name: str, path: Path) -> None:
        if name in (START, END, "configurable") or name.startswith("__"):
            self.places.error(
                "reserved-name", (*path, "id"), f"'{name}' can't be the id of a node", "choose another name"
            )
        if name in self.seen:
            message = f"a second node '{name}' (the first is in line {self.seen[name]})"
            self.places.error("duplicate-node", (*path, "id"), message, "give each node its own id")
        self.seen.setdefault(name, self.places.value((*path, "id")).line)

    def _check_map_node(self, shape: NodeShape, path: Path) -> None:
        if shape.on_error not in (None, "fail"):
            message = f"'{shape.id}' runs once per item, where 'on_item_error' at the map's edge decides"
            self.places.error(
                "map-target", (*path, "on_error"), message, "write on_item_error: skip at the edge", key=True
            )

    def _names(self, item: Map | None) -> dict[str, Type]:
        """What the node's templates may use before its own inputs: fields, and the item in a map."""
        names: dict[str, Type] = dict.fromkeys(self.loose_items, ANY)
        names |= {name: f.type for name, f in self.fields.items()}
        if item is not None:
            items = self.fields.get(item.items_field)
            kind = without_null(items.type) if items else ANY
            names[item.item] = kind.element if isinstance(kind, ListOf) else ANY
        return names

    def _inputs(self, shape: NodeShape, path: Path, names: Mapping[str, Type]) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for name, value in (shape.inputs or {}).items():
            where = (*path, "inputs", name)
            if not name.isidentifier() or name == "state":
                self.places.error(
                    "bad-name", where, f"'{name}' can't be a local name", "use letters, digits and _", key=True
                )
            if isinstance(value, (list, dict)):
                message = f"the input '{name}' must be a template or a plain value, not a {type_of(value)}"
                self.places.error("wrong-type", where, message, "put it into a state field with a default")
            inputs[name] = self._template(value, where, names) if isinstance(value, str) else value
        return inputs

    def _input_type(self, value: Any, names: Mapping[str, Type]) -> Type:
        match value:
            case Template():
                return template_type(value, names)
            case bool():
                return BOOL
            case int():
                return INT
            case float():
                return FLOAT
            case _:
                return Nullable(ANY)

    def _template(self, text: str, path: Path, names: Mapping[str, Type]) -> Template:
        template = parse_template(text)
        for finding in check_template(template, names):
            self.places.inside(path, finding)
        return template

    def _outputs(self, shape: NodeShape, path: Path, item: Map | None) -> tuple[Output, ...]:
        schema = self._schema(shape, path)
        outputs = []
        for i, name in enumerate(shape.outputs or ()):
            where = (*path, "outputs", i)
            if name in (shape.outputs or ())[:i]:
                self.places.error("duplicate-output", where, f"'{name}' is listed twice", "remove one of them")
                continue
            kind = self._output_type(name, where, item, alone=len(shape.outputs or ()) == 1)
            given, description = schema.get(name, (kind, None))
            self._check_fit(name, kind, given, shape, path)
            declared = self.fields.get(name)
            outputs.append(
                Output(
                    name,
                    kind if accepts(given, kind) else given,
                    description or (declared.description if declared else None),
                )
            )
        return tuple(outputs)

    def _output_type(self, name: str, path: Path, item: Map | None, *, alone: bool) -> Type:
        declared = self.fields.get(name)
        if declared is None:
            message = f"no field '{name}' in the state"
            self.places.error("undeclared-output", path, message, suggest(name, self.fields, "fields"))
            return ANY
        inner = without_null(declared.type)
        per_item = item is not None and alone and name == item.collect_field
        if isinstance(inner, ListOf) and (declared.reduce == "append" or per_item):
            return inner.element
        return declared.type

    def _schema(self, shape: NodeShape, path: Path) -> dict[str, tuple[Type, str | None]]:
        """The outputs' types as `output_schema` gives them."""
        schema, where = shape.output_schema, (*path, "output_schema")
        if schema is None:
            return {}
        names = shape.outputs or []
        if not names:
            return {}
        if schema.fields is None:
            return self._simple_schema(schema, where, names)
        if schema.type != "object":
            message = f"'fields' describe an object, but the type is {schema.type}"
            self.places.error("schema-without-object", (*where, "fields"), message, "write type: object", key=True)
        types: dict[str, tuple[Type, str | None]] = {}
        for i, f in enumerate(schema.fields):
            here = (*where, "fields", i)
            types[f.name] = (read_type(self.places, here, f.type, f.schema_), f.description)
            if f.name not in names and "nodes" not in self.places.damaged:
                message = f"'{f.name}' is no output of node '{shape.id}'"
                self.places.error("schema-mismatch", (*here, "name"), message, suggest(f.name, names, "outputs"))
        complete = "nodes" not in self.places.damaged and types.keys() <= set(names)
        for i, name in enumerate(names if complete else ()):
            if name not in types:
                message = f"the output '{name}' is missing in the node's output_schema"
                self.places.error(
                    "schema-mismatch", (*path, "outputs", i), message, "add it there, or leave output_schema out"
                )
        return types

    def _simple_schema(
        self, schema: OutputSchemaShape, where: Path, names: list[str]
    ) -> dict[str, tuple[Type, str | None]]:
        kind = read_type(self.places, where, schema.type)
        if len(names) == 1:
            return {names[0]: (kind, schema.description)}
        if isinstance(kind, ObjectOf):
            return {}
        message = f"{len(names)} outputs need an object, not {describe(kind)}"
        self.places.error(
            "schema-mismatch", where, message, "write type: object with fields, or leave it out", key=True
        )
        return {}

    def _check_fit(self, name: str, wanted: Type, given: Type, shape: NodeShape, path: Path) -> None:
        if accepts(wanted, given) or (isinstance(given, ObjectOf) and given.fields is None and accepts(given, wanted)):
            return
        fields = (shape.output_schema.fields if shape.output_schema else None) or []
        index = next((i for i, f in enumerate(fields) if f.name == name), None)
        where = (*path, "output_schema", "type") if index is None else (*path, "output_schema", "fields", index, "type")
        message = f"'{name}' is {describe(wanted)} in the state, but {describe(given)} here"
        self.places.error("type-mismatch", where, message, f"write {describe(wanted)}")

    def _example(
        self, shape: ExampleShape, path: Path, names: Mapping[str, Type], outputs: tuple[Output, ...]
    ) -> Example:
        for name in shape.inputs:
            if name not in names:
                hint = suggest(name, names, "names")
                self.places.error("unknown-field", (*path, "inputs", name), f"no field '{name}'", hint, key=True)
        types = {o.field: o.type for o in outputs}
        for name in shape.outputs if types else ():
            if name not in types:
                hint = suggest(name, types, "outputs")
                self.places.error("schema-mismatch", (*path, "outputs", name), f"'{name}' is no output", hint, key=True)
        lacking = [name for name in types if name not in shape.outputs]
        for name in lacking if shape.outputs.keys() <= types.keys() else ():
            self.places.error("missing-key", (*path, "outputs"), f"the example lacks the output '{name}'", key=True)
        fitting = {
            name: check_value(self.places, (*path, "outputs", name), types[name], value, name, code="bad-example")
            for name, value in shape.outputs.items()
            if name in types
        }
        return Example(shape.inputs, fitting)

    def _retry(self, shape: NodeShape) -> RetryPolicy:
        if shape.retry is None:
            return self.retry
        if isinstance(shape.retry, RetryShape):
            given = shape.retry.model_dump(exclude_none=True)
            if "errors" in given:
                given["errors"] = frozenset(given["errors"])
            return RetryPolicy(**{"max_retries": self.retry.max_retries, **given})
        return RetryPolicy(max_retries=shape.retry)

    def _on_error(self, shape: NodeShape, path: Path) -> OnError:
        match shape.on_error:
            case GotoShape(goto=target):
                if target not in self.names:
                    hint = "use continue, or name a node" if target == END else suggest(target, self.names, "nodes")
                    self.places.error("unknown-node", (*path, "on_error", "goto"), f"no node '{target}'", hint)
                return Goto(target)
            case "continue":
                return "continue"
            case _:
                return "fail"


def _reply_as(shape: NodeShape, outputs: tuple[Output, ...]) -> Literal["text", "object"]:
    """One text takes the reply itself, unless the document asks for an object in so many words."""
    asked = shape.output_schema is not None and shape.output_schema.fields is not None
    alone = len(outputs) == 1 and outputs[0].type == STR
    return "text" if alone and not asked else "object"
