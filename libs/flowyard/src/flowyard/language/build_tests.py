"""`tests` → Case: canned replies and what a run must come to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from flowyard.language.build_state import check_value
from flowyard.language.document import CaseShape, DocumentShape
from flowyard.language.inputs import check_inputs
from flowyard.language.places import Path, Places
from flowyard.language.problems import suggest
from flowyard.language.workflow import Case, ErrorReply, Expectation, Field, Node, Reply

REPLY_ERRORS: Final = ("rate_limited", "timeout", "provider_error", "model_refused", "invalid_output")


def read_cases(
    shape: DocumentShape, places: Places, fields: Mapping[str, Field], nodes: Mapping[str, Node]
) -> tuple[Case, ...]:
    cases: list[Case] = []
    for i, case in enumerate(shape.tests or ()):
        path: Path = ("tests", i)
        if any(case.name == other.name for other in cases):
            places.error("duplicate-test", (*path, "name"), f"a second test '{case.name}'", "give each test its own name")
        cases.append(_read_case(case, path, places, fields, nodes))
    return tuple(cases)


def _read_case(
    case: CaseShape, path: Path, places: Places, fields: Mapping[str, Field], nodes: Mapping[str, Node]
) -> Case:
    inputs, faults = check_inputs(fields, case.inputs or {})
    for fault in faults:
        where = (*path, "inputs", fault.field) if places.has((*path, "inputs", fault.field)) else (*path, "inputs")
        places.error("invalid-inputs", where, fault.message, key=fault.missing)
    for node in case.replies or {}:
        if node not in nodes:
            hint = suggest(node, nodes, "nodes")
            places.error("unknown-node", (*path, "replies", node), f"no node '{node}'", hint, key=True)
    replies = {node: read_reply(value) for node, value in (case.replies or {}).items()}
    _check_reply_errors(places, path, replies)
    return Case(case.name, inputs, replies, _expectation(case, path, places, fields, nodes))


def read_reply(value: Any) -> Reply | tuple[Reply, ...]:
    """A canned reply as a document or a file of replies gives it; a list answers the calls in turn."""
    if isinstance(value, list):
        return tuple(_one_reply(item) for item in value)
    return _one_reply(value)


def _one_reply(value: Any) -> Reply:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and value.keys() == {"error"} and value["error"] in REPLY_ERRORS:
        return ErrorReply(value["error"])
    return json.dumps(value, ensure_ascii=False)


def _check_reply_errors(places: Places, path: Path, replies: Mapping[str, Reply | tuple[Reply, ...]]) -> None:
    for node, reply in replies.items():
        if reply == ():
            places.error("invalid-value", (*path, "replies", node), "the list of replies is empty", "add a reply")


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
            outputs[name] = check_value(places, here, fields[name].type, value, name, code="wrong-type") if value is not None else None
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
