"""Reads `tests`: inputs, canned replies, and the expected result of a run."""

from __future__ import annotations

from collections.abc import Mapping

from flowyard.language.building.state import check_value
from flowyard.language.canned import read_reply
from flowyard.language.inputs import check_inputs
from flowyard.language.nodes import Node
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.cases import CaseShape
from flowyard.language.reading.document import DocumentShape
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.types import nullable
from flowyard.language.workflow import Case, Expectation, Field, Reply


def read_cases(
    shape: DocumentShape, document: SourceDocument, fields: Mapping[str, Field], nodes: Mapping[str, Node]
) -> tuple[Case, ...]:
    cases: list[Case] = []
    names: set[str] = set()
    for i, case in enumerate(shape.tests or ()):
        path: KeyPath = ("tests", i)
        if case.name in names:
            message = f"a second test '{case.name}'"
            document.error("duplicate-test", (*path, "name"), message, "give each test its own name")
        names.add(case.name)
        cases.append(_read_case(case, path, document, fields, nodes))
    return tuple(cases)


def _read_case(
    case: CaseShape, path: KeyPath, document: SourceDocument, fields: Mapping[str, Field], nodes: Mapping[str, Node]
) -> Case:
    inputs, faults = check_inputs(fields, case.inputs or {})
    for fault in faults:
        where = (*path, "inputs", fault.field) if document.has((*path, "inputs", fault.field)) else (*path, "inputs")
        where = document.deepest_path(where, fault.message.removeprefix(fault.field))
        at_key = fault.missing or fault.field not in fields or not fields[fault.field].is_input
        document.error("invalid-inputs", where, fault.message, key=at_key)
    replies: dict[str, Reply | tuple[Reply, ...]] = {}
    for node, value in (case.replies or {}).items():
        where = (*path, "replies", node)
        if node not in nodes:
            document.error("unknown-node", where, f"no node '{node}'", suggest(node, nodes, "nodes"), key=True)
        elif not nodes[node].models:
            message = f"'{node}' calls no model, so it has no replies"
            document.error("wrong-kind", where, message, "remove it", key=True)
        try:
            replies[node] = read_reply(value)
        except ValueError as error:
            document.error("invalid-value", where, str(error))
    return Case(case.name, inputs, replies, _expectation(case, path, document, fields, nodes))


def _expectation(
    case: CaseShape, path: KeyPath, document: SourceDocument, fields: Mapping[str, Field], nodes: Mapping[str, Node]
) -> Expectation:
    if case.expect is None:
        return Expectation()
    where = (*path, "expect")
    outputs = {}
    for name, value in (case.expect.outputs or {}).items():
        here = (*where, "outputs", name)
        if name in fields:
            kind = nullable(fields[name].type)
            outputs[name] = check_value(document, here, kind, value, name, code="wrong-type")
        else:
            document.error("unknown-field", here, f"no field '{name}'", suggest(name, fields, "fields"), key=True)
    references = [((*where, "nodes", i), node) for i, node in enumerate(case.expect.nodes or ())]
    references += [((*where, "calls", node), node) for node in case.expect.calls or ()]
    for here, node in references:
        if node not in nodes:
            hint = suggest(node, nodes, "nodes")
            document.error("unknown-node", here, f"no node '{node}'", hint, key="calls" in here)
    return Expectation(
        status=case.expect.status or ("failed" if case.expect.error else "succeeded"),
        outputs=outputs,
        nodes=tuple(case.expect.nodes) if case.expect.nodes is not None else None,
        error=case.expect.error,
        calls=case.expect.calls or {},
    )
