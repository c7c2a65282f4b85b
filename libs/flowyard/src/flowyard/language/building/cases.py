"""`tests` → Case: canned replies and what a run must come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowyard.language.building.state import check_value
from flowyard.language.canned import read_reply
from flowyard.language.inputs import check_inputs
from flowyard.language.nodes import Node
from flowyard.language.problems import suggest
from flowyard.language.reading.document import CaseShape, DocumentShape
from flowyard.language.reading.places import Path, Places
from flowyard.language.workflow import Case, Expectation, Field, Reply


def read_cases(
    shape: DocumentShape, places: Places, fields: Mapping[str, Field], nodes: Mapping[str, Node]
) -> tuple[Case, ...]:
    cases: list[Case] = []
    names: set[str] = set()
    for i, case in enumerate(shape.tests or ()):
        path: Path = ("tests", i)
        if case.name in names:
            places.error(
                "duplicate-test", (*path, "name"), f"a second test '{case.name}'", "give each test its own name"
            )
        names.add(case.name)
        cases.append(_read_case(case, path, places, fields, nodes))
    return tuple(cases)


def _read_case(
    case: CaseShape, path: Path, places: Places, fields: Mapping[str, Field], nodes: Mapping[str, Node]
) -> Case:
    inputs, faults = check_inputs(fields, case.inputs or {})
    for fault in faults:
        where = (*path, "inputs", fault.field) if places.has((*path, "inputs", fault.field)) else (*path, "inputs")
        where = places.deepest(where, fault.message.removeprefix(fault.field))
        at_key = fault.missing or fault.field not in fields or not fields[fault.field].is_input
        places.error("invalid-inputs", where, fault.message, key=at_key)
    for node in case.replies or {}:
        if node not in nodes:
            hint = suggest(node, nodes, "nodes")
            places.error("unknown-node", (*path, "replies", node), f"no node '{node}'", hint, key=True)
        elif not nodes[node].models:
            message = f"'{node}' calls no model, so it has no replies"
            places.error("wrong-kind", (*path, "replies", node), message, "remove it", key=True)
    replies = _read_replies(places, (*path, "replies"), case.replies or {})
    return Case(case.name, inputs, replies, _expectation(case, path, places, fields, nodes))


def _read_replies(places: Places, path: Path, replies: Mapping[str, Any]) -> dict[str, Reply | tuple[Reply, ...]]:
    read: dict[str, Reply | tuple[Reply, ...]] = {}
    for node, value in replies.items():
        try:
            read[node] = read_reply(value)
        except ValueError as error:
            places.error("invalid-value", (*path, node), str(error))
    return read


def _expectation(
    case: CaseShape, path: Path, places: Places, fields: Mapping[str, Field], nodes: Mapping[str, Node]
) -> Expectation:
    if case.expect is None:
        return Expectation()
    where = (*path, "expect")
    outputs = {}
    for name, value in (case.expect.outputs or {}).items():
        here = (*where, "outputs", name)
        if name in fields:
            outputs[name] = (
                check_value(places, here, fields[name].type, value, name, code="wrong-type")
                if value is not None
                else None
            )
        else:
            places.error("unknown-field", here, f"no field '{name}'", suggest(name, fields, "fields"), key=True)
    named = [((*where, "nodes", i), node) for i, node in enumerate(case.expect.nodes or ())]
    named += [((*where, "calls", node), node) for node in case.expect.calls or ()]
    for here, node in named:
        if node not in nodes:
            places.error("unknown-node", here, f"no node '{node}'", suggest(node, nodes, "nodes"), key="calls" in here)
    return Expectation(
        status=case.expect.status or ("failed" if case.expect.error else "succeeded"),
        outputs=outputs,
        nodes=tuple(case.expect.nodes) if case.expect.nodes is not None else None,
        error=case.expect.error,
        calls=case.expect.calls or {},
    )
