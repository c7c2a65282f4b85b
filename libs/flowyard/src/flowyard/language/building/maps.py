"""Reads a map: a node that runs once per item of a list."""

from __future__ import annotations

from flowyard.language.building.edge_context import EdgeContext
from flowyard.language.building.expressions import field_name
from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import ParallelShape
from flowyard.language.values.types import ANY, ListOf, ObjectOf, accepts, core, describe
from flowyard.language.workflow import END, START, Map


def read_map(context: EdgeContext, source: str, shape: ParallelShape, path: KeyPath) -> Map | None:
    """The map; None if its target can't run. Reports its problems."""
    where = (*path, "target_node")
    items = _list_field(context, shape.items_field, (*path, "items_field"))
    collect = _list_field(context, shape.collect_field, (*path, "collect_field"))
    context.edges.unresolved_items.add(shape.item or "item")
    if shape.target_node in (START, END) or not context.target(shape.target_node, where):
        if shape.target_node in (START, END):
            context.error("unknown-node", where, f"a map can't run {shape.target_node}", "name a node")
        return None
    if shape.target_node == source:
        context.error("map-target", where, f"'{source}' can't map over itself", "name another node")
        return None
    context.edges.unresolved_items.discard(shape.item or "item")
    context.link(source, shape.target_node, where)
    field = context.fields.get(collect)
    if field and field.reduce not in ("replace", "extend"):
        message = f"a map can't collect into '{collect}' with 'reduce: {field.reduce}'"
        context.error("reduce-type", (*path, "collect_field"), message, "use extend, or no reduce")
    if shape.on_item_error == "collect" and field and not accepts(field.type, ListOf(ObjectOf())):
        message = f"'collect' puts errors (objects) into '{collect}', which is {describe(field.type)}"
        context.error("type-mismatch", (*path, "on_item_error"), message, f"declare '{collect}' as list")
    return Map(
        target=shape.target_node,
        items_field=items,
        collect_field=collect,
        item=shape.item or "item",
        max_concurrency=shape.max_concurrency,
        on_item_error=shape.on_item_error or "fail",
    )


def _list_field(context: EdgeContext, given: str, path: KeyPath) -> str:
    name = field_name(given)
    field = context.fields.get(name)
    if field is None:
        context.unknown_field(name, path)
    elif not isinstance(core(field.type), ListOf) and field.type != ANY:
        message = f"'{name}' is {describe(field.type)}, not a list"
        context.error("not-a-list", path, message, f"declare it as list or list[{describe(field.type)}]")
    return name
